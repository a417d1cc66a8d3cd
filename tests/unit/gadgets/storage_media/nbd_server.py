"""An NBD server in memory, behind what looks like a socket: it answers within `sendall`."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from gadgets.storage.media.nbd_wire import Flag

GO_MAGIC = 0x3E889045565A9
ALL_FLAGS = Flag.FLUSH | Flag.FUA | Flag.WRITE_ZEROES
Request = tuple[int, int, int, int]
"""Flags, command, offset, length."""


@dataclass
class Server:
    """`knows_go` False: of before NBD_OPT_GO. `fail`: the errno of a request, or 0."""

    disk: bytearray = field(default_factory=lambda: bytearray(1 << 20))
    flags: int = ALL_FLAGS
    knows_go: bool = True
    refusal: tuple[int, bytes] | None = None
    block_sizes: tuple[int, int, int] | None = (1, 4096, 32 << 20)
    fail: Callable[[Request], int] = lambda request: 0
    requests: list[Request] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    closed: bool = False
    hello: bytes = b"NBDMAGICIHAVEOPT\0\3"

    def __post_init__(self) -> None:
        self.answer, self.heard = bytearray(self.hello), bytearray()
        self.step = self.flags_of_client

    # What the client thinks is a socket

    def sendall(self, data: bytes) -> None:
        self.heard += data
        while self.step():
            pass

    def recv_into(self, view: memoryview) -> int:
        self.asked.append(len(view))
        count = min(len(view), 1000, len(self.answer))
        view[:count] = self.answer[:count]
        del self.answer[:count]
        return count

    def close(self) -> None:
        self.closed = True

    def as_socket(self) -> socket.socket:
        return self  # type: ignore[return-value]

    # The protocol, by doc/proto.md

    def take(self, length: int) -> bytes | None:
        if len(self.heard) < length:
            return None
        taken = bytes(self.heard[:length])
        del self.heard[:length]
        return taken

    def flags_of_client(self) -> bool:
        if self.take(4) is None:
            return False
        self.step = self.option
        return True

    def option(self) -> bool:
        if len(self.heard) < 16 or len(self.heard) < 16 + int.from_bytes(self.heard[12:16]):
            return False
        magic, option, length = struct.unpack(">8sII", self.take(16) or b"")
        assert magic == b"IHAVEOPT"
        self.take(length)
        description = struct.pack(">QH", len(self.disk), self.flags)
        if option == 1:
            self.answer += description
            self.step = self.request
        elif self.refusal:
            self.reply(*self.refusal)
        elif not self.knows_go:
            self.reply(1 << 31 | 1, b"")
        else:
            if self.block_sizes:
                self.reply(3, struct.pack(">HIII", 3, *self.block_sizes))
            self.reply(3, b"\0\0" + description)
            self.reply(3, b"\0\2a description, not asked for")
            self.reply(1, b"")
            self.step = self.request
        return True

    def reply(self, kind: int, data: bytes) -> None:
        self.answer += struct.pack(">QIII", GO_MAGIC, 7, kind, len(data)) + data

    def request(self) -> bool:
        if len(self.heard) < 28:
            return False
        _, flags, command, cookie, offset, length = struct.unpack(">IHHQQI", self.heard[:28])
        data = length if command == 1 else 0
        if len(self.heard) < 28 + data:
            return False
        payload = (self.take(28 + data) or b"")[28:]
        self.requests.append((flags, command, offset, length))
        if error := self.fail(self.requests[-1]):
            self.answer += struct.pack(">IIQ", 0x67446698, error, cookie)
            return True
        if command in (1, 6):
            self.disk[offset : offset + length] = payload or bytes(length)
        if command != 2:
            self.answer += struct.pack(">IIQ", 0x67446698, 0, cookie)
        if command == 0:
            self.answer += self.disk[offset : offset + length]
        return True
