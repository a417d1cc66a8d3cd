"""CTAPHID: how messages travel in reports of 64 bytes. Client to Authenticator Protocol 2.1 §11.2.

Sans-IO: `Channels.receive` takes a packet from the host, and gives the request or the cancellation that it
completes; packets for the host pile up in `packets`. One transaction is under way at a time: a message that
arrives in several packets, or a request that awaits its answer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

PACKET = 64
LARGEST = 64 - 7 + 128 * (64 - 5)
"""Bytes of a message: one initialization packet and 128 continuation packets."""
BROADCAST = 0xFFFFFFFF

_INIT = struct.Struct(">IBH")
_CONT = struct.Struct(">IB")
_NONCE = 8


class Command(IntEnum):
    PING = 0x01
    MSG = 0x03
    INIT = 0x06
    WINK = 0x08
    CBOR = 0x10
    CANCEL = 0x11
    KEEPALIVE = 0x3B
    ERROR = 0x3F


class Error(IntEnum):
    INVALID_CMD = 0x01
    INVALID_PAR = 0x02
    INVALID_LEN = 0x03
    INVALID_SEQ = 0x04
    MSG_TIMEOUT = 0x05
    CHANNEL_BUSY = 0x06
    INVALID_CHANNEL = 0x0B


@dataclass(frozen=True, slots=True)
class Message:
    """A whole request of a channel."""

    channel: int
    command: int
    data: bytes


@dataclass(slots=True)
class Transaction:
    """`expected`: bytes of the message; it awaits its answer as soon as `data` has them all."""

    channel: int
    command: int
    expected: int
    data: bytes = b""
    sequence: int = 0

    @property
    def is_whole(self) -> bool:
        return len(self.data) >= self.expected


class Channels:
    """The authenticator's end. `identity`: the bytes of an answer to INIT behind the channel."""

    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        self.packets: list[bytes] = []
        self.reset()

    def reset(self) -> None:
        """As after power-up: no channel is given out."""
        self.packets.clear()
        self.transaction: Transaction | None = None
        self._last = 0
        """The newest channel; all from 1 to it are given out."""

    @property
    def is_receiving(self) -> bool:
        """The rest of a message is due."""
        return self.transaction is not None and not self.transaction.is_whole

    @property
    def is_awaiting(self) -> bool:
        """An answer is due."""
        return self.transaction is not None and self.transaction.is_whole

    @property
    def received(self) -> int:
        """Bytes of the message that is under way."""
        return len(self.transaction.data) if self.transaction else 0

    def receive(self, packet: bytes) -> Message | None:
        """A packet from the host, of any content; None unless it makes a message whole. CANCEL is one while
        its channel's CBOR request awaits the answer; PING and INIT are answered here."""
        if len(packet) != PACKET:
            return None
        if not packet[4] & 0x80:
            channel, sequence = _CONT.unpack_from(packet)
            return self._continue(channel, sequence, packet[_CONT.size :])
        channel, command, length = _INIT.unpack_from(packet)
        return self._begin(channel, command & 0x7F, length, packet[_INIT.size :])

    def answer(self, data: bytes) -> None:
        """The transaction ends with this."""
        if self.transaction:
            self._send(self.transaction.channel, self.transaction.command, data)
        self.transaction = None

    def fail(self, error: Error) -> None:
        """The transaction ends with this."""
        if self.transaction:
            self._refuse(self.transaction.channel, error)
        self.transaction = None

    def keep_alive(self, status: int) -> None:
        if self.transaction:
            self._send(self.transaction.channel, Command.KEEPALIVE, bytes((status,)))

    def _begin(self, channel: int, command: int, length: int, data: bytes) -> Message | None:
        current = self.transaction
        if command == Command.INIT and (channel == BROADCAST or self._is_open(channel)):
            self._init(channel, length, data)
        elif not self._is_open(channel):
            self._refuse(channel, Error.INVALID_CHANNEL)
        elif command == Command.CANCEL:
            if (
                current
                and current.channel == channel
                and current.command == Command.CBOR
                and current.is_whole
            ):
                return Message(channel, command, b"")
        elif current and current.channel == channel and not current.is_whole:
            self.fail(Error.INVALID_SEQ)
        elif current:
            self._refuse(channel, Error.CHANNEL_BUSY)
        elif length > LARGEST:
            self._refuse(channel, Error.INVALID_LEN)
        else:
            self.transaction = Transaction(channel, command, length, data[:length])
            return self._whole()
        return None

    def _continue(self, channel: int, sequence: int, data: bytes) -> Message | None:
        """What nobody waits for is ignored. §11.2.4"""
        current = self.transaction
        if current is None or current.channel != channel or current.is_whole:
            return None
        if sequence != current.sequence:
            self.fail(Error.INVALID_SEQ)
            return None
        current.sequence += 1
        current.data += data[: current.expected - len(current.data)]
        return self._whole()

    def _whole(self) -> Message | None:
        current = self.transaction
        if current is None or not current.is_whole:
            return None
        if current.command == Command.PING:
            self.answer(current.data)
            return None
        return Message(current.channel, current.command, current.data)

    def _init(self, channel: int, length: int, data: bytes) -> None:
        """A new channel, or a fresh start on one; what else is under way goes on. §11.2.9.1.3"""
        if length != _NONCE:
            self._refuse(channel, Error.INVALID_LEN)
            return
        given = channel
        if channel == BROADCAST:
            self._last = self._last % (BROADCAST - 1) + 1
            given = self._last
        elif self.transaction and self.transaction.channel == channel:
            self.transaction = None
        self._send(channel, Command.INIT, data[:_NONCE] + given.to_bytes(4, "big") + self.identity)

    def _is_open(self, channel: int) -> bool:
        return 0 < channel <= self._last

    def _refuse(self, channel: int, error: Error) -> None:
        self._send(channel, Command.ERROR, bytes((error,)))

    def _send(self, channel: int, command: int, data: bytes) -> None:
        self.packets += packets_of(channel, command, data)

    def snapshot(self) -> dict[str, Any]:
        """Between inputs, when `packets` is empty."""
        current = self.transaction
        return {
            "last": self._last,
            "transaction": current
            and [current.channel, current.command, current.expected, current.data, current.sequence],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._last = state["last"]
        self.transaction = Transaction(*state["transaction"]) if state["transaction"] else None


def packets_of(channel: int, command: int, data: bytes) -> Iterator[bytes]:
    """A message of at most `LARGEST` bytes, cut up."""
    room = PACKET - _INIT.size
    first = _INIT.pack(channel, command | 0x80, len(data)) + data[:room]
    yield first.ljust(PACKET, b"\0")
    size = PACKET - _CONT.size
    for sequence, at in enumerate(range(room, len(data), size)):
        yield (_CONT.pack(channel, sequence) + data[at : at + size]).ljust(PACKET, b"\0")
