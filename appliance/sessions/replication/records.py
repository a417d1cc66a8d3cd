"""The log of a gadget: what goes from its master to its backup, and back. Sans-IO.

A record is a header (kind, size of the body) and a body. The master's records are numbered from 1 on by their
order; an `Ack` says up to which number the backup has executed them, and what all outputs since the last
`State` amount to. docs/replication.md is the description for others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Any, ClassVar, Final, NamedTuple, Protocol, Self

from appliance.errors import ProtocolError
from appliance.usbip.wire import MAX_TRANSFER
from gadgets.replay.format import from_json, to_json

VERSION: Final = 1
HEADER: Final = Struct("<BI")

CHUNK: Final = 256 << 10
"""Bytes of a medium that are compared and copied at once."""
_SMALL: Final = 64 << 10
_LARGE: Final = MAX_TRANSFER + (1 << 20)
_STATE: Final = 512 << 20
"""A client may have MAX_BYTES in flight, which are parked in the device and hexadecimal here."""

_Q, _ACK = Struct("<Q"), Struct("<QI")
_AT, _RANGE, _PROBE = Struct("<BBQ"), Struct("<BBQQ"), Struct("<BBQI16s")


class Place(NamedTuple):
    """A medium: of which function of the device, in which of its units."""

    function: int
    lun: int


class Record(Protocol):
    kind: ClassVar[int]
    limit: ClassVar[int]

    def body(self) -> bytes | memoryview: ...
    @classmethod
    def of(cls, body: bytes) -> Self: ...


# From the master


@dataclass(frozen=True, slots=True)
class Hello:
    """The first record. `epoch`: of the grant by which this is the master."""

    epoch: int
    version: int = VERSION

    kind: ClassVar[int] = 1
    limit: ClassVar[int] = _SMALL

    def body(self) -> bytes:
        return to_json({"epoch": self.epoch, "version": self.version})

    @classmethod
    def of(cls, body: bytes) -> Hello:
        table = from_json(body)
        return cls(int(table["epoch"]), int(table["version"]))


@dataclass(frozen=True, slots=True)
class State:
    """All there is but what is on the media: go on from here. `whole`: those are equal by now, too."""

    now: int
    """by the device's clock"""
    whole: bool
    plugged: bool
    device: Mapping[str, Any]
    media: list[list[Any]]
    """function, lun, bytes (None: there is none), and what the definition puts in, of each"""
    session: Mapping[str, Any] | None

    kind: ClassVar[int] = 2
    limit: ClassVar[int] = _STATE

    def body(self) -> bytes:
        return to_json({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def of(cls, body: bytes) -> State:
        return cls(**from_json(body))


@dataclass(frozen=True, slots=True)
class Begin:
    """A client attaches: `SessionSpec.to_json`, and the facts of its TCP connection."""

    spec: Mapping[str, Any]
    facts: Mapping[str, Any]

    kind: ClassVar[int] = 3
    limit: ClassVar[int] = _LARGE

    def body(self) -> bytes:
        return to_json({"spec": self.spec, "facts": self.facts})

    @classmethod
    def of(cls, body: bytes) -> Begin:
        return cls(**from_json(body))


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes from the client."""

    data: bytes | memoryview

    kind: ClassVar[int] = 4
    limit: ClassVar[int] = _LARGE

    def body(self) -> bytes | memoryview:
        return self.data

    @classmethod
    def of(cls, body: bytes) -> Received:
        return cls(body)


@dataclass(frozen=True, slots=True)
class Tick:
    now: int

    kind: ClassVar[int] = 5
    limit: ClassVar[int] = _Q.size

    def body(self) -> bytes:
        return _Q.pack(self.now)

    @classmethod
    def of(cls, body: bytes) -> Tick:
        return cls(*_Q.unpack(body))


@dataclass(frozen=True, slots=True)
class Local:
    """A local input, as `gadgets.usb.inputs.plain_input` has it."""

    input: Mapping[str, Any]

    kind: ClassVar[int] = 6
    limit: ClassVar[int] = _LARGE

    def body(self) -> bytes:
        return to_json(self.input)

    @classmethod
    def of(cls, body: bytes) -> Local:
        return cls(dict(from_json(body)))


@dataclass(frozen=True, slots=True)
class End:
    """The client is gone."""

    kind: ClassVar[int] = 7
    limit: ClassVar[int] = 0

    def body(self) -> bytes:
        return b""

    @classmethod
    def of(cls, body: bytes) -> End:
        return cls()


@dataclass(frozen=True, slots=True)
class Block:
    """This is what is on the medium there."""

    place: Place
    offset: int
    data: bytes

    kind: ClassVar[int] = 8
    limit: ClassVar[int] = _AT.size + CHUNK

    def body(self) -> bytes:
        return _AT.pack(*self.place, self.offset) + self.data

    @classmethod
    def of(cls, body: bytes) -> Block:
        function, lun, offset = _AT.unpack_from(body)
        return cls(Place(function, lun), offset, body[_AT.size :])


@dataclass(frozen=True, slots=True)
class Zeros:
    """Nothing is on the medium there."""

    place: Place
    offset: int
    length: int

    kind: ClassVar[int] = 9
    limit: ClassVar[int] = _RANGE.size

    def body(self) -> bytes:
        return _RANGE.pack(*self.place, self.offset, self.length)

    @classmethod
    def of(cls, body: bytes) -> Zeros:
        function, lun, offset, length = _RANGE.unpack(body)
        return cls(Place(function, lun), offset, length)


@dataclass(frozen=True, slots=True)
class Probe:
    """What is on the medium there has this digest; a backup that has something else says `Want`."""

    place: Place
    offset: int
    length: int
    digest: bytes

    kind: ClassVar[int] = 10
    limit: ClassVar[int] = _PROBE.size

    def body(self) -> bytes:
        return _PROBE.pack(*self.place, self.offset, self.length, self.digest)

    @classmethod
    def of(cls, body: bytes) -> Probe:
        function, lun, offset, length, digest = _PROBE.unpack(body)
        return cls(Place(function, lun), offset, length, digest)


@dataclass(frozen=True, slots=True)
class Seen:
    """The client has acknowledged this many bytes: they need not be kept."""

    count: int

    kind: ClassVar[int] = 11
    limit: ClassVar[int] = _Q.size

    def body(self) -> bytes:
        return _Q.pack(self.count)

    @classmethod
    def of(cls, body: bytes) -> Seen:
        return cls(*_Q.unpack(body))


# From the backup


@dataclass(frozen=True, slots=True)
class Ack:
    index: int
    digest: int

    kind: ClassVar[int] = 32
    limit: ClassVar[int] = _ACK.size

    def body(self) -> bytes:
        return _ACK.pack(self.index, self.digest)

    @classmethod
    def of(cls, body: bytes) -> Ack:
        return cls(*_ACK.unpack(body))


@dataclass(frozen=True, slots=True)
class Want:
    place: Place
    offset: int
    length: int

    kind: ClassVar[int] = 33
    limit: ClassVar[int] = _RANGE.size

    def body(self) -> bytes:
        return _RANGE.pack(*self.place, self.offset, self.length)

    @classmethod
    def of(cls, body: bytes) -> Want:
        function, lun, offset, length = _RANGE.unpack(body)
        return cls(Place(function, lun), offset, length)


@dataclass(frozen=True, slots=True)
class Left:
    """The backup drops out, and why."""

    reason: str

    kind: ClassVar[int] = 34
    limit: ClassVar[int] = _SMALL

    def body(self) -> bytes:
        return self.reason.encode()[:_SMALL]

    @classmethod
    def of(cls, body: bytes) -> Left:
        return cls(body.decode(errors="replace"))


Kinds = Mapping[int, type[Record]]
MASTERS: Final[Kinds] = {
    cls.kind: cls for cls in (Hello, State, Begin, Received, Tick, Local, End, Block, Zeros, Probe, Seen)
}
BACKUPS: Final[Kinds] = {cls.kind: cls for cls in (Ack, Want, Left)}


def emit(record: Record) -> bytes:
    body = record.body()
    return b"".join((HEADER.pack(record.kind, len(body)), body))


class Reader:
    """Bytes in, records out, of these kinds only. What lacks its end is no record yet."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Record]:
        """Raises ProtocolError: nothing more can be read."""
        buffer = self._data
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= HEADER.size:
                kind, size = HEADER.unpack_from(buffer, at)
                cls = self._kinds.get(kind)
                if cls is None or size > cls.limit:
                    raise ProtocolError(f"the sibling sent a record of kind {kind} with {size} bytes")
                stop = at + HEADER.size + size
                if stop > len(buffer):
                    break
                body = bytes(memoryview(buffer)[at + HEADER.size : stop])
                at = stop
                yield parsed(cls, body)
        finally:
            del buffer[:at]


def parsed(cls: type[Record], body: bytes) -> Record:
    try:
        return cls.of(body)
    except (StructError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ProtocolError(f"the sibling sent a {cls.__name__} that cannot be read: {error}") from None
