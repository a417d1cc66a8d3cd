"""Linux' own usbtest judges the way from its driver to our state machine, over vhci_hcd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, Machine

RUNNER = Path(__file__).with_name("usbtest.py")
DRIVER = "/sys/bus/usb/drivers/usbtest"
PARAMETERS = "/sys/module/usbtest/parameters"
SERVE = """
from gadgets.testdevice.pattern import Pattern
from gadgets.testdevice.zero import bulk_only, gadget_zero
from gadgets.usb.urb import Speed
from tests.lab.serve_gadgets import serve
serve(device={device})
"""

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
ISOCHRONOUS: list[Case] = [(case, 10, 8192, 0, 4) for case in (15, 16, 22, 23)]
INTERRUPT: list[Case] = [(case, 50, length, 0, 1) for case in (25, 26) for length in (64, 1024)]


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    """Its kernel may preempt itself: usbtest's unlink cases spin until vhci_hcd's thread has had its turn,
    which on a machine's only processor is never otherwise."""
    with lab.machines("judge") as (machine,):
        machine.run("mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug")
        machine.run("echo full > /sys/kernel/debug/sched/preempt; modprobe vhci-hcd; modprobe usbtest")
        yield machine


@pytest.fixture(autouse=True)
def nothing_left_behind(machine: Machine) -> Iterator[None]:
    yield
    machine.reset()
    machine.wait_until(f"! test -e {DRIVER}/*:1.0")
    machine.run(f"echo 0 > {PARAMETERS}/pattern; echo -1 > {PARAMETERS}/alt")


class Judged:
    """A device that usbtest has."""

    def __init__(self, machine: Machine, device: str) -> None:
        self.machine = machine
        machine.start(f"server of {device}", ["python", "-c", SERVE.format(device=device)])
        machine.wait_for_port(3240)
        machine.run("usbip attach -r 127.0.0.1 -b device")
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


@pytest.mark.parametrize("speed", ["FULL", "HIGH", "SUPER"])
def test_gadget_zero_passes_every_case(machine: Machine, speed: str) -> None:
    device = Judged(machine, f"gadget_zero(speed=Speed.{speed}, burst=15)")
    assert device.failures(CHAPTER_9 + CONTROL_OUT + BULK + PERFORMANCE) == {}
    device.anew(setting=1)
    assert device.failures(CHAPTER_9 + ISOCHRONOUS) == {}
    device.anew(setting=2)
    assert device.failures(CHAPTER_9 + INTERRUPT) == {}


@pytest.mark.parametrize("speed", ["HIGH", "SUPER"])
def test_the_bulk_variant_passes_with_counted_data(machine: Machine, speed: str) -> None:
    device = Judged(machine, f"bulk_only(speed=Speed.{speed}, pattern=Pattern.MOD63)")
    device.anew(pattern=1)
    assert device.failures(CHAPTER_9 + BULK) == {}
    zeros = [case for case in BULK if case[0] == 1]
    device.anew(pattern=0)
    assert set(device.failures(zeros)) == set(zeros), "other data halts the sink"
