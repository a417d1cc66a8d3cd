"""Software disks of one machine at a stock Linux client: file systems, change of the medium, sudden death."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab import CommandFailed, Disk, Lab, Machine
from tests.lab.twinhub import Twinhub

Pair = tuple[Machine, Machine]

MEBI = 1 << 20
MEBIBYTES = int(os.environ.get("TWINHUB_DISK_MIB", "64"))
NOT_READY = 2
"""What sg3_utils exit with where that is the sense."""
VHCI = "/sys/devices/platform/vhci_hcd.0"
PORTS_IN_USE = f"awk '$3 == 6 {{print $2 + 0}}' {VHCI}/status"

DISKS = {
    "parts": 'medium = "new:/var/parts.img:256M"',
    "locked": 'medium = "memory:16M"',
    "ejected": 'medium = "memory:16M"',
    "protected": 'medium = "memory:16M"',
    "notes": 'medium = "folder:/var/notes", read_only = true',
    "large-512": 'medium = "sparse:3T"',
    "large-4096": 'medium = "sparse:3T", block_size = 4096',
    "read": 'medium = "memory:64M", serial = "AB12"',
    "killed": 'medium = "new:/var/killed.img:16M"',
}
"""Name → its only LUN. Besides there is "verified", on a disk that is plugged into the server."""


def serve(machine: Machine, disks: dict[str, str]) -> Twinhub:
    """A Twinhub of nothing but these software disks."""
    twinhub = Twinhub(machine)
    for name, lun in disks.items():
        function = f'[[function]]\nkind = "disk"\nluns = [{{ {lun} }}]\n'
        machine.write_file(f"/etc/twinhub/{name}.toml", f'[gadget]\nspeed = "super"\n{function}')
    twinhub.configure("".join(f'[[gadget]]\ndefinition = "{name}.toml"\n' for name in disks))
    return twinhub.start()


@pytest.fixture(scope="module")
def server(booted_pair: Pair) -> Iterator[Machine]:
    server, client = booted_pair
    client.run("modprobe -a vhci-hcd sg exfat vfat ext4")
    server.run("mkdir /var/notes; echo words > /var/notes/Grüße.txt; ln -s /etc/passwd /var/notes/link")
    under = server.node(server.plug(Disk(size=MEBIBYTES << 20)), "block/sd*")
    serve(server, DISKS | {"verified": f'medium = "{under}"'})
    yield server
    server.reset()


@pytest.fixture
def client(booted_pair: Pair, server: Machine) -> Iterator[Machine]:
    """Nothing is attached to it after the test."""
    client = booted_pair[1]
    yield client
    client.run("umount --quiet --lazy /mnt/* || true")
    client.run(f"for port in $({PORTS_IN_USE}); do echo $port > {VHCI}/detach; done")
    client.wait_until("! ls /sys/block | grep -q ^sd")
    client.reset()


def attach(client: Machine, name: str, server: str = "server") -> str:
    """The client's node of a disk."""
    client.wait_until(f"usbip attach -r {server} -b {name}")
    return client.node("vhci_hcd.0", "block/sd*")


def send(server: Machine, name: str, given: str) -> None:
    server.run(["twinhub", "gadget", "send", name, given], timeout=180)


def test_it_is_partitioned_and_holds_ext4_vfat_and_exfat(client: Machine) -> None:
    node = attach(client, "parts")
    client.run(f"printf 'label: gpt\nsize=96M\nsize=64M\nsize=64M\n' | sfdisk --quiet {node}; udevadm settle")
    client.run(f"mkfs.ext4 -q {node}1; mkfs.vfat {node}2; mkfs.exfat {node}3")
    for number, kind in enumerate(("ext4", "vfat", "exfat"), start=1):
        part, where = f"{node}{number}", f"/mnt/{kind}"
        sums = f"cd {where}; find . -type f | sort | xargs sha256sum"
        client.run(f"mkdir -p {where}; mount -t {kind} {part} {where}")
        client.run(f"head -c 4M /dev/urandom > {where}/data; cp -r /etc/init.d {where}")
        written = client.run(sums).stdout
        client.run(f"umount {where}; fsck.{kind} -n {part}; blockdev --flushbufs {part}")
        client.run(f"mount -t {kind} {part} {where}")
        assert client.run(sums).stdout == written
        client.run(f"umount {where}")


def test_what_is_written_is_read_back_right(server: Machine, client: Machine) -> None:
    """With TWINHUB_DISK_MIB=1024 in the environment it is the whole gibibyte, which takes minutes under
    emulation. The medium is a block device of the server."""
    size = MEBIBYTES << 20
    medium = server.node(server.plugged[0], "block/sd*")
    node = attach(client, "verified")
    client.run(
        f"fio --name=all --filename={node} --rw=write --bs=1M --size={size} --direct=1 --end_fsync=1 "
        "--ioengine=libaio --iodepth=4 --verify=crc32c --verify_fatal=1",
        timeout=600,
    )
    assert client.run(f"blockdev --flushbufs {node}; sha256sum < {node}", timeout=600).stdout == (
        server.run(f"blockdev --flushbufs {medium}; sha256sum < {medium}", timeout=600).stdout
    )


def test_a_mounted_disk_is_locked_in_and_a_forced_change_of_the_medium_is_seen(
    server: Machine, client: Machine
) -> None:
    node = attach(client, "locked")
    events = client.start("udevadm", "exec udevadm monitor --kernel --property --subsystem-match=block")
    events.wait_for_output("KERNEL - the kernel uevent")
    client.run(f"echo 500 > /sys/block/{node.removeprefix('/dev/')}/events_poll_msecs")
    client.run(f"mkfs.ext4 -q {node}; mkdir -p /mnt/stick; mount {node} /mnt/stick; sync")
    with pytest.raises(CommandFailed, match="the host has locked lun 0"):
        send(server, "locked", '{"eject": true}')
    send(server, "locked", '{"eject": true, "force": true}')
    client.wait_until(f"! head -c 4096 {node} > /dev/null")
    client.run(f"umount --lazy /mnt/stick; sync {node} || true")  # what was lost is told only once
    send(server, "locked", "insert=memory:24M")
    events.wait_for_output("DISK_MEDIA_CHANGE=1")
    client.wait_until(f"test $(blockdev --getsize64 {node}) = {24 * MEBI}")
    client.run(f'test -z "$(blkid {node})"; mkfs.vfat {node}; fsck.vfat -n {node}')


def test_the_client_ejects_the_medium_and_another_comes_in(server: Machine, client: Machine) -> None:
    node = attach(client, "ejected")
    # Whoever has sdX open locks the medium in: at first kernel and udev, who look for partitions.
    client.wait_until(f"sg_start --eject {client.node('vhci_hcd.0', 'scsi_generic/sg*')}")
    assert client.run(f"sg_turs {node}", check=False).code == NOT_READY
    send(server, "ejected", "insert=memory:24M")
    client.wait_until(f"sg_turs {node}")
    client.wait_until(f"test $(blockdev --getsize64 {node}) = {24 * MEBI}")


def test_write_protection_is_honoured_and_can_be_changed(server: Machine, client: Machine) -> None:
    node = attach(client, "protected")
    rescan = f"echo 1 > /sys/block/{node.removeprefix('/dev/')}/device/rescan; blockdev --getro {node}"
    write = f"dd if=/dev/urandom of={node} bs=4k count=1 oflag=direct conv=fsync,nocreat"
    client.run(f"mkfs.vfat {node}; mkdir -p /mnt/stick")
    send(server, "protected", "write_protect=true")
    before = client.run(f"sha256sum < {node}").stdout
    assert client.run(write, check=False).code != 0
    assert client.run(rescan).stdout == "1\n"
    client.run(f"mount -t vfat -o ro {node} /mnt/stick; ! touch /mnt/stick/file; umount /mnt/stick")
    assert client.run(f"blockdev --flushbufs {node}; sha256sum < {node}").stdout == before
    send(server, "protected", "write_protect=false")
    assert client.run(rescan).stdout == "0\n"
    client.run(write)


def test_a_disk_made_of_a_folder_is_read_only_from_the_start_and_has_its_files(client: Machine) -> None:
    node = attach(client, "notes")
    assert client.run(f"blockdev --getro {node}").stdout == "1\n"
    client.run(f"fsck.vfat -n {node}; mkdir -p /mnt/notes; mount -o ro,utf8 {node} /mnt/notes")
    assert client.run("ls /mnt/notes; cat /mnt/notes/*").stdout == "Grüße.txt\nwords\n"


@pytest.mark.parametrize("block_size", [512, 4096])
def test_three_tebibytes_are_addressed_to_the_end(client: Machine, block_size: int) -> None:
    node = attach(client, f"large-{block_size}")
    assert client.run(f"blockdev --getsize64 --getss {node}").stdout == f"{3 << 40}\n{block_size}\n"
    end, two_tebi_before = 3 * MEBI - 1, MEBI - 1
    client.run("head -c 1M /dev/urandom > /tmp/end")
    client.run(f"dd if=/tmp/end of={node} bs=1M seek={end} oflag=direct conv=fsync")
    client.run(f"dd if={node} bs=1M skip={end} iflag=direct | cmp - /tmp/end")
    client.run(f"dd if={node} bs=1M skip={two_tebi_before} count=1 iflag=direct | cmp -n {MEBI} - /dev/zero")
    client.run(
        f"printf 'label: gpt\nsize=2500G\nsize=100G\n' | sfdisk --quiet {node}; sfdisk --verify {node}"
    )
    client.run(f"udevadm settle; mkfs.exfat {node}2; fsck.exfat -n {node}2")


READINGS = {
    "sg_inq": ("RMB=1", "[SPC-4]", "identification: Twinhub", "serial number: AB12"),
    "sg_vpd --page=sv": ("[sn]", "[di]", "[bl]", "[bdc]", "[lbpv]"),
    "sg_vpd --page=sn": ("Unit serial number: AB12",),
    "sg_vpd --page=di": ("vendor id: Twinhub", "AB12"),
    "sg_vpd --page=bl": ("Maximum unmap block descriptor count: 256",),
    "sg_vpd --page=bdc": ("Non-rotating medium",),
    "sg_vpd --page=lbpv": ("(LBPU): 1", "(LBPWS): 1", "(LBPRZ): 1", "thin provisioned"),
    "sg_readcap": ("Number of logical blocks=131072", "Logical block length=512 bytes"),
    "sg_readcap --long": ("lbpme=1, lbprz=1", "Device size: 67108864 bytes"),
    "sg_modes --all": ("WP=0, DpoFua=1", "Caching", "Control", "Informational exceptions"),
    "sg_modes --six --page=8": ("08 12 04",),
    "sg_opcodes": ("Read(16)", "Write(16)", "Unmap", "Synchronize cache(10)", "Write same(16)"),
    "sg_luns": ("imples 1 lun entry",),
}


def test_sg3_utils_read_it_right(client: Machine) -> None:
    node = attach(client, "read")
    for command, expected in READINGS.items():
        printed = client.run(f"{command} {node}").stdout
        assert [text for text in expected if text not in printed] == [], printed
    client.run(f"sg_turs {node}; sg_requests {node}; sg_verify --count=100 {node}; sg_sync {node}")
    client.run(f"sg_start --stop {node}; sg_start --start {node}")
    client.run(f"dd if=/dev/urandom of={node} bs=64k count=1 oflag=direct")
    client.run(f"sg_unmap --force --lba=0 --num=64 {node}; sg_write_same --lba=64 --num=64 {node}")
    client.run(f"dd if={node} bs=64k count=1 iflag=direct | cmp --bytes=64K - /dev/zero")


def test_a_flush_that_was_answered_survives_the_death_of_the_gadgets_process(
    server: Machine, client: Machine
) -> None:
    node = attach(client, "killed")
    client.run("head -c 8M /dev/urandom > /tmp/kept")
    client.run(f"dd if=/tmp/kept of={node} bs=1M oflag=direct conv=fsync")
    server.run("fuser --kill -KILL /var/killed.img")
    client.wait_until(f"! test -e {node}")
    client.run(f"cmp -n {8 * MEBI} {attach(client, 'killed')} /tmp/kept")


def test_a_flush_that_was_answered_survives_a_power_cut(lab: Lab) -> None:
    """One machine is both; its medium is a plugged-in disk, of which the test sees what reached it."""
    with lab.machines("victim") as (victim,):
        medium = victim.plug(Disk(size=16 * MEBI))
        assert medium.path
        serve(victim, {"kept": f'medium = "{victim.node(medium, "block/sd*")}"'})
        victim.run("modprobe vhci-hcd")
        node = attach(victim, "kept", server="localhost")
        victim.run(f"yes kept | dd of={node} bs=1M count=4 iflag=fullblock oflag=direct conv=fsync")
        victim.power_off()
        assert medium.path.read_bytes()[: 4 * MEBI] == (b"kept\n" * MEBI)[: 4 * MEBI]
