"""What unprivileged processes ask of the gate, over SOCK_SEQPACKET: an operation's byte and its fields.

A worker has a connection to the gate for each TCP connection: Register, Commit again and again, LetGo. The
others are the daemon's. All but Commit are answered: by `DONE`, or by a sentence that says what is wrong.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import UsageError
from appliance.kernel.gate.judge import Connection
from appliance.kernel.tcp.segment import Endpoint

GATE_SOCKET = Path("/run/twinhub-gate/gate.sock")
MAX_MESSAGE = 512
DONE = b"\0"


@dataclass(frozen=True, slots=True)
class Register:
    """From now on this connection ends only when it is let go, and acknowledges only what is committed."""

    connection: Connection
    seq_in: int
    """The sequence number of byte 0 of what the client sends, as `Facts` has it."""
    position: int
    """How many bytes since then are committed already."""


@dataclass(frozen=True, slots=True)
class Commit:
    """So many bytes of what the client sent are where they cannot be lost."""

    position: int


@dataclass(frozen=True, slots=True)
class LetGo:
    """The session ends on purpose."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """Guards `address`: what comes in is held, and no RST leaves, until it is opened. Again: as before."""

    address: str


@dataclass(frozen=True, slots=True)
class Open:
    """The connections taken over are registered: clients are heard, strangers are reset as anywhere."""

    address: str


@dataclass(frozen=True, slots=True)
class Forget:
    """The address is guarded no more."""

    address: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Resets this client now, be the address frozen or open; whoever has the socket must close it as well."""

    connection: Connection


Message = Register | Commit | LetGo | Freeze | Open | Forget | Refuse

END = struct.Struct("!16sH")
POSITION, REGISTRATION = struct.Struct("!Q"), struct.Struct("!IQ")


def encode(message: Message) -> bytes:
    match message:
        case Register(connection, seq_in, position):
            return b"r" + _connection(connection) + REGISTRATION.pack(seq_in, position)
        case Commit(position):
            return b"c" + POSITION.pack(position)
        case LetGo():
            return b"l"
        case Refuse(connection):
            return b"x" + _connection(connection)
        case Freeze(address) | Open(address) | Forget(address):
            return BY_TYPE[type(message)] + _address(address)


def parse(data: bytes) -> Message:
    """UsageError for everything that is not one message."""
    try:
        return PARSERS[data[:1]](data[1:])
    except (KeyError, struct.error, ValueError) as error:
        raise UsageError(f"the gate knows no such message: {data[:8].hex()}") from error


def _parse_register(body: bytes) -> Register:
    size = 2 * END.size
    return Register(_parse_connection(body[:size]), *REGISTRATION.unpack(body[size:]))


def _let_go(body: bytes) -> LetGo:
    if body:
        raise ValueError
    return LetGo()


PARSERS: dict[bytes, Callable[[bytes], Message]] = {
    b"r": _parse_register,
    b"c": lambda body: Commit(*POSITION.unpack(body)),
    b"l": _let_go,
    b"f": lambda body: Freeze(_parse_address(body)),
    b"o": lambda body: Open(_parse_address(body)),
    b"g": lambda body: Forget(_parse_address(body)),
    b"x": lambda body: Refuse(_parse_connection(body)),
}
BY_TYPE: dict[type, bytes] = {Freeze: b"f", Open: b"o", Forget: b"g"}


def _connection(connection: Connection) -> bytes:
    return b"".join(END.pack(_address(address), port) for address, port in connection)


def _parse_connection(body: bytes) -> Connection:
    ours, theirs = END.unpack(body[: END.size]), END.unpack(body[END.size :])
    return _endpoint(*ours), _endpoint(*theirs)


def _endpoint(address: bytes, port: int) -> Endpoint:
    return _parse_address(address), port


def _address(address: str) -> bytes:
    found = ipaddress.ip_address(address)
    return found.packed if found.version == 6 else b"\0" * 10 + b"\xff\xff" + found.packed


def _parse_address(packed: bytes) -> str:
    found = ipaddress.IPv6Address(packed)
    return str(found.ipv4_mapped or found)
