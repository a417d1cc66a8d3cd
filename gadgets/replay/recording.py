"""A recording, read: hostile until parsed. Nothing of it is trusted, not even that it is a recording."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

from appliance.errors import ProtocolError
from gadgets.replay import format as f
from gadgets.usb.device import BusEvent
from gadgets.usb.urb import Completion, IsoPacket, SetupPacket, Urb


@dataclass(frozen=True, slots=True)
class Unlinked:
    number: int
    in_flight: bool
    """what the device said to it"""


@dataclass(frozen=True, slots=True)
class Given:
    """A local input, as plain values."""

    plain: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ticked:
    now_ns: int


@dataclass(frozen=True, slots=True)
class Took:
    """Who drove the device took its events; not an input."""

    events: list[list[Any]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    inputs: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class End:
    reason: str


Input = Urb | Unlinked | BusEvent | Given | Ticked
Entry = Input | Took | Checkpoint | End


@dataclass(slots=True)
class Step:
    """One entry and what came of it: answers as bytes (format.answers), or the error as plain values."""

    entry: Entry
    answers: bytes = b""
    refused: dict[str, Any] | None = None


class Frame(NamedTuple):
    at: int
    kind: bytes
    start: int
    end: int


class Recording:
    """`data`: the whole file, in memory or mapped. Raises ProtocolError for what is no recording.

    `definition` is what the recorder was told of the device, `snapshot` the state it began in. After the
    steps were gone through, `torn` is how many bytes at the end are no whole frames.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        header, self.begin = _header(self._data)
        self.definition = header.get("definition")
        self.snapshot = header["snapshot"]
        self.keep = header["keep"]
        self.torn = 0

    def steps(self) -> Iterator[Step]:
        """In order, but for an input at a torn end, whose output may be lost. Raises ProtocolError, with the
        place, for a whole frame that makes no sense."""
        step: Step | None = None
        for frame in self.frames():
            payload = self._data[frame.start : frame.end]
            try:
                if frame.kind in (f.ANSWERS, f.REFUSED):
                    _add_output(step, frame.kind, payload)
                    continue
                entry = _PARSERS[frame.kind](self._data, frame)
            except (ValueError, KeyError, IndexError, struct.error, RecursionError) as error:
                raise ProtocolError(f"the recording is damaged at byte {frame.at}: {error}") from None
            if step:
                yield step
            step = Step(entry)
        if step and isinstance(step.entry, Checkpoint | End):
            yield step

    def frames(self) -> Iterator[Frame]:
        data, at = self._data, self.begin
        while at + f.FRAME.size + f.CRC.size <= len(data):
            kind, length = f.FRAME.unpack_from(data, at)
            start = at + f.FRAME.size
            end = start + length
            if end + f.CRC.size > len(data) or crc32(data[at:end]) != f.CRC.unpack_from(data, end)[0]:
                break
            yield Frame(at, kind, start, end)
            at = end + f.CRC.size
        self.torn = len(data) - at


def _header(data: memoryview) -> tuple[dict[str, Any], int]:
    """The JSON of the preamble, and where the frames begin."""
    if len(data) < f.PREAMBLE.size or bytes(data[: len(f.MAGIC)]) != f.MAGIC:
        raise ProtocolError("this is no recording of a gadget")
    _, version, _, length = f.PREAMBLE.unpack_from(data)
    if version != f.VERSION:
        raise ProtocolError(f"the recording has format {version}; this program reads format {f.VERSION}")
    end = f.PREAMBLE.size + length
    if length > f.MAX_JSON or end + f.CRC.size > len(data):
        raise ProtocolError("the recording ends within its header")
    if crc32(data[:end]) != f.CRC.unpack_from(data, end)[0]:
        raise ProtocolError("the recording's header is damaged")
    try:
        header = f.from_json(bytes(data[f.PREAMBLE.size : end]))
    except (ValueError, RecursionError):
        raise ProtocolError("the recording's header is not JSON") from None
    if not isinstance(header, dict) or not isinstance(header.get("snapshot"), dict):
        raise ProtocolError("the recording's header lacks a snapshot")
    if type(header.get("keep")) is not int or header["keep"] < 0:
        raise ProtocolError("the recording's header does not say how much of an answer it keeps")
    return header, end + f.CRC.size


def _add_output(step: Step | None, kind: bytes, payload: memoryview) -> None:
    if step is None or not isinstance(step.entry, Urb | BusEvent | Given | Ticked):
        raise ValueError("output without an input")
    if step.answers or step.refused:
        raise ValueError("two outputs of one input")
    if kind == f.ANSWERS:
        step.answers = bytes(payload)
    else:
        step.refused = _table(payload)


def _submitted(data: memoryview, frame: Frame) -> Urb:
    payload = data[frame.start : frame.end]
    number, endpoint, bits, length, flags, interval, start_frame, packets, size = f.SUBMIT.unpack_from(
        payload
    )
    if packets > f.MAX_PACKETS or not 0 <= length <= f.MAX_DATA or size > f.MAX_DATA:
        raise ValueError("a transfer of monstrous size")
    at = f.SUBMIT.size
    setup = None
    if bits & f.HAS_SETUP:
        setup = SetupPacket.parse(bytes(payload[at : at + SetupPacket.SIZE]))
        at += SetupPacket.SIZE
    end = at + packets * f.PACKET.size
    iso = tuple(IsoPacket(*packet) for packet in f.PACKET.iter_unpack(payload[at:end]))
    if bits & f.ELSEWHERE:
        (place,) = f.PLACE.unpack(payload[end:])
        if place + size > frame.at:
            raise ValueError("data that is yet to come")
        content = bytes(data[place : place + size])
    else:
        content = bytes(payload[end:])
    if len(content) != size or len(iso) != packets:
        raise ValueError("a transfer that is not as long as it says")
    return Urb(number, endpoint, length, content, setup, flags, iso, interval, start_frame)


def answers_of(data: bytes, keep: int) -> list[Completion]:
    """What `format.answers` wrote; of long data only what was kept. Raises ValueError or struct.error."""
    found, at = [], 0
    while at < len(data):
        number, status, actual, start_frame, errors, packets, size = f.ANSWER.unpack_from(data, at)
        at += f.ANSWER.size
        end = at + packets * f.ANSWER_PACKET.size
        iso = tuple(IsoPacket(*packet) for packet in f.ANSWER_PACKET.iter_unpack(data[at:end]))
        kept = data[end : end + min(size, keep)]
        at = end + len(kept) + (f.DATA_DIGEST if size > keep else 0)
        if len(iso) != packets or at > len(data) or len(kept) != min(size, keep):
            raise ValueError("an answer that is not as long as it says")
        found.append(Completion(number, status, actual, kept, iso, start_frame, errors))
    return found


def _unlinked(data: memoryview, frame: Frame) -> Unlinked:
    return Unlinked(*f.UNLINK.unpack(data[frame.start : frame.end]))


def _on_bus(data: memoryview, frame: Frame) -> BusEvent:
    (event,) = data[frame.start : frame.end]
    return f.BUS_EVENTS[event]


def _given(data: memoryview, frame: Frame) -> Given:
    return Given(_table(data[frame.start : frame.end]))


def _ticked(data: memoryview, frame: Frame) -> Ticked:
    return Ticked(*f.TICK.unpack(data[frame.start : frame.end]))


def _took(data: memoryview, frame: Frame) -> Took:
    events = _json(data[frame.start : frame.end])
    if not isinstance(events, list):
        raise ValueError("events that are no list")
    return Took(events)


def _checkpoint(data: memoryview, frame: Frame) -> Checkpoint:
    return Checkpoint(*f.CHECKPOINT.unpack(data[frame.start : frame.end]))


def _end(data: memoryview, frame: Frame) -> End:
    return End(str(_table(data[frame.start : frame.end]).get("reason", "")))


def _table(payload: memoryview) -> dict[str, Any]:
    table = _json(payload)
    if not isinstance(table, dict):
        raise ValueError("a table was wanted")
    return table


def _json(payload: memoryview) -> Any:
    if len(payload) > f.MAX_JSON:
        raise ValueError("too much text")
    return f.from_json(bytes(payload))


_PARSERS: dict[bytes, Callable[[memoryview, Frame], Entry]] = {
    f.SUBMITTED: _submitted,
    f.UNLINKED: _unlinked,
    f.ON_BUS: _on_bus,
    f.LOCAL: _given,
    f.TICKED: _ticked,
    f.EVENTS: _took,
    f.AT_CHECKPOINT: _checkpoint,
    f.END: _end,
}
