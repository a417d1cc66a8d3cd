"""The stream between the two processes of a gadget, on a worker's loop: mutual TLS 1.3, or none for tests."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from appliance.loop import IN, OUT, Loop

SIZE: Final = 256 << 10
"""Bytes received at once."""
BACKLOG: Final = 1 << 30
"""Bytes that may wait for a sibling that does not read; the largest state and then some."""


class Clear:
    """What is sent is what goes over the wire."""

    def sealed(self, data: bytes) -> bytes:
        return data

    def opened(self, data: bytes) -> bytes:
        return data

    def pending(self) -> bytes:
        return b""


class Tls:
    """The same, by TLS. What is sealed before the handshake is through waits for it."""

    def __init__(self, context: ssl.SSLContext, server_side: bool) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=server_side)
        self._early = bytearray()
        self._through = False

    def sealed(self, data: bytes) -> bytes:
        """What goes over the wire now."""
        if not self._through:
            self._early += data
            self._shake()
        else:
            self._write(data)
        return self._out.read()

    def opened(self, data: bytes) -> bytes:
        """Raises ssl.SSLError, EOFError at the sibling's farewell."""
        self._in.write(data)
        parts: list[bytes] = []
        if not self._through:
            self._shake()
        with suppress(ssl.SSLWantReadError):
            while self._through:
                parts.append(self._tls.read(SIZE))
                if not parts[-1]:
                    raise EOFError
        return b"".join(parts)

    def pending(self) -> bytes:
        """What TLS itself has to say."""
        return self._out.read()

    def _shake(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            self._through = True
            early, self._early = self._early, bytearray()
            self._write(early)

    def _write(self, data: bytes | bytearray) -> None:
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]


class Wire:
    """Calls `feed` with what comes, and `lost` once, with the reason, when nothing more does."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        feed: Callable[[bytes], None],
        lost: Callable[[str], None],
        channel: Clear | Tls | None = None,
    ) -> None:
        self.loop, self.sock, self.feed, self.lost = loop, sock, feed, lost
        self.channel = channel or Clear()
        self.backlog = bytearray()
        self.closed = False
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.watch(sock.fileno(), IN, self.on_ready)
        self.send(b"")

    def send(self, data: bytes) -> None:
        """Never raises, never waits: a sibling that is gone is seen by the loop."""
        if self.closed:
            return
        try:
            self.put(self.channel.sealed(data))
        except ssl.SSLError as error:
            self.fail(f"TLS with the sibling failed: {error.reason or error}")

    def put(self, data: bytes) -> None:
        if self.backlog:
            self.backlog += data
            if len(self.backlog) > BACKLOG:
                self.fail("the sibling does not read")
            return
        sent = 0
        try:
            sent = self.sock.send(data) if data else 0
        except BlockingIOError:
            pass
        except OSError:
            return  # its hang-up comes by the loop
        if sent < len(data):
            self.backlog += memoryview(data)[sent:]
            self.loop.want(self.sock.fileno(), IN | OUT)

    def on_ready(self, events: int) -> None:
        if events & OUT and self.backlog:
            with suppress(OSError):
                del self.backlog[: self.sock.send(self.backlog)]
            if not self.backlog:
                self.loop.want(self.sock.fileno(), IN)
        if events & ~OUT:
            self.receive()

    def receive(self) -> bool:
        """Feeds what is there; False: nothing was."""
        try:
            data = self.sock.recv(SIZE)
            if not data:
                raise EOFError
            opened = self.channel.opened(data)
        except BlockingIOError:
            return False
        except ssl.SSLError as error:
            self.put(self.channel.pending())  # the alert that says why
            self.fail(f"TLS with the sibling failed: {error.reason or error}")
            return False
        except (EOFError, OSError) as error:
            self.fail(f"the sibling hung up: {error}" if str(error) else "the sibling hung up")
            return False
        self.put(self.channel.pending())
        if opened:
            self.feed(opened)
        return not self.closed

    def drain(self) -> None:
        """Feed all that has come by now."""
        while not self.closed and self.receive():
            continue

    def fail(self, reason: str) -> None:
        if not self.closed:
            self.close()
            self.lost(reason)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.loop.forget(self.sock.fileno())
            self.sock.close()
