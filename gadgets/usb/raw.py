"""A function that is nothing but its descriptors: it answers what it was given answers for, and waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from appliance.errors import ProtocolError, UsageError
from gadgets.usb.configuration import AlternateSetting, parse_settings
from gadgets.usb.function import Answer, Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.records import Byte, Word
from gadgets.usb.urb import ENDPOINT_IN, SetupPacket

MAX_QUEUED = 256
"""Messages that may wait for the host, per endpoint."""
MAX_TOLD = 1 << 16
"""Bytes of a transfer that an event carries."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a control request gets: `data` for IN, success for OUT; or, with `stall`, a stall. A condition
    that is left out always holds."""

    request_type: Byte
    request: Byte
    value: Word | None = None
    index: Word | None = None
    data: bytes = b""
    stall: bool = False

    def fits(self, setup: SetupPacket) -> bool:
        return (
            (self.request_type, self.request) == (setup.request_type, setup.request)
            and self.value in (None, setup.value)
            and self.index in (None, setup.index)
        )


@dataclass(frozen=True, slots=True)
class SendData:
    """Input: the host gets this as the next message of an IN endpoint."""

    data: bytes
    endpoint: Byte


@dataclass(frozen=True, slots=True)
class GotData:
    """Event: the host sent `size` bytes to an OUT endpoint; `data` is the beginning."""

    endpoint: int
    data: bytes
    size: int


@dataclass(frozen=True, slots=True)
class GotRequest:
    """Event: the host made a control request; `answered` is whether one of the replies fitted."""

    request_type: int
    request: int
    value: int
    index: int
    data: bytes
    answered: bool


class Raw(Function):
    """`descriptors` are its interfaces' (with class-specific ones and endpoints), one behind the other;
    interfaces and endpoints get the numbers that are free. `replies` answer control requests, the first one
    that fits. OUT data is taken and told; IN transfers wait for `send_data`."""

    inputs = (SendData,)

    def __init__(self, *, descriptors: bytes = b"", replies: tuple[Reply, ...] = ()) -> None:
        try:
            self._settings = parse_settings(descriptors)
        except ProtocolError as error:
            raise UsageError(f"descriptors: {error}") from None
        self._replies = replies

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        numbers = {number: take.interface() for number in dict.fromkeys(s.interface for s in self._settings)}
        used = dict.fromkeys(e.address for setting in self._settings for e in setting.endpoints)
        addresses = {address: take.address(address & ENDPOINT_IN) for address in used}
        return [renumbered(setting, numbers, addresses) for setting in self._settings]

    def setup(self, setup: SetupPacket, data: bytes) -> Answer:
        reply = next((reply for reply in self._replies if reply.fits(setup)), None)
        answered = reply is not None
        self.tell(GotRequest(setup.request_type, setup.request, setup.value, setup.index, data, answered))
        return reply.data if reply and not reply.stall else None

    def out(self, endpoint: int, data: bytes) -> bool:
        self.tell(GotData(endpoint, data[:MAX_TOLD], len(data)))
        return True

    def local(self, input: SendData) -> None:
        if not input.endpoint & ENDPOINT_IN:
            raise UsageError(f"endpoint {input.endpoint:#04x} goes the other way; IN endpoints have bit 0x80")
        if self.queued(input.endpoint) >= MAX_QUEUED:
            raise UsageError(f"{MAX_QUEUED} messages wait for the host already; let it fetch some first")
        self.send(input.endpoint, input.data)


def renumbered(
    setting: AlternateSetting, numbers: Mapping[int, int], addresses: Mapping[int, int]
) -> AlternateSetting:
    """With the interface numbers and endpoint addresses of another device, whose strings it does not have.
    What class-specific descriptors say of numbers stays."""
    association = setting.association
    if association:
        first = numbers.get(association.first_interface, association.first_interface)
        association = replace(association, first_interface=first, string_index=0)
    return replace(
        setting,
        interface=numbers[setting.interface],
        string_index=0,
        association=association,
        endpoints=tuple(replace(each, address=addresses[each.address]) for each in setting.endpoints),
    )
