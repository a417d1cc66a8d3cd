"""The Network Block Device protocol, client's side, sans-IO: fixed newstyle, simple replies.

Source: the NBD project's doc/proto.md. A handshake is a generator: it yields bytes to send or a number of
bytes to receive, is sent what was received, and returns the `Export`.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from appliance.errors import NotFound, ProtocolError, Refused, TwinhubError, UsageError

Steps = Generator[bytes | int, bytes, "Export"]

HELLO: Final = struct.Struct(">8s8sH")
OPTION: Final = struct.Struct(">8sII")
OPTION_REPLY: Final = struct.Struct(">QIII")
EXPORT: Final = struct.Struct(">QH")
BLOCK_SIZES: Final = struct.Struct(">III")
REQUEST: Final = struct.Struct(">IHHQQI")
REPLY: Final = struct.Struct(">IIQ")

INIT_MAGIC, OPTION_MAGIC = b"NBDMAGIC", b"IHAVEOPT"
OPTION_REPLY_MAGIC, REQUEST_MAGIC, REPLY_MAGIC = 0x3E889045565A9, 0x25609513, 0x67446698
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
OPT_EXPORT_NAME, OPT_GO = 1, 7
REP_ACK, REP_INFO, REP_ERROR = 1, 3, 1 << 31
REP_UNSUPPORTED: Final = REP_ERROR + 1
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
LARGEST_REPLY, MOST_REPLIES = 1 << 16, 64
LARGEST_PAYLOAD: Final = 32 << 20
"""What any server takes (proto.md, "Block size constraints")."""

REFUSALS: dict[int, tuple[type[TwinhubError], str]] = {
    REP_ERROR + 2: (Refused, "its policy forbids it"),
    REP_ERROR + 5: (Refused, "it wants TLS, which is not spoken here; tunnel it, by ssh -L or stunnel"),
    REP_ERROR + 6: (NotFound, "it has no export of that name"),
}


class Flag(IntFlag):
    """Transmission flags."""

    READ_ONLY = 1 << 1
    FLUSH = 1 << 2
    FUA = 1 << 3
    WRITE_ZEROES = 1 << 6


class Command(IntEnum):
    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3
    WRITE_ZEROES = 6


@dataclass(frozen=True)
class Export:
    """`block`: what offsets and lengths must be multiples of; `payload`: the most bytes a request carries."""

    size: int
    flags: Flag
    block: int = 1
    payload: int = LARGEST_PAYLOAD


def handshake(name: str) -> Steps:
    """Choose the export `name`; raises NotFound, Refused, UsageError or ProtocolError."""
    magic, options, flags = HELLO.unpack((yield HELLO.size))
    if magic != INIT_MAGIC:
        raise ProtocolError("what answers there is no NBD server")
    if options != OPTION_MAGIC or not flags & FIXED_NEWSTYLE:
        raise ProtocolError("the NBD server speaks only the protocol of before 2011; use a newer one")
    yield struct.pack(">I", flags & (FIXED_NEWSTYLE | NO_ZEROES))
    encoded = name.encode(errors="surrogateescape")
    if len(encoded) > 4096:
        raise UsageError("the name of an NBD export has at most 4096 bytes")
    wish = struct.pack(">I", len(encoded)) + encoded + struct.pack(">HH", 1, INFO_BLOCK_SIZE)
    yield OPTION.pack(OPTION_MAGIC, OPT_GO, len(wish)) + wish
    if (export := (yield from go_replies())) is None:
        yield OPTION.pack(OPTION_MAGIC, OPT_EXPORT_NAME, len(encoded)) + encoded
        reply = yield EXPORT.size + (0 if flags & NO_ZEROES else 124)
        export = of_export(reply)
    return export


def go_replies() -> Generator[bytes | int, bytes, Export | None]:
    """The answers to NBD_OPT_GO; None where the server is too old for it."""
    export, sizes = None, b""
    for _ in range(MOST_REPLIES):
        magic, option, kind, length = OPTION_REPLY.unpack((yield OPTION_REPLY.size))
        if magic != OPTION_REPLY_MAGIC or option != OPT_GO or length > LARGEST_REPLY:
            raise ProtocolError("the NBD server's answer to NBD_OPT_GO is damaged")
        data = (yield length) if length else b""
        if kind == REP_ACK and export:
            return with_block_sizes(export, sizes) if sizes else export
        if kind == REP_UNSUPPORTED:
            return None
        if kind >= REP_ERROR:
            error, reason = REFUSALS.get(kind, (ProtocolError, f"error {kind - REP_ERROR}"))
            raise error(f"the NBD server refuses: {data.decode(errors='replace')[:200] or reason}")
        if kind == REP_INFO and data[:2] == struct.pack(">H", INFO_EXPORT):
            export = of_export(data[2:])
        elif kind == REP_INFO and data[:2] == struct.pack(">H", INFO_BLOCK_SIZE):
            sizes = data[2:]
    raise ProtocolError("the NBD server does not come to an end with its answer to NBD_OPT_GO")


def of_export(data: bytes) -> Export:
    if len(data) < EXPORT.size:
        raise ProtocolError("the NBD server's description of its export is too short")
    size, flags = EXPORT.unpack_from(data)
    if size >= 1 << 63:
        raise ProtocolError(f"the NBD server says its export has {size} bytes")
    return Export(size, Flag(flags))


def with_block_sizes(export: Export, data: bytes) -> Export:
    if len(data) != BLOCK_SIZES.size:
        raise ProtocolError("the NBD server's block sizes are damaged")
    block, _, payload = BLOCK_SIZES.unpack(data)
    if not 1 <= block <= 1 << 16 or block & (block - 1) or payload < block:
        raise ProtocolError(f"the NBD server's block sizes are not possible: {block} to {payload}")
    return Export(export.size, export.flags, block, min(payload, LARGEST_PAYLOAD) // block * block)


def request(command: Command, cookie: int, offset: int = 0, length: int = 0, *, fua: bool = False) -> bytes:
    """The 28-byte header; the payload of a WRITE follows it."""
    return REQUEST.pack(REQUEST_MAGIC, int(fua), command, cookie, offset, length)


def reply_error(header: bytes, cookie: int) -> int:
    """The errno in a simple reply to the request with `cookie`, 0 for success."""
    magic, error, of = REPLY.unpack(header)
    if magic != REPLY_MAGIC or of != cookie:
        raise ProtocolError("the NBD server's reply is damaged")
    return int(error)
