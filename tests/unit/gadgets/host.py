"""Test doubles: a host that numbers its URBs, and a function with every kind of endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gadgets.usb.compose import Identity, compose
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.descriptors import Endpoint
from gadgets.usb.device import Device, GadgetDevice
from gadgets.usb.function import Answer, Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.urb import ENDPOINT_IN, Completion, IsoPacket, SetupPacket, Speed, TransferType, Urb


class Host:
    """Drives a device; each URB gets the next number."""

    def __init__(self, device: Device, *, configured: bool = True) -> None:
        self.device = device
        self.number = 0
        if configured:
            assert self.control("00 09 0001 0000 0000") == b""

    def submit(self, endpoint: int, length: int = 0, data: bytes = b"", **more: Any) -> list[Completion]:
        self.number += 1
        return self.device.submit(Urb(self.number, endpoint, length or len(data), data, **more))

    def setup(self, setup: SetupPacket, data: bytes = b"") -> list[Completion]:
        return self.submit(setup.request_type & 0x80, setup.length, data, setup=setup)

    def control(self, request: str, data: bytes = b"") -> bytes | None:
        """`request`: type, request, value, index, length in hex; None: stall."""
        completion = self.control_later(request, data)[-1]
        assert completion.number == self.number
        return completion.data if completion.status == 0 else None

    def control_later(self, request: str, data: bytes = b"") -> list[Completion]:
        """Like `control`, of a device that may not answer, or not yet."""
        return self.setup(setup_of(request), data)


def setup_of(request: str) -> SetupPacket:
    return SetupPacket(*(int(word, 16) for word in request.split()))


@dataclass(frozen=True)
class Say:
    """Input of `Bench`: queue this message on bulk IN."""

    data: bytes


@dataclass(frozen=True)
class Take:
    """Input of `Bench`: from now on take OUT data, or let it wait."""

    willing: bool


class Bench(Function):
    """Bulk both ways in setting 0; isochronous both ways in setting 1. Hears all, says what it is told to.

    The OUT message b"halt" makes it stall OUT after accepting it, b"refuse" instead of accepting it.
    """

    inputs = (Say, Take)

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.told: list[str] = []
        self.willing = True

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        bulk_in, bulk_out = take.bulk_in(), take.bulk_out()
        self.source, self.sink = bulk_in.address, bulk_out.address
        self.iso_in, self.iso_out = take.address(ENDPOINT_IN), take.address(0)
        isochronous = tuple(
            Endpoint(address, TransferType.ISOCHRONOUS, 64, 1) for address in (self.iso_in, self.iso_out)
        )
        self.interface = take.interface()
        return [
            AlternateSetting(
                self.interface, 0, string_index=take.string("Bench"), endpoints=(bulk_in, bulk_out)
            ),
            AlternateSetting(self.interface, 1, endpoints=isochronous),
        ]

    def setup(self, setup: SetupPacket, data: bytes) -> Answer:
        if setup.request == 0x5B:
            self.heard.append(data)
            return b""
        return b"answer" if setup.request == 0x5C else None

    def out(self, endpoint: int, data: bytes) -> bool:
        if data in (b"halt", b"refuse"):
            self.halt(endpoint)
        if not self.willing or data == b"refuse":
            return False
        self.heard.append(data)
        return True

    def on_configured(self) -> None:
        self.told.append("configured")

    def on_alternate(self, interface: int, alternate: int) -> None:
        self.told.append(f"alternate {interface}.{alternate}")

    def on_reset(self) -> None:
        self.told.append("reset")

    def local(self, input: Say | Take) -> None:
        if isinstance(input, Say):
            self.send(self.source, input.data)
            return
        self.willing = input.willing
        if self.willing:
            self.ready(self.sink)

    def snapshot(self) -> dict[str, Any]:
        return {"heard": list(self.heard), "willing": self.willing}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.heard, self.willing = list(state["heard"]), state["willing"]


IDENTITY = Identity(0x1209, 0x0002, "Twinhub", {0x0409: "Bench", 0x0407: "Prüfstand"}, "0001")


def bench(speed: Speed = Speed.HIGH, **more: Any) -> tuple[GadgetDevice, Bench]:
    function = Bench()
    return compose(IDENTITY, [function], speed=speed, **more), function


def iso(*lengths: int) -> tuple[IsoPacket, ...]:
    """Packets one behind the other."""
    return tuple(IsoPacket(sum(lengths[:n]), length) for n, length in enumerate(lengths))
