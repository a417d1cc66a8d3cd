"""Linux' own usbtest judges the way from its driver to our state machine, over vhci_hcd."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.lab import Lab, Machine

RUNNER = Path(__file__).with_name("usbtest.py")
DRIVER = "/sys/bus/usb/drivers/usbtest"
PARAMETERS = "/sys/module/usbtest/parameters"
GADGET = """
[gadget]
vendor_id = 0x0525
product_id = {product_id}
speed = "{speed}"
[[function]]
kind = "source-sink"
{options}
"""
ALL = "burst = 15\niso_transactions = 3\niso_burst = 2"
BULK_ONLY = 'isochronous = false\ninterrupt = false\npattern = "mod63"'

Case = tuple[int, int, int, int, int]
"""Number, iterations, bytes of a transfer, bytes by which the next is longer, transfers at once."""

CHAPTER_9: list[Case] = [(0, 1, 1, 0, 1), (9, 20, 512, 0, 1), (10, 20, 512, 0, 32)]
CONTROL_OUT: list[Case] = [(14, 100, 1024, 511, 1), (21, 100, 1024, 511, 1), (14, 5, 65535, 30000, 1)]
BULK: list[Case] = [
    (1, 100, 512, 0, 1),
    (1, 20, 65536, 0, 1),
    (2, 100, 512, 0, 1),
    (2, 20, 65536, 0, 1),
    (3, 100, 1024, 512, 1),
    (3, 100, 2048, 333, 1),
    (4, 100, 1024, 512, 1),
    (4, 100, 2048, 333, 1),
    (5, 20, 512, 512, 32),
    (6, 20, 512, 512, 32),
    (7, 20, 4096, 1024, 32),
    (8, 20, 4096, 1024, 32),
    (11, 50, 512, 0, 1),
    (11, 20, 65536, 0, 1),
    (12, 50, 512, 0, 1),
    (12, 20, 65536, 0, 1),
    (13, 20, 512, 0, 1),
    (17, 50, 512, 0, 1),
    (18, 50, 512, 0, 1),
    (19, 50, 512, 0, 1),
    (20, 50, 512, 0, 1),
    (24, 20, 4096, 0, 16),
    (29, 20, 512, 0, 1),
]
PERFORMANCE: list[Case] = [(27, 10, 16384, 0, 16), (28, 10, 16384, 0, 16)]
"""usbtest has them for zeros only."""
ISOCHRONOUS: list[Case] = [(case, 10, 20000, 0, 4) for case in (15, 16, 22, 23)]
INTERRUPT: list[Case] = [(case, 50, length, 0, 1) for case in (25, 26) for length in (64, 1024)]


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    """Its kernel may preempt itself: usbtest's unlink cases spin until vhci_hcd's thread has had its turn,
    which on a machine's only processor is never otherwise."""
    with lab.machines("judge") as (machine,):
        machine.run("mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug")
        machine.run("echo full > /sys/kernel/debug/sched/preempt; modprobe vhci-hcd; modprobe usbtest")
        yield machine


class Judged:
    """A gadget that usbtest has."""

    def __init__(self, machine: Machine, speed: str, product_id: int, options: str) -> None:
        self.machine = machine
        definition = GADGET.format(speed=speed, product_id=product_id, options=options)
        machine.write_file("/etc/judged.toml", definition)
        gadget = machine.start("gadget", "exec twinhub gadget run /etc/judged.toml --json")
        gadget.wait_for_output('"running"', timeout=120)
        machine.run("usbip attach -r 127.0.0.1 -b judged")
        interface = machine.wait_until(f"basename {DRIVER}/*:1.0 | grep -v '*'").stdout.strip()
        self.interface = interface
        sysfs = f"/sys/bus/usb/devices/{interface.removesuffix(':1.0')}"
        numbers = machine.run(f"cat {sysfs}/busnum {sysfs}/devnum").stdout.split()
        self.node = "/dev/bus/usb/{:03}/{:03}".format(*map(int, numbers))

    def anew(self, pattern: int = 0, setting: int = -1) -> None:
        """usbtest takes it again, with this pattern and alternate setting (−1: the first that will do)."""
        self.machine.run(
            f"echo {pattern} > {PARAMETERS}/pattern; echo {setting} > {PARAMETERS}/alt;"
            f"echo {self.interface} > {DRIVER}/unbind; echo {self.interface} > {DRIVER}/bind"
        )

    def failures(self, cases: list[Case]) -> dict[Case, str]:
        command = ["python3", "-I", "-S", str(RUNNER), self.node, json.dumps(cases)]
        lines = self.machine.run(command, timeout=120).stdout.splitlines()
        told = [json.loads(line)[1] for line in lines]
        return {case: error for case, error in zip(cases, told, strict=True) if error}


Judge = Callable[..., Judged]


@pytest.fixture
def judged(machine: Machine) -> Iterator[Judge]:
    yield partial(Judged, machine)
    machine.processes["gadget"].kill(signal.SIGTERM, group=False)
    machine.processes["gadget"].wait()
    machine.wait_until(f"! test -e {DRIVER}/*:1.0")
    machine.run(f"echo 0 > {PARAMETERS}/pattern; echo -1 > {PARAMETERS}/alt")
    machine.reset()


@pytest.mark.parametrize("speed", ["full", "high", "super"])
def test_gadget_zero_passes_every_case(judged: Judge, speed: str) -> None:
    device = judged(speed, 0xA4A0, ALL)
    assert device.failures(CHAPTER_9 + CONTROL_OUT + BULK + PERFORMANCE) == {}
    device.anew(setting=1)
    assert device.failures(CHAPTER_9 + ISOCHRONOUS) == {}
    device.anew(setting=2)
    assert device.failures(CHAPTER_9 + INTERRUPT) == {}


@pytest.mark.parametrize("speed", ["high", "super"])
def test_the_bulk_variant_passes_with_counted_data(judged: Judge, speed: str) -> None:
    device = judged(speed, 0xA4A4, BULK_ONLY)
    device.anew(pattern=1)
    assert device.failures(CHAPTER_9 + BULK) == {}
    zeros = [case for case in BULK if case[0] == 1]
    device.anew(pattern=0)
    assert set(device.failures(zeros)) == set(zeros), "other data halts the sink"
