"""TCP segments in IPv4 and IPv6, read and made. Sans-IO; sequence numbers are modulo 2^32 (RFC 9293)."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
TCP = 6
HEADER = struct.Struct(">HHIIBBHHH")
NOP_PAIR = b"\x01\x01"
TIMESTAMPS, SACK_BLOCKS = 8, 5
EXTENSIONS = (0, 43, 60)
"""IPv6 headers that may stand before TCP: hop by hop, routing, destination options. RFC 8200 §4."""

Endpoint = tuple[str, int]
"""An address as text, in its canonical form, and a port."""


def seq(number: int) -> int:
    return number & 0xFFFFFFFF


def distance(start: int, end: int) -> int:
    """How far `end` is after `start`; negative when it is before it."""
    return ((end - start + 0x80000000) & 0xFFFFFFFF) - 0x80000000


@dataclass(frozen=True, slots=True)
class Segment:
    source: Endpoint
    target: Endpoint
    seq: int
    ack: int
    flags: int
    window: int = 0
    length: int = 0
    """Of the payload."""
    timestamps: tuple[int, int] | None = None
    """The sender's clock, and the echo of the other's. RFC 7323 §3."""

    @property
    def end(self) -> int:
        """The sequence number after the payload."""
        return seq(self.seq + self.length)


def parse(packet: bytes) -> Segment | None:
    """The segment in an IP packet, of which the payload may be cut off; None when there is none."""
    try:
        return _parse_v4(packet) if packet[0] >> 4 == 4 else _parse_v6(packet)
    except (struct.error, IndexError):
        return None


def _parse_v4(packet: bytes) -> Segment | None:
    header = (packet[0] & 15) * 4
    total, fragment = struct.unpack_from(">H2xH", packet, 2)
    if packet[9] != TCP or fragment & 0x1FFF or header < 20:
        return None
    source, target = ".".join(map(str, packet[12:16])), ".".join(map(str, packet[16:20]))
    return _parse_tcp(packet, header, total - header, source, target)


def _parse_v6(packet: bytes) -> Segment | None:
    if packet[0] >> 4 != 6 or len(packet) < 40:
        return None
    rest, following = struct.unpack_from(">HB", packet, 4)
    at = 40
    while following in EXTENSIONS:
        following, size = packet[at], (packet[at + 1] + 1) * 8
        at, rest = at + size, rest - size
    if following != TCP:
        return None
    source, target = (str(ipaddress.IPv6Address(packet[n : n + 16])) for n in (8, 24))
    return _parse_tcp(packet, at, rest, source, target)


def _parse_tcp(packet: bytes, at: int, size: int, source: str, target: str) -> Segment | None:
    here, there, number, ack, offset, flags, window, _, _ = HEADER.unpack_from(packet, at)
    header = (offset >> 4) * 4
    if header < HEADER.size or size < header:
        return None
    stamps = _timestamps(packet[at + HEADER.size : at + header])
    return Segment((source, here), (target, there), number, ack, flags, window, size - header, stamps)


def _timestamps(options: bytes) -> tuple[int, int] | None:
    at = 0
    while at < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        size = options[at + 1]
        if options[at] == TIMESTAMPS and size == 10:
            clock, echo = struct.unpack_from(">II", options, at + 2)
            return clock, echo
        at += max(size, 2)
    return None


def make(segment: Segment, payload: bytes = b"", sack: tuple[tuple[int, int], ...] = ()) -> bytes:
    """The TCP header with its checksum, and `payload`: what a raw socket of IPPROTO_TCP sends."""
    options = b""
    if segment.timestamps:
        options += NOP_PAIR + struct.pack(">BBII", TIMESTAMPS, 10, *segment.timestamps)
    if sack:
        blocks = b"".join(struct.pack(">II", *block) for block in sack)
        options += NOP_PAIR + bytes((SACK_BLOCKS, 2 + len(blocks))) + blocks
    offset = (HEADER.size + len(options)) // 4 << 4
    ports = segment.source[1], segment.target[1]
    fields = *ports, segment.seq, segment.ack, offset, segment.flags, segment.window
    tcp = HEADER.pack(*fields, 0, 0) + options + payload
    return HEADER.pack(*fields, checksum(_pseudo_header(segment, len(tcp)) + tcp), 0) + options + payload


def _pseudo_header(segment: Segment, size: int) -> bytes:
    source, target = (ipaddress.ip_address(end[0]).packed for end in (segment.source, segment.target))
    return source + target + struct.pack(">II", size, TCP)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
