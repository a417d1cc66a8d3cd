"""A host at a device in which things go wrong."""

from __future__ import annotations

from gadgets.faults.catalogue import AnyFault
from gadgets.faults.faulty import Faulty
from gadgets.usb.urb import Completion
from tests.unit.gadgets.host import Host, Say, bench

SOURCE, SINK = 0x81, 0x01
MS = 1_000_000
CLEAR_SOURCE = "02 01 0000 0081 0000"


def faulty(*faults: AnyFault, seed: int = 1) -> tuple[Host, Faulty]:
    device = Faulty(bench()[0], faults, seed)
    return Host(device), device


def heard(device: Faulty) -> list[bytes]:
    inner = device.device
    return list(inner.functions[0].heard)  # type: ignore[attr-defined]


def data(done: list[Completion]) -> list[bytes]:
    return [completion.data for completion in done]


def statuses(done: list[Completion]) -> list[int]:
    return [completion.status for completion in done]


def fetch(host: Host, message: bytes, length: int = 64, **more: int) -> list[Completion]:
    host.device.local(Say(message))
    return host.submit(SOURCE, length, **more)
