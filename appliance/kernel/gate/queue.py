"""The kernel's packet queue (NFQUEUE) as bytes of netlink. Sans-IO; linux/netfilter/nfnetlink_queue.h."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

NETLINK_NETFILTER = 12
SUBSYSTEM = 3 << 8
PACKET, VERDICT, CONFIG, VERDICT_BATCH = SUBSYSTEM, SUBSYSTEM | 1, SUBSYSTEM | 2, SUBSYSTEM | 3
NLMSG_ERROR = 2
REQUEST, ACKNOWLEDGE = 1, 4
MESSAGE = struct.Struct("=IHHII")
GENERIC = struct.Struct(">BBH")
"""struct nfgenmsg: family, version, number of the queue."""
ATTRIBUTE = struct.Struct("=HH")
PACKET_HEADER, VERDICT_HEADER, FIREWALL_MARK, PAYLOAD = 1, 2, 3, 10
COMMAND, PARAMETERS, MAX_LENGTH, MASK, FLAGS = 1, 2, 3, 4, 5
BIND, COPY_PACKET, WHOLE_SEGMENTS = 1, 2, 4
"""The last (NFQA_CFG_F_GSO): what the kernel would only cut for the wire comes in one piece."""
HEADERS = 128
"""How much of a packet is looked at: IP and TCP headers."""
LONGEST = 1 << 13
"""How many packets wait at most; when there are more the kernel drops the newest."""


class Hook(IntEnum):
    IN, OUT = 1, 3


@dataclass(frozen=True, slots=True)
class Packet:
    id: int
    hook: int
    headers: bytes
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Complaint:
    """The kernel's answer to a request: an errno, 0 when it did it."""

    errno: int


def bind(number: int) -> tuple[bytes, ...]:
    """What makes us the judge of queue `number`; each is answered by a Complaint."""
    return tuple(
        _message(CONFIG, number, attributes, REQUEST | ACKNOWLEDGE)
        for attributes in (
            _attribute(COMMAND, struct.pack(">BxH", BIND, socket.AF_UNSPEC)),
            _attribute(PARAMETERS, struct.pack(">IB", HEADERS, COPY_PACKET))
            + _attribute(MAX_LENGTH, struct.pack(">I", LONGEST))
            + _attribute(FLAGS, struct.pack(">I", WHOLE_SEGMENTS))
            + _attribute(MASK, struct.pack(">I", WHOLE_SEGMENTS)),
        )
    )


def verdict(number: int, packet: int, accept: bool) -> bytes:
    return _message(VERDICT, number, _attribute(VERDICT_HEADER, struct.pack(">II", accept, packet)))


def parse(data: bytes) -> Iterator[Packet | Complaint]:
    """What is in one datagram of the kernel's; parts of another kind, or cut off, are passed over."""
    at = 0
    while at + MESSAGE.size <= len(data):
        size, kind, _, _, _ = MESSAGE.unpack_from(data, at)
        body = data[at + MESSAGE.size : at + size]
        if kind == NLMSG_ERROR and len(body) >= 4:
            yield Complaint(-int(struct.unpack_from("=i", body)[0]))
        elif kind == PACKET and (packet := _packet(body)):
            yield packet
        at += max(_aligned(size), MESSAGE.size)


def _packet(body: bytes) -> Packet | None:
    found = dict(_attributes(body, GENERIC.size))
    header, payload = found.get(PACKET_HEADER, b""), found.get(PAYLOAD, b"")
    if len(header) < 7:
        return None
    number, _, hook = struct.unpack_from(">IHB", header)
    return Packet(number, hook, payload, int.from_bytes(found.get(FIREWALL_MARK, b""), "big"))


def _attributes(body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at + ATTRIBUTE.size <= len(body):
        size, kind = ATTRIBUTE.unpack_from(body, at)
        if size < ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, body[at + ATTRIBUTE.size : at + size]
        at += _aligned(size)


def _message(kind: int, number: int, attributes: bytes, flags: int = REQUEST) -> bytes:
    body = GENERIC.pack(socket.AF_UNSPEC, 0, number) + attributes
    return MESSAGE.pack(MESSAGE.size + len(body), kind, flags, 0, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    size = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(size, kind) + value + bytes(_aligned(size) - size)


def _aligned(size: int) -> int:
    return (size + 3) & ~3
