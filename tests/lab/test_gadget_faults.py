"""A stock kernel, and devices that misbehave as told; the same again from a seed, and from a recording."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab import Lab, Machine
from tests.lab.process import Process
from tests.lab.twinhub import Twinhub

DICE = """
[gadget]
seed = 7

[[function]]
kind = "keyboard"

[[fault]]
kind = "stall"
name = "dice"
request_type = 0x80
request = 0
chance = 0.5
"""
STICK = """
[gadget]
serial = "0815"

[[function]]
kind = "disk"
luns = [{ medium = "memory:4M" }]

[[fault]]
kind = "give"
input = { spoil_blocks = 4096, last = 4103 }
at = 0.0

[[fault]]
kind = "reenumeration"
serial = "4711"
back_after = 0.1
prefix = "text:gone"
"""
CONFIG = """
[[gadget]]
definition = "dice.toml"
count = 2

[[gadget]]
definition = "stick.toml"
"""
MUTE = {"stall": True, "name": "mute", "request": 6, "value": 0x0302}
CUT = {"short_descriptor": "configuration", "length": 3, "name": "cut"}

VHCI = "/sys/devices/platform/vhci_hcd.0"
DEVICE = f"{VHCI}/usb*/*-1"
PORTS_IN_USE = f"awk '$3 == 6 {{print $2 + 0}}' {VHCI}/status"
ASK = """
import ctypes, fcntl, glob, os, struct
bus, address = (int(open(glob.glob("%s/" + name)[0]).read()) for name in ("busnum", "devnum"))
usb = os.open(f"/dev/bus/usb/{bus:03d}/{address:03d}", os.O_RDWR)
answer = ctypes.create_string_buffer(2)
request = struct.pack("BBHHHI4xQ", 0x80, 0, 0, 0, 2, 5000, ctypes.addressof(answer))
for _ in range(40):
    try:
        fcntl.ioctl(usb, 0xC0185500, request)
        print("+", end="")
    except BrokenPipeError:
        print("-", end="")
"""
"""GET_STATUS by USBDEVFS_CONTROL, which nobody else asks: + for an answer, - for a stall."""
EVENTS = """
import http.client, socket, sys
daemon = http.client.HTTPConnection("localhost")
daemon.sock = socket.socket(socket.AF_UNIX)
daemon.sock.connect("/run/twinhub/twinhub.sock")
daemon.request("GET", "/api/gadgets/events?name=" + sys.argv[1])
answer = daemon.getresponse()
print("listening", flush=True)
while line := answer.readline():
    print(line.decode(), end="", flush=True)
"""
"""What `twinhub gadget events --json` does, without the imports, which take long under emulation."""
SEND = """
import http.client, socket, sys
daemon = http.client.HTTPConnection("localhost")
daemon.sock = socket.socket(socket.AF_UNIX)
daemon.sock.connect("/run/twinhub/twinhub.sock")
daemon.request("POST", "/api/local", sys.argv[1], {"Content-Type": "application/json"})
answer = daemon.getresponse()
if answer.status >= 400:
    sys.exit(answer.read().decode())
"""
"""`twinhub gadget send` likewise."""


@pytest.fixture(scope="module")
def booted(lab: Lab) -> Iterator[Machine]:
    """All gadgets run in its daemon."""
    with lab.machines("one") as (machine,):
        machine.run("modprobe -a vhci-hcd usb-storage sd_mod")
        machine.write_file("/etc/twinhub/dice.toml", DICE)
        machine.write_file("/etc/twinhub/stick.toml", STICK)
        Twinhub(machine, CONFIG).start()
        yield machine


@pytest.fixture
def machine(booted: Machine) -> Iterator[Machine]:
    booted.run("dmesg --clear")
    yield booted
    detach(booted)


def attach(machine: Machine, name: str) -> None:
    machine.wait_until(f"usbip attach -r 127.0.0.1 -b {name}")


def detach(machine: Machine) -> None:
    machine.run(f"for port in $({PORTS_IN_USE}); do echo $port > {VHCI}/detach; done")
    machine.wait_until(f"! ls -d {DEVICE}")


@contextmanager
def troubled(machine: Machine, name: str, fault: dict[str, Any]) -> Iterator[None]:
    """The fault is there for that time."""

    def send(given: dict[str, Any]) -> None:
        line = json.dumps({"export": name, "input": given})
        machine.wait_until(["python3", "-I", "-S", "-c", SEND, line])

    send({"add_fault": fault})
    yield
    send({"remove_fault": fault["name"]})


def follow(machine: Machine, name: str) -> Process:
    log = machine.start(f"events of {name}", ["python3", "-I", "-S", "-c", EVENTS, name])
    log.wait_for_output("listening")
    return log


def fired(log: Process) -> list[dict[str, Any]]:
    """The faults that did, without what depends on the host: when, and its numbers of URBs."""
    events = [json.loads(line) for line in log.output.splitlines() if '"fault_fired"' in line]
    return [{**event["fields"], "urb": None} for event in events]


def test_a_stalled_string_is_missing_and_all_else_is_there(machine: Machine) -> None:
    with troubled(machine, "dice", MUTE):
        attach(machine, "dice")
        machine.node("vhci_hcd.0", "input/event*")
        assert machine.run(f"cat {DEVICE}/manufacturer").stdout == "Twinhub\n"
        machine.run(f"! ls {DEVICE}/product")


def test_a_short_configuration_descriptor_is_refused_by_the_kernel(machine: Machine) -> None:
    with troubled(machine, "dice", CUT):
        attach(machine, "dice")
        machine.wait_until("dmesg | grep 'config index 0 descriptor too short (expected 9, got 3)'")
        machine.wait_until('dmesg | grep "can\'t read configurations, error"')


def test_a_medium_error_is_where_it_was_told_to_be(machine: Machine) -> None:
    attach(machine, "stick")
    node = machine.node("vhci_hcd.0", "block/sd*")
    read = f"dd if={node} of=/dev/null bs=4k count=1 iflag=direct skip="
    machine.run(f"{read}511; ! {read}512; {read}513")
    machine.run("dmesg | grep 'Sense Key : Medium Error'; dmesg | grep 'sector 4096'")


def test_a_disk_is_pulled_out_at_a_transfer_and_comes_back_under_another_serial(machine: Machine) -> None:
    log = follow(machine, "stick")
    attach(machine, "stick")
    node = machine.node("vhci_hcd.0", "block/sd*")
    assert machine.run(f"cat {DEVICE}/serial").stdout == "0815\n"
    machine.run(f"! {{ echo gone | dd of={node} bs=4k conv=sync,fsync,nocreat oflag=direct; }}")
    machine.wait_until("dmesg | grep 'USB disconnect'")
    log.wait_for_output('"plugged"')
    attach(machine, "stick")
    machine.wait_until(f"grep -x 4711 {DEVICE}/serial")
    assert [event["kind"] for event in fired(log)][:2] == ["give", "reenumeration"]


def test_the_same_seed_gives_the_same_log_and_a_recording_replays(machine: Machine) -> None:
    def roll(name: str) -> tuple[str, list[dict[str, Any]]]:
        log = follow(machine, name)
        attach(machine, name)
        machine.node("vhci_hcd.0", "input/event*")
        answers = machine.run(["python3", "-I", "-S", "-c", ASK % DEVICE]).stdout
        log.wait_for_output(f'"times": {answers.count("-")}')
        detach(machine)
        return answers, fired(log)

    recorder = machine.start("recorder", "exec twinhub gadget record dice /tmp/dice.twrec")
    machine.wait_until("test -s /tmp/dice.twrec", timeout=120)
    first = roll("dice")
    recorder.kill(signal.SIGINT, group=False)
    assert recorder.wait() == 0
    assert set(first[0]) == {"+", "-"}
    assert roll("dice-2") == first
    assert "byte-identical" in machine.run("twinhub gadget replay /tmp/dice.twrec", timeout=120).stdout
