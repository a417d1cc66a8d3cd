"""Real devices of one machine at work in another, by the stock `usbip` tools and by `twinhub attach`."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Audio, Disk, Hub, Keyboard, Machine, SerialAdapter, Tablet
from tests.lab.devices import Device
from tests.lab.twinhub import Twinhub

SHARES = """
[[share]]
serial = "relayed"
name = "relayed"
[[share]]
serial = "direct"
name = "direct"
mode = "direct"
[[share]]
serial = "others"
name = "for-others"
allow = ["10.77.0.99"]
"""
VHCI = "/sys/devices/platform/vhci_hcd.0"
PORTS_IN_USE = f"awk '$3 == 6 {{print $2 + 0}}' {VHCI}/status"
FRAMES_PER_PERIOD = 100
"""Of a tone of 441 Hz, at the 44100 Hz of the lab's WAV files."""

Pair = tuple[Machine, Machine]


@dataclass(frozen=True)
class Tool:
    """A USB/IP client by its commands."""

    attach: str
    detach: str


TOOLS = {
    "usbip": Tool("usbip attach -r server -b", "usbip detach -p"),
    "twinhub": Tool("twinhub attach server", "twinhub detach"),
}

with_both_tools = pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
in_both_modes = pytest.mark.parametrize("mode", ["relayed", "direct"])


@pytest.fixture(scope="module")
def twinhub(booted_pair: Pair) -> Iterator[Twinhub]:
    """On the server, for the whole module: it shares what has the serial "relayed", "direct" or "others"."""
    server, client = booted_pair
    for machine in booted_pair:
        # udev lets QEMU's keyboard sleep (60-autosuspend.hwdb); no device wakes its host over USB/IP.
        machine.run("modprobe vhci-hcd; echo -1 > /sys/module/usbcore/parameters/autosuspend")
    yield Twinhub(server, SHARES).start()
    server.reset()
    client.reset()


@pytest.fixture
def desk(booted_pair: Pair, twinhub: Twinhub) -> Iterator[Pair]:
    """(server, client) with nothing plugged and nothing attached, beside the running `twinhub`."""
    yield booted_pair
    for machine in booted_pair:
        machine.run(f"for port in $({PORTS_IN_USE}); do echo $port > {VHCI}/detach; done")
    for machine in booted_pair:
        # What is unplugged while the stub still resets it holds up the next device at its port for 40 s.
        machine.wait_until("! grep -qsx 2 /sys/bus/usb/devices/*/usbip_status")
        for device in [each for each in machine.plugged if "." not in each.port]:
            machine.unplug(device)


def detach(client: Machine, tool: Tool) -> None:
    (port,) = client.run(PORTS_IN_USE).stdout.split()
    client.run(f"{tool.detach} {port}")


def evtest(machine: Machine, part: str = "vhci_hcd.0") -> Any:
    """Listens to the input device at `part` of the machine's sysfs."""
    node = machine.node(part, "input/event*")
    listener = machine.start(f"evtest {len(machine.processes)}", f"exec stdbuf -oL evtest {node}")
    listener.wait_for_output("interrupt to exit")
    return listener


def driver(machine: Machine, device: Device) -> str:
    link = f"/sys/bus/usb/devices/{device.busid}:1.0/driver"
    return machine.wait_until(f"basename $(readlink -e {link})").stdout.strip()


def echoes(client: Machine, adapter: SerialAdapter) -> bool:
    """Whether what either end of the serial line says arrives at the other."""
    tty = client.node("vhci_hcd.0", "tty/ttyUSB*")
    # One opening from first to last: what comes while nobody has the line open is lost.
    talk = f"exec 3<>{tty}; stty -F {tty} raw -echo; printf 'are you there?' >&3; exec cat <&3"
    listener = client.start(f"cat {len(client.processes)}", talk)
    heard = b"".join(iter(lambda: adapter.socket.recv(1), b"?"))
    adapter.socket.sendall(b"I am here")
    listener.wait_for_output("I am here")
    return heard == b"are you there"


# Every kind of device


@with_both_tools
def test_keys_arrive_at_the_client(desk: Pair, twinhub: Twinhub, tool: Tool) -> None:
    server, client = desk
    twinhub.wait_available(server.plug(Keyboard(serial="relayed")))
    client.run(f"{tool.attach} relayed")
    events = evtest(client)
    server.type_keys("a", "shift-b")
    events.wait_for_output("(KEY_A), value 1")
    events.wait_for_output("(KEY_LEFTSHIFT), value 1")
    events.wait_for_output("(KEY_B), value 1")


@with_both_tools
def test_the_tablet_points_at_the_client(desk: Pair, twinhub: Twinhub, tool: Tool) -> None:
    server, client = desk
    twinhub.wait_available(server.plug(Tablet(serial="relayed")))
    client.run(f"{tool.attach} relayed")
    events = evtest(client)
    server.point(1234, 4321)
    events.wait_for_output("(ABS_X), value 1234")
    events.wait_for_output("(ABS_Y), value 4321")


@with_both_tools
def test_a_serial_line_talks_both_ways(desk: Pair, twinhub: Twinhub, tool: Tool) -> None:
    server, client = desk
    adapter = server.plug(SerialAdapter(serial="relayed"))
    twinhub.wait_available(adapter)
    client.run(f"{tool.attach} relayed")
    assert echoes(client, adapter)


@with_both_tools
@in_both_modes
def test_a_file_system_made_at_the_client_is_found_by_the_server(
    desk: Pair, twinhub: Twinhub, tool: Tool, mode: str
) -> None:
    server, client = desk
    disk = server.plug(Disk(serial="archive", size=16 << 20))
    twinhub.share(f"{disk.busid} --name archive --mode {mode}")
    client.run(f"{tool.attach} archive")
    node = client.node("vhci_hcd.0", "block/sd*")
    assert "5000" in client.run(f"cat {VHCI}/usb*/*-*/speed").stdout, "SuperSpeed at the client, too"
    client.run(f"mkfs.ext4 -q {node}; mkdir -p /mnt/archive; mount {node} /mnt/archive")
    client.run("head -c 1M /dev/urandom > /mnt/archive/file; umount /mnt/archive; sync")
    client.run(f"fsck.ext4 -fn {node}")
    written = client.run(f"blockdev --flushbufs {node}; sha256sum < {node}").stdout
    detach(client, tool)
    twinhub.wait_available(disk)
    twinhub.run("unshare archive")
    assert server.run(f"sha256sum < {server.node(disk, 'block/sd*')}").stdout == written


@pytest.mark.idle
@with_both_tools
@in_both_modes
def test_a_sound_card_plays_a_clean_tone(desk: Pair, twinhub: Twinhub, tool: Tool, mode: str) -> None:
    server, client = desk
    twinhub.wait_available(server.plug(Audio(serial=mode)))
    client.run(f"{tool.attach} {mode}")
    client.node("vhci_hcd.0", "sound/pcm*p")
    for machine in desk:
        machine.run("dmesg --clear")
    silence = len(server.heard())
    said = client.run("speaker-test -D plughw:0 -c 2 -t sine -f 441 -l 1 -b 500000")
    assert "error" not in said.stdout + said.stderr, "no underrun"
    # vhci_hcd itself says for each question after the frame number that it has none.
    complaints = "dmesg --level warn,err,crit | grep -v -e vhci_get_frame_number -e 'Not yet implemented'"
    for machine in desk:
        assert machine.run(complaints, check=False).stdout == ""
    if mode == "relayed":
        (session,) = json.loads(twinhub.run("sessions --json"))
        assert session["stats"]["endpoints"]["0x01"]["errors"] == 0
    assert has_tone(server.heard()[silence:])


def has_tone(wav: bytes) -> bool:
    """Whether 16-bit stereo repeats itself after a period of our tone, and is inverted after half of one."""
    left = memoryview(wav[: len(wav) // 4 * 4]).cast("h").tolist()[::2]
    power = sum(x * x for x in left)

    def alike(shift: int) -> float:
        return sum(x * y for x, y in zip(left, left[shift:], strict=False)) / power

    return alike(FRAMES_PER_PERIOD) > 0.9 and alike(FRAMES_PER_PERIOD // 2) < -0.9


@with_both_tools
def test_what_hangs_on_a_shared_hub_is_shared_as_it_appears(desk: Pair, twinhub: Twinhub, tool: Tool) -> None:
    server, client = desk
    hub = server.plug(Hub(Keyboard()))
    rule = json.loads(twinhub.run(f"share --json --hub {hub.busid}"))
    keyboard = rule["exports"][0]["name"]
    client.run(f"{tool.attach} {keyboard}")
    events = evtest(client)
    adapter = server.plug(SerialAdapter(), behind=hub)
    client.run(f"{tool.attach} {twinhub.name_of(adapter)}")
    assert echoes(client, adapter)
    server.type_keys("h")
    events.wait_for_output("(KEY_H), value 1")
    twinhub.run(f"unshare {rule['rule']['id']}")
    assert driver(server, adapter) == "ftdi_sio"


# What the operator does


def test_a_share_outlives_restart_and_replug_until_it_is_ended(desk: Pair, twinhub: Twinhub) -> None:
    server, _ = desk
    keyboard = server.plug(Keyboard(serial="K1"))
    (made,) = twinhub.share(f"{keyboard.busid} --name front-desk")
    assert made["name"] == "front-desk"
    twinhub.stop()
    assert driver(server, keyboard) == "usbhid", "a daemon that ends gives all devices back"
    twinhub.start()
    twinhub.wait_available(keyboard)
    server.plug(server.unplug(keyboard))
    assert twinhub.name_of(keyboard) == "front-desk"
    twinhub.run("unshare front-desk")
    assert driver(server, keyboard) == "usbhid"
    assert twinhub.exports() == []


def test_devices_are_shown_as_the_tree_they_hang_on(desk: Pair, twinhub: Twinhub) -> None:
    server, _ = desk
    hub = server.plug(Hub(Keyboard(serial="K2"), Tablet(serial="relayed")))
    twinhub.wait_available(hub.devices[1])
    shown = [line for line in twinhub.run("devices").splitlines() if hub.busid in line]
    branches = [re.split(" +0[0-9]", line)[0] for line in shown]
    assert branches == [f"└─ {hub.busid}", f"   ├─ {hub.busid}.1", f"   └─ {hub.busid}.2"]
    assert {"K2", "usbhid"} < set(shown[1].split())
    assert shown[2].split()[-2:] == ["usbip-host", "relayed"]


def test_hubs_and_imported_devices_are_refused_with_a_reason(desk: Pair, twinhub: Twinhub) -> None:
    server, _ = desk
    hub = server.plug(Hub(Keyboard(serial="relayed")))
    refused = server.run(f"twinhub share {hub.busid}", check=False)
    assert (refused.code, "is a hub" in refused.stderr) == (5, True)
    twinhub.wait_available(hub.devices[0])
    server.run("usbip attach -r localhost -b relayed")
    server.node("vhci_hcd.0", "input/event*")
    imported = server.run(f"basename {VHCI}/usb*/[0-9]-[1-9]").stdout.strip()
    refused = server.run(f"twinhub share {imported}", check=False)
    assert (refused.code, "imported over USB/IP" in refused.stderr) == (5, True)


def test_who_may_not_use_a_device_neither_sees_nor_gets_it(desk: Pair, twinhub: Twinhub) -> None:
    server, client = desk
    keyboard = server.plug(Keyboard(serial="others"))
    twinhub.wait_available(keyboard)
    assert "for-others" not in client.run("usbip list -r server", check=False).stdout
    assert client.run("usbip attach -r server -b for-others", check=False).code != 0
    assert client.run(f"twinhub attach server {keyboard.busid}", check=False).code == 5
    assert client.run(PORTS_IN_USE).stdout == ""


def test_a_second_client_is_told_that_the_device_is_busy(desk: Pair, twinhub: Twinhub) -> None:
    server, client = desk
    twinhub.wait_available(server.plug(Keyboard(serial="relayed")))
    client.run("usbip attach -r server -b relayed")
    client.node("vhci_hcd.0", "input/event*")
    assert "relayed" not in client.run("usbip list -r server", check=False).stdout
    second = server.run("usbip attach -r localhost -b relayed", check=False)
    assert "busy" in second.stderr
    assert server.run("twinhub attach localhost relayed", check=False).code == 4
    events = evtest(client)
    server.type_keys("x")
    events.wait_for_output("(KEY_X), value 1")


@in_both_modes
def test_a_kick_frees_the_device_at_once(desk: Pair, twinhub: Twinhub, mode: str) -> None:
    server, client = desk
    keyboard = server.plug(Keyboard(serial=mode))
    twinhub.wait_available(keyboard)
    client.run(f"usbip attach -r server -b {mode}")
    node = client.node("vhci_hcd.0", "input/event*")
    twinhub.run(f"kick {mode}")
    assert server.run(f"cat /sys/bus/usb/devices/{keyboard.busid}/usbip_status").stdout == "1\n"
    client.wait_until(f"! test -e {node}")
    server.run(f"usbip attach -r localhost -b {mode}")
    server.node("vhci_hcd.0", "input/event*")


def test_a_capture_of_a_session_is_read_by_tshark(desk: Pair, twinhub: Twinhub, tmp_path: Path) -> None:
    server, client = desk
    twinhub.wait_available(server.plug(Disk(serial="relayed")))
    client.run("usbip attach -r server -b relayed")
    node = client.node("vhci_hcd.0", "block/sd*")
    capture = server.start("capture", "exec twinhub capture relayed -o /tmp/session.pcapng")
    server.wait_until("test -e /tmp/session.pcapng")
    client.run(f"dd if={node} of=/dev/null bs=1M count=1 iflag=direct")
    twinhub.run("kick relayed")
    assert capture.wait() == 0
    (tmp_path / "session.pcapng").write_bytes(server.read_file("/tmp/session.pcapng"))
    assert tshark(tmp_path / "session.pcapng", "usbms.dCSWStatus == 0")
    assert not tshark(tmp_path / "session.pcapng", "_ws.malformed")


def tshark(file: Path, filter: str) -> list[str]:
    """A line for each packet that passes."""
    return subprocess.check_output(["tshark", "-r", file, "-Y", filter], text=True).splitlines()
