"""A software serial port on a stock kernel: cdc_acm's tty on one side, a pty on the other."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, Machine

GADGET = """
[gadget]
product = "Port"
speed = "super"
[[function]]
kind = "serial"
connect = "pty:/run/port"
"""
STREAM = Path(__file__).with_name("serial_stream.py")
MEGABYTES = 10
DTR, RTS, CD, RI, DSR = 0x002, 0x004, 0x040, 0x080, 0x100
"""asm-generic/termios.h"""

LOOK = """
import fcntl, json, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
(lines,) = struct.unpack("i", fcntl.ioctl(fd, 0x5415, bytes(4)))
counts = struct.unpack("20i", fcntl.ioctl(fd, 0x545D, bytes(80)))
names = ("cts", "dsr", "rng", "dcd", "rx", "tx", "frame", "overrun", "parity", "brk", "buf_overrun")
print(json.dumps({"lines": lines, **dict(zip(names, counts))}))
"""
"""TIOCMGET and TIOCGICOUNT."""
LINES = """
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
fcntl.ioctl(fd, 0x5418, struct.pack("i", int(sys.argv[2])))
"""
"""TIOCMSET."""
BREAK = "import os, sys, termios; termios.tcsendbreak(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY), 0)"
WAIT = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
print("waiting", flush=True)
fcntl.ioctl(fd, 0x545C, int(sys.argv[2]))
print("changed", flush=True)
"""
"""TIOCMIWAIT."""


class Port:
    """Attached, and held open by a program on the host's side."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.write_file("/etc/port.toml", GADGET)
        self.gadget = machine.start("gadget", "exec twinhub gadget run /etc/port.toml --json")
        self.gadget.wait_for_output('"running"', timeout=120)
        machine.run("modprobe vhci-hcd; modprobe cdc-acm; usbip attach -r 127.0.0.1 -b port")
        self.tty = machine.node("vhci_hcd.0", "tty/ttyACM*")
        self.run("import os, sys, tty; tty.setraw(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY))")
        machine.start("holder", f"exec sleep infinity 3<>{self.tty}")
        self.told("control_lines", dtr=True, rts=True)

    def run(self, script: str, *words: object) -> str:
        command = ["python3", "-I", "-S", "-c", script, self.tty, *map(str, words)]
        return self.machine.run(command).stdout

    def look(self) -> dict[str, int]:
        return dict(json.loads(self.run(LOOK)))

    def told(self, kind: str, **fields: object) -> None:
        """Wait until the gadget has told this."""
        self.gadget.wait_for_output(f'"kind": "{kind}", "fields": {json.dumps(fields)}')

    def send(self, words: str) -> None:
        self.machine.run(f"twinhub gadget send port {words}")


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    with lab.machines("desk") as (machine,):
        yield machine


@pytest.fixture
def port(machine: Machine) -> Iterator[Port]:
    port = Port(machine)
    yield port
    port.gadget.kill(signal.SIGTERM, group=False)
    port.gadget.wait()
    machine.reset()
    machine.wait_until("! ls /dev/ttyACM*")


def test_ten_megabytes_pass_both_ways_at_once(
    port: Port, record_property: Callable[[str, object], None]
) -> None:
    command = ["python3", "-I", "-S", str(STREAM), port.tty, "/run/port", str(MEGABYTES << 20)]
    told = json.loads(port.machine.run(command, timeout=400).stdout)
    assert told["wrong"] == {"from_host": -1, "to_host": -1}
    for way, seconds in told["seconds"].items():
        record_property(f"serial.{way}", MEGABYTES / seconds)


def test_each_side_sees_the_others_lines_breaks_and_errors(port: Port) -> None:
    port.run(LINES, RTS)
    port.told("control_lines", dtr=False, rts=True)
    port.run(LINES, DTR)
    port.told("control_lines", dtr=True, rts=False)
    port.run(BREAK)
    port.told("break_sent", milliseconds=0xFFFF)
    port.told("break_sent", milliseconds=0)

    before = port.look()
    assert before["lines"] & (CD | DSR | RI) == 0, "nobody has the pty open"
    waiter = port.machine.start("waiter", ["python3", "-I", "-S", "-c", WAIT, port.tty, str(RI)])
    waiter.wait_for_output("waiting")
    port.send("set_lines dcd=true dsr=true ri=true")
    waiter.wait_for_output("changed")
    port.send("break=3")
    port.send("line_errors=true parity=true framing=true")
    port.machine.wait_until(["python3", "-I", "-S", "-c", f"{LOOK}\nassert counts[6]", port.tty])
    after = port.look()
    assert after["lines"] & (CD | DSR | RI) == CD | DSR | RI
    changes = {
        name: after[name] - before[name] for name in ("dcd", "dsr", "brk", "frame", "overrun", "parity")
    }
    assert changes == {"dcd": 1, "dsr": 1, "brk": 3, "frame": 1, "overrun": 1, "parity": 1}


def test_what_is_attached_can_be_a_terminal(port: Port) -> None:
    """A getty's way: what is typed on one side is read on the other, line by line."""
    port.machine.start("reader", f"exec head -n 2 {port.tty}")
    port.machine.run("printf 'one\\ntwo\\n' > /run/port")
    assert port.machine.processes["reader"].wait() == 0
    assert "one\ntwo" in port.machine.processes["reader"].output.replace("\r", "")
