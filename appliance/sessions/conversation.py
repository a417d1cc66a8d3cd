"""A control socket and who talks on it; what is said there is in appliance/sessions/control.py."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from appliance.errors import ProtocolError, TwinhubError, UsageError, describe
from appliance.loop import IN, Loop
from appliance.sessions.control import LINE_LIMIT, Lines, Message, encode

CONNECTIONS: Final = 8
"""On a control socket at once; more wait in its backlog."""
DESCRIPTORS: Final = 3
"""Passed along with a request at most."""


class Connection:
    """Somebody on the control socket."""

    def __init__(self, sock: socket.socket, rest: bytes = b"") -> None:
        self.sock, self.lines = sock, Lines(rest)
        self.fds: list[int] = []
        """passed along and not yet taken"""
        self.lost = 0
        """events for which there was no room"""
        sock.setblocking(False)

    def receive(self) -> list[Message]:
        """EOFError when they left, ProtocolError when they talk nonsense."""
        data, fds, _, _ = socket.recv_fds(self.sock, LINE_LIMIT, DESCRIPTORS)
        if fds:
            self.drop_fds()
            self.fds = fds
        if not data:
            raise EOFError
        return self.lines.feed(data)

    def take_fds(self, *what: str, more: int = 0) -> list[int]:
        """A descriptor for each of `what` and at most so many `more`, the caller's now. UsageError if there
        are not as many."""
        if not len(what) <= len(self.fds) <= len(what) + more:
            raise UsageError(f"this needs {' and '.join(what)} passed along with the request")
        fds, self.fds = self.fds, []
        return fds

    def drop_fds(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def tell(self, message: Message, fds: Sequence[int] = ()) -> None:
        """`fds` are passed along and stay the caller's."""
        data = encode(message)
        try:
            sent = socket.send_fds(self.sock, [data], fds) if fds else 0
            self.sock.sendall(data[sent:])
        except OSError:  # who does not read is not waited for, and may be gone already
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def offer(self, event: Message) -> None:
        """An event, unless there is no room for it; how many were lost is told before the next."""
        try:
            if self.lost:
                self.sock.send(encode({"event": "lost", "count": self.lost}))
                self.lost = 0
            self.sock.send(encode(event))  # whole or not at all: it is shorter than the socket's pieces
        except BlockingIOError:
            self.lost += 1
        except OSError:
            pass  # gone, as its reading will show

    def close(self) -> None:
        self.drop_fds()
        self.sock.close()


Operation = Callable[[Message, Connection], Any]
"""Its value is the answer; None: it answers by itself, later."""


class Conversation:
    """Everybody on one control socket; each request goes to its operation. TwinhubErrors are answers too."""

    def __init__(
        self,
        loop: Loop,
        listener: socket.socket,
        operations: Mapping[str, Operation],
        connections: Iterable[Connection] = (),
    ) -> None:
        self.loop, self.listener, self.operations = loop, listener, dict(operations)
        self.connections: list[Connection] = []
        listener.setblocking(False)
        loop.watch(listener.fileno(), IN, self.on_listener)
        for connection in connections:
            self.welcome(connection)

    def on_listener(self, events: int) -> None:
        self.welcome(Connection(self.listener.accept()[0]))

    def welcome(self, connection: Connection) -> None:
        self.connections.append(connection)
        self.loop.watch(connection.sock.fileno(), IN, lambda _: self.on_connection(connection))
        if len(self.connections) == CONNECTIONS:
            self.loop.want(self.listener.fileno(), 0)

    def leave(self, connection: Connection) -> None:
        self.loop.forget(connection.sock.fileno())
        self.connections.remove(connection)
        connection.close()
        self.loop.want(self.listener.fileno(), IN)

    def on_connection(self, connection: Connection) -> None:
        try:
            for message in connection.receive():
                if (answer := self.answer(message, connection)) is not None:
                    connection.tell(answer)
        except (EOFError, ProtocolError, OSError):
            self.leave(connection)

    def answer(self, message: Message, connection: Connection) -> Message | None:
        try:
            operation = self.operations.get(str(message.get("op")))
            if operation is None:
                raise UsageError(
                    f"no operation {message.get('op')!r}; there are {', '.join(self.operations)}"
                )
            result = operation(message, connection)
        except TwinhubError as error:
            return describe(error)
        return None if result is None else {"ok": result}

    def tell(self, event: Message) -> None:
        for connection in self.connections:
            connection.tell(event)

    def close(self, reason: str) -> None:
        """Takes the socket away and tells everybody why, as the last word."""
        Path(self.listener.getsockname()).unlink(missing_ok=True)
        self.loop.forget(self.listener.fileno())
        self.listener.close()
        for connection in self.connections:
            self.loop.forget(connection.sock.fileno())
            connection.tell({"event": "end", "reason": reason})
            connection.close()
        self.connections.clear()
