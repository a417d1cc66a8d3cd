"""One process, one session: its sockets, its control socket, its end.

Started by the nursery, or by itself: `reexec` writes the session down and becomes newer code, with the same
sockets (`python -m appliance.sessions.worker --state FD`).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from appliance import __version__
from appliance.errors import ProtocolError, TwinhubError, Unavailable, UsageError, describe
from appliance.loop import IN, Ended, Loop
from appliance.sessions.control import LINE_LIMIT, Lines, Message, encode
from appliance.sessions.direct import Direct
from appliance.sessions.relayed import Relayed
from appliance.sessions.state import VERSION, SessionState

CONNECTIONS: Final = 8
"""On the control socket at once; more wait in its backlog."""

log = logging.getLogger(__name__)


class Carrier(Protocol):
    """What moves the URBs: one class for each kind of session."""

    def stats(self) -> dict[str, Any]: ...
    def record(self, fd: int) -> None: ...
    def local(self, given: dict[str, Any]) -> None: ...
    def freeze(self) -> SessionState: ...
    def sockets(self) -> tuple[socket.socket, ...]: ...
    def close(self) -> None: ...


class Become(Exception):
    """Run this interpreter's code from here on."""

    def __init__(self, python: str, asker: Connection) -> None:
        self.python, self.asker = python, asker


class Connection:
    """Somebody on the control socket."""

    def __init__(self, sock: socket.socket, rest: bytes = b"") -> None:
        self.sock, self.lines = sock, Lines(rest)
        self.fd: int | None = None
        """passed along and not yet taken"""
        sock.setblocking(False)

    def receive(self) -> list[Message]:
        """EOFError when they left, ProtocolError when they talk nonsense."""
        data, fds, _, _ = socket.recv_fds(self.sock, LINE_LIMIT, 1)
        for fd in fds:
            self.drop_fd()
            self.fd = fd
        if not data:
            raise EOFError
        return self.lines.feed(data)

    def take_fd(self) -> int:
        if self.fd is None:
            raise UsageError("capture needs a pipe or socket passed along with the request")
        fd, self.fd = self.fd, None
        return fd

    def drop_fd(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
        self.fd = None

    def close(self) -> None:
        self.drop_fd()
        self.sock.close()


class Worker:
    """Runs a session to its end."""

    def __init__(
        self, state: SessionState, listener: socket.socket, sockets: Sequence[socket.socket]
    ) -> None:
        self.spec, self.listener = state.spec, listener
        self.loop = Loop()
        self.carrier = carrier(self.loop, state, sockets)
        self.connections: list[Connection] = []
        listener.setblocking(False)
        self.loop.watch(listener.fileno(), IN, self.on_listener)

    def run(self) -> None:
        """Returns when the session has ended and everything is closed."""
        signal.signal(signal.SIGTERM, _terminate)
        reason = "the worker failed"
        try:
            reason = self.serve()
        finally:
            log.info("session %s (%s for %s) ended: %s", self.spec.id, self.spec.name, self.spec.peer, reason)
            self.close(reason)

    def serve(self) -> str:
        while True:
            try:
                self.loop.run()
            except Ended as end:
                return str(end)
            except ProtocolError as error:
                return f"the protocol was broken: {error}"
            except Become as wish:
                self.become(wish)

    def close(self, reason: str) -> None:
        self.carrier.close()
        Path(self.listener.getsockname()).unlink(missing_ok=True)
        for sock in (*self.carrier.sockets(), self.listener):
            sock.close()
        for connection in self.connections:
            self.tell(connection, {"event": "end", "reason": reason})
            connection.close()
        self.loop.close()

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
                    self.tell(connection, answer)
        except (EOFError, ProtocolError, OSError):
            self.leave(connection)

    def tell(self, connection: Connection, message: Message) -> None:
        try:
            connection.sock.sendall(encode(message))
        except OSError:  # who does not read is not waited for, and may be gone already
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def answer(self, message: Message, connection: Connection) -> Message | None:
        try:
            operation = OPERATIONS.get(str(message.get("op")))
            if operation is None:
                raise UsageError(f"no operation {message.get('op')!r}; there are {', '.join(OPERATIONS)}")
            result = operation(self, message, connection)
        except TwinhubError as error:
            return describe(error)
        return None if result is None else {"ok": result}

    def describe(self, message: Message, connection: Connection) -> Message:
        return {"spec": self.spec.to_json(), "version": __version__, "pid": os.getpid()}

    def stats(self, message: Message, connection: Connection) -> Message:
        return self.carrier.stats()

    def kick(self, message: Message, connection: Connection) -> Message:
        self.tell(connection, {"ok": True})
        raise Ended(f"kicked: {message.get('reason', 'no reason given')}")

    def capture(self, message: Message, connection: Connection) -> bool:
        fd = connection.take_fd()
        try:
            self.carrier.record(fd)
        except TwinhubError:
            os.close(fd)
            raise
        return True

    def local(self, message: Message, connection: Connection) -> bool:
        given = message.get("input")
        if not isinstance(given, dict):
            raise UsageError("local needs an input: a JSON object with one key that names it")
        self.carrier.local(given)
        return True

    def reexec(self, message: Message, connection: Connection) -> None:
        """First try, in a process of its own, that the code there starts and can read our state."""
        self.carrier.freeze()  # refuses where it is not possible
        python = str(message.get("python", sys.executable))
        try:
            pid = os.posix_spawn(python, [python, "-m", __spec__.name, "--reads", str(VERSION)], os.environ)
        except OSError as error:
            raise Unavailable(f"cannot run {python}: {error.strerror}") from None
        pidfd = os.pidfd_open(pid)

        def tried(_: int) -> None:
            self.loop.forget(pidfd)
            os.close(pidfd)
            if os.waitpid(pid, 0)[1] == 0:
                raise Become(python, connection)
            problem = Unavailable(f"the code of {python} cannot take this session over; it goes on here")
            self.tell(connection, describe(problem))

        self.loop.watch(pidfd, IN, tried)

    def become(self, wish: Become) -> None:
        """Does not return, save by an error that is told to who asked."""
        sockets = [self.listener, *self.carrier.sockets(), *(c.sock for c in self.connections)]
        written = {
            "state": self.carrier.freeze().to_json(),
            "listener": self.listener.fileno(),
            "sockets": [sock.fileno() for sock in self.carrier.sockets()],
            "connections": [[c.sock.fileno(), c.lines.rest.decode("latin-1")] for c in self.connections],
            "asker": wish.asker.sock.fileno(),
        }
        file = os.memfd_create("session")
        os.write(file, json.dumps(written).encode())
        for fd in (file, *(sock.fileno() for sock in sockets)):
            os.set_inheritable(fd, True)
        os.execv(wish.python, [wish.python, "-m", __spec__.name, "--state", str(file)])


OPERATIONS: Final[dict[str, Callable[[Worker, Message, Connection], Any]]] = {
    "describe": Worker.describe,
    "stats": Worker.stats,
    "kick": Worker.kick,
    "capture": Worker.capture,
    "local": Worker.local,
    "reexec": Worker.reexec,
}


def carrier(loop: Loop, state: SessionState, sockets: Sequence[socket.socket]) -> Carrier:
    """What moves the URBs of this kind of session; `sockets`: the client's and, relayed, the stub pair's."""
    if state.spec.kind == "relayed":
        client, stub = sockets
        return Relayed(loop, state, client, stub)
    if state.spec.kind == "direct":
        return Direct(loop, state, *sockets)
    # Gadgets bring much code that the other kinds, exec'd anew, can do without.
    from appliance.sessions.software import Software

    return Software(loop, state, *sockets)


def _terminate(*_: object) -> None:
    raise Ended("the worker was told to stop")


def resume(file: int) -> None:
    """Go on with the session that another worker's `become` wrote to this descriptor."""
    with os.fdopen(file, "rb") as written:
        written.seek(0)
        left = json.load(written)
    state = SessionState.from_json(left["state"])
    fds = (left["listener"], *left["sockets"], *(fd for fd, _ in left["connections"]))
    for fd in fds:
        os.set_inheritable(fd, False)
    listener = socket.socket(fileno=left["listener"])
    worker = Worker(state, listener, [socket.socket(fileno=fd) for fd in left["sockets"]])
    for fd, rest in left["connections"]:
        connection = Connection(socket.socket(fileno=fd), rest.encode("latin-1"))
        worker.welcome(connection)
        if fd == left["asker"]:
            worker.tell(connection, {"ok": __version__})
    worker.run()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m appliance.sessions.worker", description=__doc__)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--state", type=int, metavar="FD", help="go on with the session written there")
    task.add_argument("--reads", type=int, metavar="VERSION", help="exit 0 if such a state can be read")
    chosen = parser.parse_args()
    if chosen.reads is not None:
        return 0 if chosen.reads == VERSION else 1
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    resume(chosen.state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
