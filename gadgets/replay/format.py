"""The recording's bytes: frames and what is in them. docs/recording.md is the description for others.

A recording is a preamble (magic, version, JSON header) and frames, each under a checksum of its own, so that
a file whose end is missing is good up to there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b
from struct import Struct
from typing import Any, Final
from zlib import crc32

from gadgets.usb.device import BusEvent, Told
from gadgets.usb.records import to_tagged
from gadgets.usb.urb import Completion, Urb

MAGIC: Final = b"\x93TWREC\r\n"
VERSION: Final = 1

PREAMBLE: Final = Struct("<8sHHI")
"""magic, version, 0, bytes of JSON; after the JSON comes the CRC."""
FRAME: Final = Struct("<cI")
"""kind, bytes of payload; after the payload comes the CRC."""
CRC: Final = Struct("<I")
SUBMIT: Final = Struct("<qBBqqqqHI")
"""number, endpoint, HAS_SETUP | ELSEWHERE, length, flags, interval, start frame, packets, bytes of data; then
the setup packet, the packets, and the data or where in the file it is."""
PACKET: Final = Struct("<qq")
PLACE: Final = Struct("<Q")
UNLINK: Final = Struct("<q?")
TICK: Final = Struct("<q")
ANSWER: Final = Struct("<qiqqqHI")
"""number, status, actual length, start frame, errors, packets, bytes of data; then the packets, the data as
far as it is kept, and, if that is not all, its digest."""
ANSWER_PACKET: Final = Struct("<qqqi")
CHECKPOINT: Final = Struct("<Q32s")
"""inputs so far, digest of all output so far"""

HAS_SETUP, ELSEWHERE = 1, 2
LARGE: Final = 512
"""OUT data from this size on is in the file once, however often it is sent."""
DATA_DIGEST: Final = 16
BUS_EVENTS: Final = tuple(BusEvent)

MAX_JSON: Final = 64 << 20
MAX_DATA: Final = 16 << 20
"""USB/IP's longest transfer"""
MAX_PACKETS: Final = 1024

# Frames: what went in …
SUBMITTED, UNLINKED, ON_BUS, LOCAL, TICKED = b"S", b"U", b"B", b"L", b"T"
# … what that made come out …
ANSWERS, REFUSED, EVENTS = b"A", b"R", b"E"
# … and how far we are.
AT_CHECKPOINT, END = b"C", b"Z"


def frame(kind: bytes, payload: bytes) -> bytes:
    start = FRAME.pack(kind, len(payload)) + payload
    return start + CRC.pack(crc32(start))


def preamble(header: dict[str, Any]) -> bytes:
    text = to_json(header)
    start = PREAMBLE.pack(MAGIC, VERSION, 0, len(text)) + text
    return start + CRC.pack(crc32(start))


def submitted(urb: Urb, data: bytes, flags: int) -> bytes:
    """`data`: the URB's own, or the place where it is (ELSEWHERE)."""
    head = SUBMIT.pack(
        urb.number,
        urb.endpoint,
        flags | (HAS_SETUP if urb.setup else 0),
        urb.length,
        urb.flags,
        urb.interval,
        urb.start_frame,
        len(urb.packets),
        len(urb.data),
    )
    packets = b"".join(PACKET.pack(packet.offset, packet.length) for packet in urb.packets)
    return head + (urb.setup.emit() if urb.setup else b"") + packets + data


def answers(completions: Iterable[Completion], keep: int) -> bytes:
    return b"".join(answer(done, keep) for done in completions)


def answer(done: Completion, keep: int) -> bytes:
    head = ANSWER.pack(
        done.number,
        done.status,
        done.actual_length,
        done.start_frame,
        done.error_count,
        len(done.packets),
        len(done.data),
    )
    packets = b"".join(
        ANSWER_PACKET.pack(packet.offset, packet.length, packet.actual_length, packet.status)
        for packet in done.packets
    )
    if len(done.data) <= keep:
        return head + packets + done.data
    return head + packets + done.data[:keep] + digest_of(done.data)


def events(events: Iterable[Told], keep: int) -> list[list[Any]]:
    """[label of the function, the event as plain values, or its digest if that is long]"""
    return [[told.function, _brief(to_tagged(told.event), keep)] for told in events]


def _brief(event: dict[str, Any], keep: int) -> dict[str, Any]:
    text = to_json(event)
    return event if len(text) <= keep else {next(iter(event)): {"digest": digest_of(text).hex()}}


def digest_of(data: bytes) -> bytes:
    return blake2b(data, digest_size=DATA_DIGEST).digest()


def to_json(value: object) -> bytes:
    """Bytes become {"$bytes": hex}."""
    return json.dumps(value, default=_bytes, separators=(",", ":")).encode()


def _bytes(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": bytes(value).hex()}
    raise TypeError(f"{type(value).__name__} is no plain value")


def from_json(text: bytes) -> Any:
    """The inverse. Raises ValueError (or its kinds), and RecursionError for what is nested too deep."""
    return json.loads(text, object_hook=_revive)


def _revive(table: dict[str, Any]) -> Any:
    if table.keys() == {"$bytes"} and isinstance(table["$bytes"], str):
        return bytes.fromhex(table["$bytes"])
    return table
