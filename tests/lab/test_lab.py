"""The lab itself: machines boot, meet, and get real USB devices; the stock tools work between them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import (
    Audio,
    CommandFailed,
    DeadlinePassed,
    Disk,
    Hub,
    Keyboard,
    Lab,
    Machine,
    MachineDied,
    SerialAdapter,
    Tablet,
)
from tests.lab.machine import ROOT

Pair = tuple[Machine, Machine]

A_RUN = """
import signal
from tests.lab import Lab
with Lab() as lab, lab.machines("one") as (one,):
    print(one.pid, flush=True)
    signal.pause()
"""

NOTIFYING_UNIT = """
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep infinity'
"""


def test_a_machine_runs_debians_kernel_with_all_its_modules(pair: Pair) -> None:
    server, _ = pair
    assert "Debian" in server.run("uname -v").stdout
    server.run("modprobe -a usbip-host vhci-hcd usbmon usb-storage uas ftdi_sio snd-usb-audio ext4 vfat tls")


def test_a_machine_has_the_hosts_tools_and_keeps_to_itself_what_it_writes(pair: Pair, tmp_path: Path) -> None:
    server, client = pair
    server.run(["touch", str(tmp_path / "mine")])
    server.run("test -x .venv/bin/python; touch /etc/mine; echo x > /usr/bin/mine")
    assert not (tmp_path / "mine").exists()
    assert not Path("/etc/mine").exists()
    client.run("! test -e /etc/mine")


def test_a_command_that_fails_shows_all_it_said(pair: Pair) -> None:
    server, _ = pair
    with pytest.raises(CommandFailed, match=r"(?s)code 3.*to stdout.*to stderr"):
        server.run("echo to stdout; echo to stderr >&2; exit 3")
    assert server.run("exit 3", check=False).code == 3


def test_a_command_that_hangs_is_killed_in_time(pair: Pair) -> None:
    server, _ = pair
    with pytest.raises(CommandFailed, match=r"not done within 0.5 s"):
        server.run("sleep 1000", timeout=0.5)


def test_what_never_comes_ends_the_wait(pair: Pair) -> None:
    server, _ = pair
    with pytest.raises(DeadlinePassed, match="no such thing"):
        server.wait_until("echo no such thing; false", timeout=0.5)
    with pytest.raises(DeadlinePassed):
        server.wait_for_port(9, timeout=0.5)


def test_a_background_process_is_heard_and_ends_by_a_signal(pair: Pair) -> None:
    server, _ = pair
    reader = server.start("reader", "echo started; exec cat /dev/zero > /dev/null")
    reader.wait_for_output("started")
    server.kill("reader")
    assert reader.wait() == -9


def test_files_go_in_and_out_byte_by_byte(pair: Pair) -> None:
    server, _ = pair
    content = bytes(range(256)) * 100
    server.write_file("/tmp/new/folder/file", content)
    assert server.read_file("/tmp/new/folder/file") == content


def test_machines_reach_each_other_unless_the_link_between_them_is_cut(pair: Pair, lab: Lab) -> None:
    _, client = pair
    ping = "ping -c 1 -W 1 server"
    client.run(ping)
    client.run("ping -6 -c 1 fd77::1")
    lab.network.cut("server", "client", one_way=True)
    assert client.run(ping, check=False).code == 1
    assert lab.network.dropped("server", "client") > 0
    assert lab.network.dropped("client", "server") == 0
    lab.network.heal()
    client.wait_until(ping)


def test_a_frozen_machine_answers_nobody_until_it_is_thawed(pair: Pair) -> None:
    server, client = pair
    server.freeze()
    assert client.run("ping -c 1 -W 1 server", check=False).code == 1
    server.thaw()
    client.wait_until("ping -c 1 -W 1 server")


def test_frames_between_machines_are_captured_for_tshark(pair: Pair, lab: Lab, tmp_path: Path) -> None:
    _, client = pair
    with lab.network.capture(tmp_path / "frames.pcap"):
        client.run("ping -c 1 server")
    assert b"Echo (ping) reply" in subprocess.check_output(["tshark", "-r", tmp_path / "frames.pcap"])


def test_a_key_pressed_on_a_plugged_keyboard_arrives_in_evdev(pair: Pair) -> None:
    server, _ = pair
    keyboard = server.plug(Keyboard())
    assert "Keyboard" in server.run(f"cat /sys/bus/usb/devices/{keyboard.busid}/product").stdout
    events = server.start("evtest", f"exec stdbuf -oL evtest {server.node(keyboard, 'input/event*')}")
    events.wait_for_output("interrupt to exit")
    server.type_keys("a", "shift-b")
    events.wait_for_output("(KEY_A), value 1")
    events.wait_for_output("(KEY_B), value 1")


def test_the_tablet_points(pair: Pair) -> None:
    server, _ = pair
    tablet = server.plug(Tablet())
    events = server.start("evtest", f"exec stdbuf -oL evtest {server.node(tablet, 'input/event*')}")
    events.wait_for_output("interrupt to exit")
    server.point(1234, 4321)
    events.wait_for_output("(ABS_X), value 1234")


@pytest.mark.parametrize(("super_speed", "speed"), [(True, "5000"), (False, "480")])
def test_a_disk_holds_a_file_system(pair: Pair, super_speed: bool, speed: str) -> None:
    server, _ = pair
    disk = server.plug(Disk(serial="LAB-1", super_speed=super_speed))
    facts = server.run(f"cd /sys/bus/usb/devices/{disk.busid}; cat speed serial").stdout.split()
    assert facts == [speed, "LAB-1"]
    node = server.node(disk, "block/sd*")
    server.run(f"mkfs.ext4 -q {node}; fsck.ext4 -fn {node}")
    server.unplug(disk)
    server.wait_until(f"! test -e {node}")
    assert disk.path
    assert b"\x53\xef" in disk.path.read_bytes()[1024:2048], "ext4's magic number is in the image"


def test_a_serial_adapter_talks_to_the_test(pair: Pair) -> None:
    server, _ = pair
    adapter = server.plug(SerialAdapter())
    tty = server.node(adapter, "tty/ttyUSB*")
    server.run(f"stty -F {tty} raw -echo; printf hello > {tty}")
    assert adapter.socket.recv(100) == b"hello"


def test_a_sound_card_plays_and_is_heard(pair: Pair) -> None:
    server, _ = pair
    card = server.plug(Audio())
    server.node(card, "sound/pcm*p")
    server.run("speaker-test --device plughw:0 --channels 2 --test sine --nloops 1")
    assert len(set(server.heard())) > 100, "a sine wave has many sample values"


def test_a_hub_comes_and_goes_with_all_behind_it_and_moves_to_another_machine(pair: Pair) -> None:
    server, client = pair
    hub = server.plug(Hub(Keyboard(), Tablet(), Disk()))
    behind = [device.busid for device in hub.devices]
    assert behind == [f"{hub.busid}.{port}" for port in (1, 2, 3)]
    client.plug(server.unplug(hub))
    server.wait_until(f"! test -e /sys/bus/usb/devices/{hub.busid}")
    assert client.run(f"cd /sys/bus/usb/devices; cat {behind[0]}/product").stdout == "QEMU USB Keyboard\n"


def test_the_stock_tools_import_a_disk_and_lose_it_when_it_is_unplugged(pair: Pair) -> None:
    server, client = pair
    disk = server.plug(Disk())
    server.run(f"modprobe usbip-host; usbip bind -b {disk.busid}")
    server.start("usbipd", "exec usbipd -4")
    server.wait_for_port(3240)
    client.run(f"modprobe vhci-hcd; usbip attach -r server -b {disk.busid}")
    node = client.node("vhci_hcd.0", "block/sd*")
    client.run(f"mkfs.ext4 -q {node}; fsck.ext4 -fn {node}")
    server.unplug(disk)
    client.wait_until(f"! test -e {node}")


def test_power_off_is_sudden_and_final(lab: Lab) -> None:
    with lab.machines("victim") as (victim,):
        victim.power_off()
        with pytest.raises(MachineDied):
            victim.run("true")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_machine_outlives_the_run_that_started_it(lab: Lab, tmp_path: Path, end: int) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", A_RUN],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with run:
        assert run.stdout
        qemu = os.pidfd_open(int(run.stdout.readline()))
        run.send_signal(end)
    try:
        ended, _, _ = select.select([qemu], [], [], 10)
        assert ended
    finally:
        os.close(qemu)


def test_systemd_can_be_the_first_process(lab: Lab) -> None:
    with lab.machines("host", init="systemd") as (host,):
        host.write_file("/run/systemd/system/told.service", NOTIFYING_UNIT)
        host.run("systemctl daemon-reload; systemctl start told; systemctl is-active told")
