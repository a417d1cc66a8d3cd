"""Faults of the data that passes, on any endpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace

from appliance.errors import UsageError
from gadgets.faults.answers import answered, has_data, patched
from gadgets.faults.fault import Fault, Hands, Stage, nanoseconds
from gadgets.usb.urb import Completion, IsoPacket, Status, Urb


@dataclass(frozen=True, slots=True)
class Nak(Fault):
    """The endpoint takes and gives nothing for so many seconds; then everything goes on in order."""

    seconds: float = 1.0

    stage = Stage.REQUEST

    def on_request(self, urb: Urb, hands: Hands) -> Urb:
        hands.hold(nanoseconds(self.seconds))
        return urb


@dataclass(frozen=True, slots=True)
class Delay(Fault):
    """An answer comes so many seconds later. If it is unlinked meanwhile, what it brought is lost."""

    seconds: float = 0.1

    stage = Stage.ANSWER

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        hands.delay(nanoseconds(self.seconds))
        return done


@dataclass(frozen=True, slots=True)
class Throttle(Fault):
    """The endpoint moves no more than so many bytes a second, each way."""

    bytes_per_second: int = 100_000

    stage = Stage.ANSWER

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        if self.bytes_per_second < 1:
            raise UsageError("bytes_per_second must be at least 1; Nak stops an endpoint, NoAnswer for good")

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        hands.pace(done.actual_length * 1_000_000_000 // self.bytes_per_second)
        return done


@dataclass(frozen=True, slots=True)
class Short(Fault):
    """An IN transfer ends after `length` bytes; the rest is lost."""

    length: int = 0

    stage = Stage.ANSWER

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        return has_data(urb, done)

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        return answered(urb, done.data[: self.length])


@dataclass(frozen=True, slots=True)
class Babble(Fault):
    """The device sends more than the host asked for: OVERFLOW, with the buffer full."""

    stage = Stage.ANSWER

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        return has_data(urb, done)

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        return answered(urb, done.data.ljust(urb.length + 1, b"\0"))


@dataclass(frozen=True, slots=True)
class Corrupt(Fault):
    """So many bits are the other way round, each wherever chance has it."""

    bits: int = 1

    stage = Stage.DATA

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        return bool(done.data if done else urb.data)

    def on_request(self, urb: Urb, hands: Hands) -> Urb:
        return replace(urb, data=self._flipped(urb.data, hands))

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        return patched(urb, done, 0, self._flipped(done.data, hands))

    def _flipped(self, data: bytes, hands: Hands) -> bytes:
        spoilt = bytearray(data)
        for _ in range(min(self.bits, 8 * len(data))):
            bit = hands.draw(8 * len(data))
            spoilt[bit >> 3] ^= 1 << (bit & 7)
        return bytes(spoilt)


@dataclass(frozen=True, slots=True)
class Drop(Fault):
    """Data is lost on the way: OUT, the host believes it was taken; IN, the transfer waits for the next."""

    stage = Stage.DATA

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        return urb.setup is None and (done is None or done.status == Status.OK)

    def on_request(self, urb: Urb, hands: Hands) -> Completion:
        sent = tuple(IsoPacket(p.offset, p.length, p.length) for p in urb.packets)
        return Completion(urb.number, Status.OK, len(urb.data), b"", sent, urb.start_frame)

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion | None:
        if done.packets:
            lost = tuple(IsoPacket(p.offset, p.length, 0, Status.XDEV) for p in done.packets)
            return Completion(done.number, 0, 0, b"", lost, done.start_frame, len(lost))
        hands.again(urb)
        return None


@dataclass(frozen=True, slots=True)
class Duplicate(Fault):
    """Data arrives twice: the device gets an OUT transfer again, the host's next IN brings the same."""

    stage = Stage.DATA

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        return urb.setup is None and not urb.packets and (done is None or has_data(urb, done))

    def on_request(self, urb: Urb, hands: Hands) -> Urb:
        hands.repeat(urb)
        return urb

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        hands.say(urb.endpoint, done.data)
        return done
