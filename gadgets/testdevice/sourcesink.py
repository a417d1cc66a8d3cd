"""Source and sink: gives the host as much data as it asks for, takes as much as it sends.

What Linux' own gadget zero is (drivers/usb/gadget/function/f_sourcesink.c), so that usbtest can judge the
way from the host's driver to here: enumeration, control, bulk, interrupt, isochronous, halts, unlinks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from gadgets.testdevice.pattern import Pattern, first_mismatch, patterned
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.descriptors import Endpoint
from gadgets.usb.function import Answer, Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.records import Range
from gadgets.usb.urb import ENDPOINT_IN, SetupPacket, TransferType

Burst = Annotated[int, Range(0, 15)]

CONTROL_WRITE, CONTROL_READ = (0x40, 0x5B), (0xC0, 0x5C)
"""Keep these bytes; give them back. As Intel's USB 2.0 compliance test device."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Event: OUT data left the pattern at byte `offset` of its transfer; the endpoint halted."""

    endpoint: int
    offset: int


class SourceSink(Function):
    """Interface FF/00/00. Setting 0: bulk; 1: bulk and isochronous; the last: bulk and interrupt.

    `burst` is of bulk, `iso_…` of isochronous endpoints (gadgets/usb/numbering.py says what they mean).
    """

    def __init__(
        self,
        *,
        pattern: Pattern = Pattern.ZEROS,
        burst: Burst = 0,
        isochronous: bool = True,
        iso_packet: Annotated[int, Range(1, 1024)] = 1024,
        iso_interval_us: Annotated[int, Range(125, 4_096_000)] = 1000,
        iso_transactions: Annotated[int, Range(1, 3)] = 1,
        iso_burst: Burst = 0,
        interrupt: bool = True,
        interrupt_packet: Annotated[int, Range(1, 1024)] = 64,
        interrupt_interval_ms: Annotated[int, Range(1, 4096)] = 1,
    ) -> None:
        self.pattern = pattern
        self._burst = burst
        self._isochronous, self._interrupt = isochronous, interrupt
        self._iso = iso_packet, iso_interval_us
        self._iso_more = {"transactions": iso_transactions, "burst": iso_burst}
        self._interrupt_shape = interrupt_packet, interrupt_interval_ms
        self._written = b""

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        bulk = (take.bulk_in(self._burst), take.bulk_out(self._burst))
        beside: list[tuple[Endpoint, ...]] = [()]
        if self._isochronous:
            both = (take.isochronous(way, *self._iso, **self._iso_more) for way in (ENDPOINT_IN, 0))
            beside.append(tuple(both))
        if self._interrupt:
            shape = self._interrupt_shape
            beside.append((take.interrupt_in(*shape), take.interrupt_out(*shape)))
        self._endpoints = {endpoint.address: endpoint for more in (bulk, *beside) for endpoint in more}
        number, name = take.interface(), take.string("source and sink")
        return [
            AlternateSetting(number, alternate, string_index=name, endpoints=bulk + more)
            for alternate, more in enumerate(beside)
        ]

    def setup(self, setup: SetupPacket, data: bytes) -> Answer:
        if setup.value or setup.index:
            return None
        asked = setup.request_type, setup.request
        if asked == CONTROL_WRITE:
            self._written = data
            return b""
        return self._written if asked == CONTROL_READ else None

    def fill(self, endpoint: int, length: int) -> bytes:
        return patterned(self.pattern, self._endpoints[endpoint].max_packet_size, length)

    def out(self, endpoint: int, data: bytes) -> bool:
        """Isochronous data is not looked at: usbtest sends zeros there, whatever the pattern."""
        into = self._endpoints[endpoint]
        if into.transfer_type is not TransferType.ISOCHRONOUS:
            offset = first_mismatch(self.pattern, into.max_packet_size, data)
            if offset is not None:
                self.tell(Mismatch(endpoint, offset))
                self.halt(endpoint)
        return True

    def on_reset(self) -> None:
        self._written = b""

    def snapshot(self) -> dict[str, Any]:
        return {"written": self._written}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._written = state["written"]
