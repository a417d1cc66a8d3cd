"""A session and, for a device that is plugged in, the process that is its own.

Started by the nursery, or by itself: `reexec` writes the session down and becomes newer code, with the same
sockets (`python -m appliance.sessions.worker --state FD`). A gadget's session runs inside that gadget's
process (appliance/sessions/gadget.py), which does not become newer code.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from appliance import __version__
from appliance.errors import ProtocolError, TwinhubError, Unavailable, UsageError, describe
from appliance.loop import IN, Ended, Loop
from appliance.sessions.control import Message
from appliance.sessions.conversation import Connection, Conversation, Operation
from appliance.sessions.direct import Direct
from appliance.sessions.guard import guard_of
from appliance.sessions.relayed import Relayed
from appliance.sessions.state import VERSION, SessionState

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


class Session:
    """One client that uses one device: what moves the URBs, and who talks about it on its control socket.

    Handlers on the loop end it by raising Ended; whoever runs the loop then calls `end`.
    """

    def __init__(
        self,
        loop: Loop,
        state: SessionState,
        listener: socket.socket,
        carrier: Carrier,
        connections: Iterable[Connection] = (),
    ) -> None:
        self.loop, self.spec, self.carrier = loop, state.spec, carrier
        operations = {
            "describe": self.describe,
            "stats": self.stats,
            "kick": self.kick,
            "capture": self.capture,
            "local": self.local,
            "reexec": self.reexec,
        }
        self.conversation = Conversation(loop, listener, operations, connections)

    def end(self, reason: str) -> None:
        log.info("session %s (%s for %s) ended: %s", self.spec.id, self.spec.name, self.spec.peer, reason)
        self.carrier.close()
        for sock in self.carrier.sockets():
            self.loop.forget(sock.fileno())
            sock.close()
        self.conversation.close(reason)

    def describe(self, message: Message, connection: Connection) -> Message:
        return {"spec": self.spec.to_json(), "version": __version__, "pid": os.getpid()}

    def stats(self, message: Message, connection: Connection) -> Message:
        return self.carrier.stats()

    def kick(self, message: Message, connection: Connection) -> Message:
        connection.tell({"ok": True})
        raise Ended(f"kicked: {message.get('reason', 'no reason given')}")

    def capture(self, message: Message, connection: Connection) -> bool:
        (fd,) = connection.take_fds("a pipe or socket")
        try:
            self.carrier.record(fd)
        except TwinhubError:
            os.close(fd)
            raise
        return True

    def local(self, message: Message, connection: Connection) -> bool:
        self.carrier.local(input_of(message))
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
            connection.tell(describe(problem))

        self.loop.watch(pidfd, IN, tried)


def input_of(message: Message) -> dict[str, Any]:
    given = message.get("input")
    if not isinstance(given, dict):
        raise UsageError("local needs an input: a JSON object with one key that names it")
    return given


class Worker:
    """A process that runs one session to its end."""

    def __init__(
        self,
        state: SessionState,
        listener: socket.socket,
        sockets: Sequence[socket.socket],
        connections: Iterable[Connection] = (),
    ) -> None:
        self.loop = Loop()
        moving = carrier(self.loop, state, sockets)
        self.session = Session(self.loop, state, listener, moving, connections)
        if isinstance(moving, Relayed) and state.facts:
            moving.lease = 0  # until it is said whether it is alone or protected
            self.session.conversation.operations |= twin_operations(self.session, moving)

    def run(self) -> None:
        """Returns when the session has ended and everything is closed."""
        signal.signal(signal.SIGTERM, _terminate)
        reason = "the worker failed"
        try:
            reason = self.serve()
        finally:
            self.session.end(reason)
            self.loop.close()

    def serve(self) -> str:
        while True:
            try:
                return why_ended(self.loop)
            except Become as wish:
                self.become(wish)

    def become(self, wish: Become) -> None:
        """Does not return, save by an error that is told to who asked."""
        session, conversation = self.session, self.session.conversation
        sockets, connections = session.carrier.sockets(), conversation.connections
        written = {
            "state": session.carrier.freeze().to_json(),
            "listener": conversation.listener.fileno(),
            "sockets": [sock.fileno() for sock in sockets],
            "connections": [[c.sock.fileno(), c.lines.rest.decode("latin-1")] for c in connections],
            "asker": wish.asker.sock.fileno(),
        }
        file = os.memfd_create("session")
        os.write(file, json.dumps(written).encode())
        for sock in (conversation.listener, *sockets, *(connection.sock for connection in connections)):
            os.set_inheritable(sock.fileno(), True)
        os.set_inheritable(file, True)
        os.execv(wish.python, [wish.python, "-m", __spec__.name, "--state", str(file)])


def why_ended(loop: Loop) -> str:
    """Runs the loop until the session has ended."""
    try:
        loop.run()
    except Ended as end:
        return str(end)
    except ProtocolError as error:
        return f"the protocol was broken: {error}"


def carrier(loop: Loop, state: SessionState, sockets: Sequence[socket.socket]) -> Carrier:
    """What moves the URBs of a plugged-in device; `sockets`: the client's and, relayed, the stub pair's."""
    if state.spec.kind == "direct":
        return Direct(loop, state, *sockets)
    client, stub = sockets
    guard = guard_of(state.facts, state.gate, state.consumed) if state.facts else None
    return Relayed(loop, state, client, stub, guard)


def twin_operations(session: Session, relayed: Relayed) -> Mapping[str, Operation]:
    """Of a session at a protected address. Others need not have that code."""
    from appliance.sessions.shadow.twin import RelayTwin

    return RelayTwin(session.loop, relayed, session.conversation.tell).operations


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
    connections = [
        Connection(socket.socket(fileno=fd), rest.encode("latin-1")) for fd, rest in left["connections"]
    ]
    sockets = [socket.socket(fileno=fd) for fd in left["sockets"]]
    worker = Worker(state, listener, sockets, connections)
    next(c for c in connections if c.sock.fileno() == left["asker"]).tell({"ok": __version__})
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
