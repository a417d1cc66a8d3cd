"""What an appliance and the arbiter say on a serial line; docs/selectors.md is the specification. Sans-IO."""

from __future__ import annotations

import hmac
import struct
from binascii import crc_hqx
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Final

from appliance.errors import ProtocolError
from appliance.pair.model import NodeId, Standing
from appliance.pair.selector.register import LARGEST_EPOCH, Op, Request, is_node

VERSION: Final = 1
LONGEST: Final = 128
"""Bytes of a body."""
NONCE: Final = 8
TAG: Final = 8
HEAD: Final = struct.Struct(">BBI")
CRC: Final = struct.Struct(">H")
ANSWER: Final = struct.Struct(">BBIIQ")
MOST_MS: Final = 2**32 - 1


class Kind(IntEnum):
    """Of a frame; bit 7 is set in those that the arbiter sends."""

    HELLO = 0x01
    REQUEST = 0x02
    WELCOME = 0x81
    ANSWER = 0x82
    LOST = 0x83


class Result(IntEnum):
    GRANTED = 0
    REFUSED = 1
    FAULT = 2
    """The switch did not do as it was told, or memory did not keep; nothing was granted."""
    MALFORMED = 3


class Position(IntEnum):
    """Of the switch."""

    NONE = 0
    A = 1
    B = 2
    UNKNOWN = 255
    """It reads back otherwise than it was told."""


OPS: Final = (Op.LOOK, Op.CLAIM, Op.RENEW, Op.RELEASE)


@dataclass(frozen=True, slots=True)
class Frame:
    kind: Kind
    sequence: int
    payload: bytes
    tagged: bytes
    """what `tag` was made of"""
    tag: bytes

    def is_by(self, key: bytes) -> bool:
        return hmac.compare_digest(self.tag, tag(key, self.tagged))


@dataclass(frozen=True, slots=True)
class Answer:
    result: Result
    switch: Position
    """as it reads back"""
    lease: int
    """ms for which an owner that is not heard of is safe"""
    silent: int
    """ms since the other appliance was heard of, at most MOST_MS"""
    standing: Standing


def tag(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, sha256)[:TAG]


def session_key(key: bytes, host_nonce: bytes, arbiter_nonce: bytes) -> bytes:
    return hmac.digest(key, b"twinhub arbiter 1" + host_nonce + arbiter_nonce, sha256)


def encode(kind: Kind, sequence: int, payload: bytes, key: bytes) -> bytes:
    """The frame as it is sent, with the zeros that end what came before it and itself."""
    tagged = HEAD.pack(VERSION, kind, sequence) + payload
    body = tagged + tag(key, tagged)
    return b"\0" + cobs(body + CRC.pack(crc_hqx(body, 0xFFFF))) + b"\0"


def decode(body: bytes) -> Frame:
    """Raises ProtocolError, for noise as well."""
    if len(body) < HEAD.size + TAG + CRC.size or crc_hqx(body, 0xFFFF):
        raise ProtocolError("noise on the arbiter's line")
    version, kind, sequence = HEAD.unpack_from(body)
    if version != VERSION or kind not in Kind.__members__.values():
        raise ProtocolError(f"a frame of version {version} and kind {kind}, unknown to version {VERSION}")
    tagged, end = body[: -TAG - CRC.size], len(body) - CRC.size
    return Frame(Kind(kind), sequence, tagged[HEAD.size :], tagged, body[end - TAG : end])


class Splitter:
    """Bytes off a line, in pieces of any size, to frames; noise is passed over."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        *encoded, held = (self._held + data).split(b"\0")
        self._held = held[: LONGEST + 2]  # longer than any frame: never one, however it goes on
        for one in encoded:
            try:
                yield decode(uncobs(one))
            except ProtocolError:
                continue


def cobs(data: bytes) -> bytes:
    """`data` (at most 254 bytes) without zeros: each zero tells how far it is to the next one."""
    return b"".join(bytes([len(run) + 1]) + run for run in data.split(b"\0"))


def uncobs(data: bytes) -> bytes:
    """Raises ProtocolError."""
    runs, at = [], 0
    while at < len(data):
        length = data[at]
        runs.append(data[at + 1 : at + length])
        at += length
    if at != len(data) or at > LONGEST + 1:
        raise ProtocolError("noise on the arbiter's line")
    return b"\0".join(runs)


def write_request(request: Request) -> bytes:
    head = struct.pack(">BQ", OPS.index(request.op), request.epoch)
    return head + _write_node(request.node) + _write_node(request.heir)


def read_request(payload: bytes) -> Request:
    try:
        op, epoch = struct.unpack_from(">BQ", payload)
        node, at = _read_node(payload, 9)
        heir, at = _read_node(payload, at)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ProtocolError("a request that is cut off") from None
    wrong_node = node is None or node == heir
    if op >= len(OPS) or epoch > LARGEST_EPOCH or at != len(payload) or (op and wrong_node):
        raise ProtocolError("a request that makes no sense")
    return Request(OPS[op], node or "", epoch, heir)


def write_answer(answer: Answer) -> bytes:
    head = ANSWER.pack(answer.result, answer.switch, answer.lease, answer.silent, answer.standing.epoch)
    return head + _write_node(answer.standing.owner) + _write_node(answer.standing.heir)


def read_answer(payload: bytes) -> Answer:
    try:
        result, switch, lease, silent, epoch = ANSWER.unpack_from(payload)
        owner, at = _read_node(payload, ANSWER.size)
        heir, at = _read_node(payload, at)
        made = Answer(Result(result), Position(switch), lease, silent, Standing(owner, epoch, heir))
    except (struct.error, IndexError, ValueError):
        raise ProtocolError("an answer of the arbiter that makes no sense") from None
    if epoch > LARGEST_EPOCH or at != len(payload):
        raise ProtocolError("an answer of the arbiter that makes no sense")
    return made


def _write_node(node: NodeId | None) -> bytes:
    data = (node or "").encode()
    return bytes([len(data)]) + data


def _read_node(payload: bytes, at: int) -> tuple[NodeId | None, int]:
    """A node's id, None if it is empty, and where it ends."""
    end = at + 1 + payload[at]
    if end > len(payload):
        raise IndexError
    node = payload[at + 1 : end].decode() or None
    if node is not None and not is_node(node):
        raise ProtocolError("a node's id that is none")
    return node, end
