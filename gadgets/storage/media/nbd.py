"""A disk on an NBD server: one connection, one request at a time.

Our own client, because there is no library to take: libnbd's Python binding comes with distributions, not
from PyPI, where a virtual environment could have it from.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from urllib.parse import parse_qs, unquote, urlsplit

from appliance.errors import MediumError, ProtocolError, Timeout, Unavailable, UsageError
from gadgets.storage.media import nbd_wire as wire
from gadgets.storage.media.contract import whole_blocks
from gadgets.storage.media.nbd_wire import Command, Export, Flag

PORT = 10809
TIMEOUT = 30.0
"""Seconds that a server may be silent in the middle of an answer."""
STRIDE = 128 << 20
"""Bytes zeroed by one request: few enough to be done in time."""


class NbdMedium:
    """Of a connected socket behind its handshake, which it owns. After a lost connection every call raises:
    what was not flushed would be missing behind a new one. `name` is for messages."""

    def __init__(self, sock: socket.socket, export: Export, name: str, *, read_only: bool = False) -> None:
        self.sock, self.export, self.name = sock, export, name
        self.size, self.read_only = export.size, read_only or Flag.READ_ONLY in export.flags
        self.durable_at_once = Flag.FLUSH not in export.flags
        self.cookie = 0
        self.lost = ""

    def read(self, offset: int, length: int) -> bytes:
        step = self.export.payload
        return b"".join(
            self.ask(Command.READ, at, min(step, offset + length - at))
            for at in range(offset, offset + length, step)
        )

    def write(self, offset: int, data: bytes | memoryview) -> None:
        view, step = memoryview(data), self.export.payload
        for at in range(0, len(view), step):
            piece = view[at : at + step]
            self.ask(Command.WRITE, offset + at, len(piece), piece)

    def flush(self) -> None:
        if not self.durable_at_once:
            self.ask(Command.FLUSH)

    def discard(self, offset: int, length: int) -> None:
        """NBD_CMD_TRIM promises no zeros. NBD_CMD_WRITE_ZEROES does, and frees the room where it can."""
        quick = Flag.WRITE_ZEROES in self.export.flags
        step = STRIDE if quick else self.export.payload
        for at in range(offset, offset + length, step):
            size = min(step, offset + length - at)
            if quick:
                self.ask(Command.WRITE_ZEROES, at, size)
            else:
                self.write(at, bytes(size))

    def close(self) -> None:
        with suppress(OSError):
            self.sock.sendall(wire.request(Command.DISCONNECT, 0))
        self.sock.close()

    def ask(
        self, command: Command, offset: int = 0, length: int = 0, data: memoryview | bytes = b""
    ) -> bytes:
        """One request and its answer; a READ's data."""
        if self.lost:
            raise MediumError(self.lost)
        self.cookie += 1
        fua = self.durable_at_once and command in (Command.WRITE, Command.WRITE_ZEROES)
        header = wire.request(command, self.cookie, offset, length, fua=fua)
        try:
            self.sock.sendall(b"".join((header, data)))
            error = wire.reply_error(receive(self.sock, wire.REPLY.size), self.cookie)
            answer = receive(self.sock, length) if command is Command.READ and not error else b""
        except (OSError, ProtocolError, Timeout) as trouble:
            self.lost = f"{self.name}: {trouble}; eject the disk and insert it anew"
            self.sock.close()
            raise MediumError(self.lost) from trouble
        if error:
            raise MediumError(f"{self.name}: {os.strerror(error)}")
        return answer


def negotiate(sock: socket.socket, export: str) -> Export:
    steps, received = wire.handshake(export), b""
    step = next(steps)
    while True:
        if isinstance(step, int):
            received = receive(sock, step)
        else:
            sock.sendall(step)
        try:
            step = steps.send(received)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


def receive(sock: socket.socket, length: int) -> bytes:
    """Exactly so many bytes; Timeout or ProtocolError where they do not come."""
    data = bytearray(length)
    view, got = memoryview(data), 0
    while got < length:
        try:
            count = sock.recv_into(view[got:])
        except TimeoutError as error:
            raise Timeout(f"the NBD server says nothing for {TIMEOUT:.0f} s") from error
        if not count:
            raise ProtocolError("the NBD server closed the connection")
        got += count
    return bytes(data)


def open_nbd(url: str, *, read_only: bool, block_size: int) -> NbdMedium:
    """Of a URL as the NBD project's doc/uri.md has it: nbd://host[:port]/export, or
    nbd+unix:///export?socket=path."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORT
        (path,) = parse_qs(parts.query).get("socket", [""])
    except ValueError:
        raise misspelt(url) from None
    name = unquote(parts.path.removeprefix("/"))
    if parts.scheme == "nbd" and host:
        return over_tcp(url, host, port, name, read_only, block_size)
    if parts.scheme == "nbd+unix" and path.startswith("/"):
        return over_unix(url, path, name, read_only, block_size)
    raise misspelt(url)


def misspelt(url: str) -> UsageError:
    return UsageError(f"{url}: write nbd://host:port/export or nbd+unix:///export?socket=/path")


def over_tcp(what: str, host: str, port: int, name: str, read_only: bool, block_size: int) -> NbdMedium:
    try:
        sock = socket.create_connection((host, port), TIMEOUT)
    except UnicodeError:  # no name of a host is so long
        raise misspelt(what) from None
    except OSError as error:
        raise absent(what, error) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return of_socket(sock, name, what, read_only=read_only, block_size=block_size)


def over_unix(what: str, path: str, name: str, read_only: bool, block_size: int) -> NbdMedium:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(TIMEOUT)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise absent(what, error) from error
    return of_socket(sock, name, what, read_only=read_only, block_size=block_size)


def absent(what: str, error: OSError) -> Unavailable:
    return Unavailable(f"{what}: {error.strerror or error}; start the NBD server, or correct the address")


def of_socket(sock: socket.socket, name: str, what: str, *, read_only: bool, block_size: int) -> NbdMedium:
    """The export `name` behind a connected socket with a timeout, which it takes in any case."""
    try:
        export = negotiate(sock, name)
        whole_blocks(what, export.size, block_size)
        if block_size % export.block:
            raise UsageError(f"{what} works in blocks of {export.block}: give the disk that block size")
        medium = NbdMedium(sock, export, what, read_only=read_only)
        if not medium.read_only and not export.flags & (Flag.FLUSH | Flag.FUA):
            raise UsageError(f"{what} can make nothing durable: open it read-only, or write overlay+{what}")
    except OSError as error:
        sock.close()
        raise absent(what, error) from error
    except BaseException:
        sock.close()
        raise
    return medium
