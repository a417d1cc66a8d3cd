"""Faults of requests and descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gadgets.faults.answers import answered, has_data, patched, room_of
from gadgets.faults.fault import Fault, Hands, Stage, is_standard_in
from gadgets.usb.records import Range
from gadgets.usb.shape import DescriptorType
from gadgets.usb.urb import Completion, Status, Urb

_GET_DESCRIPTOR = 0x06
_HAVE_TOTAL_LENGTH = (
    DescriptorType.CONFIGURATION,
    DescriptorType.OTHER_SPEED_CONFIGURATION,
    DescriptorType.BOS,
)


@dataclass(frozen=True, slots=True)
class Stall(Fault):
    """A control request is refused; a data endpoint is halted until the host clears it."""

    stage = Stage.REQUEST

    def on_request(self, urb: Urb, hands: Hands) -> Urb | Completion:
        if urb.setup:
            return Completion(urb.number, Status.PIPE)
        hands.halt(urb.endpoint)
        return urb


@dataclass(frozen=True, slots=True)
class NoAnswer(Fault):
    """Nothing happens until the host gives up and unlinks the transfer; what is behind it waits."""

    stage = Stage.REQUEST

    def on_request(self, urb: Urb, hands: Hands) -> Urb:
        hands.hold(None)
        return urb


@dataclass(frozen=True, slots=True)
class WrongLength(Fault):
    """An answer is `by` bytes longer (zeros; beyond what was asked for: babble) or, negative, shorter."""

    by: int = -1

    stage = Stage.ANSWER

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        return has_data(urb, done)

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        keep = max(len(done.data) + min(self.by, 0), 0)
        return answered(urb, done.data[:keep] + bytes(min(max(self.by, 0), urb.length + 1)))


@dataclass(frozen=True, slots=True)
class Malformed(Fault):
    """Of a descriptor, the bytes from `at` on are these instead."""

    descriptor: DescriptorType = DescriptorType.DEVICE
    at: int = 0
    data: bytes = b"\0"

    stage = Stage.ANSWER

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        return has_data(urb, done) and asks_for(urb, self.descriptor)

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        return patched(urb, done, self.at, self.data)


@dataclass(frozen=True, slots=True)
class ShortDescriptor(Fault):
    """Of a descriptor, only `length` bytes come."""

    descriptor: DescriptorType = DescriptorType.DEVICE
    length: int = 0

    stage = Stage.ANSWER

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        return has_data(urb, done) and asks_for(urb, self.descriptor)

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        return answered(urb, done.data[: self.length])


@dataclass(frozen=True, slots=True)
class LongDescriptor(Fault):
    """A descriptor says that it is `extra` bytes longer than it should be, and zeros follow if asked for.

    It says so in wTotalLength where it has one, otherwise in bLength.
    """

    descriptor: DescriptorType = DescriptorType.CONFIGURATION
    extra: Annotated[int, Range(0, 0xFFFF)] = 64

    stage = Stage.ANSWER

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        return has_data(urb, done) and asks_for(urb, self.descriptor)

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        data = done.data
        at, size = (2, 2) if self.descriptor in _HAVE_TOTAL_LENGTH else (0, 1)
        if len(data) >= at + size:
            said = int.from_bytes(data[at : at + size], "little")
            longer = min(said + self.extra, (1 << 8 * size) - 1)
            data = data[:at] + longer.to_bytes(size, "little") + data[at + size :]
        return answered(urb, data + bytes(min(self.extra, room_of(urb) - len(data))))


def asks_for(urb: Urb, descriptor: DescriptorType) -> bool:
    setup = urb.setup
    return setup is not None and is_standard_in(setup, _GET_DESCRIPTOR) and setup.value >> 8 == descriptor
