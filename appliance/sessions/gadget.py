"""The process of one software gadget, forked by the nursery: its device, its companions, and its client.

It lives as long as the gadget is defined, so its pty, its medium and its state outlive a client's session and
the daemon. A session inside it looks from outside like any other: it has its own control socket.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from appliance import __version__
from appliance.errors import Busy, TwinhubError, Unavailable, describe
from appliance.loop import Loop
from appliance.sessions.control import Message
from appliance.sessions.conversation import Connection, Conversation
from appliance.sessions.guard import guard_of
from appliance.sessions.portrait import portrait
from appliance.sessions.replication.shadow import Shadow
from appliance.sessions.replication.twin import Twin
from appliance.sessions.running import Running
from appliance.sessions.software import Software
from appliance.sessions.state import SessionSpec, SessionState
from appliance.sessions.worker import Session, input_of, why_ended
from gadgets.definition import Definition
from gadgets.faults.cable import Plugged, Unplugged
from gadgets.faults.faulty import Faulty
from gadgets.usb.device import Told
from gadgets.usb.records import from_plain, snake, to_plain

PATIENCE: Final = 10.0
"""Seconds for who started us to ask how it went, on a slow machine."""

LONGEST: Final = 256
"""Characters of a text in an event."""

log = logging.getLogger(__name__)


class Stopped(Exception):
    """The gadget is no more; the message says why."""


class GadgetProcess:
    """Runs a gadget until it is stopped. Its name need not be its definition's: there may be several."""

    def __init__(
        self,
        name: str,
        definition: Definition,
        listener: socket.socket,
        asking: Connection,
        *,
        follow: bool = False,
    ) -> None:
        self.name, self.definition = name, definition
        self.loop = Loop()
        self.followers: list[Connection] = []
        self.session: Session | None = None
        self.running = Running(self.loop, definition.build(), self.listen, live=not follow)
        self.twin = Twin(self.loop, self.running, self.tell_all, self.resume)
        operations = {
            "describe": self.describe,
            "stats": self.stats,
            "local": self.local,
            "events": self.events,
            "serve": self.serve,
            "record": self.record,
            "record_end": self.record_end,
            "stop": self.stop,
            **self.twin.operations,
        }
        self.conversation = Conversation(self.loop, listener, operations, [asking])

    def run(self) -> None:
        """Returns when it was stopped and everything is closed."""
        signal.signal(signal.SIGTERM, _terminate)
        reason = "the gadget's process failed"
        try:
            while True:
                self.end_session(why_ended(self.loop))
        except Stopped as stop:
            reason = str(stop)
        finally:
            self.end_session(reason)
            self.twin.close()
            self.running.close()
            self.conversation.close(reason)
            self.loop.close()

    def end_session(self, reason: str) -> None:
        session, self.session = self.session, None
        self.twin.abandon()
        if session:
            session.end(reason)
            self.tell("", "detached", {"client": session.spec.peer, "reason": reason})

    def listen(self, told: Told) -> None:
        if isinstance(told.event, Plugged | Unplugged):
            self.tell_all({"event": "plugged", "plugged": self.running.plugged})
        if self.followers:
            fields = {key: brief(value) for key, value in to_plain(told.event).items()}
            self.tell(told.function, snake(type(told.event).__name__), fields)

    def tell_all(self, event: Message) -> None:
        for connection in self.conversation.connections:
            connection.tell(event)

    def tell(self, function: str, kind: str, fields: Mapping[str, Any]) -> None:
        about = {"gadget": self.name, "function": function, "kind": kind, "fields": fields}
        event = {"event": "told", "time": time.time(), **about}
        self.followers = [each for each in self.followers if each in self.conversation.connections]
        for follower in self.followers:
            follower.offer(event)

    # What it is asked

    def describe(self, message: Message, connection: Connection) -> Message:
        return {
            "name": self.name,
            "version": __version__,
            "pid": os.getpid(),
            "definition": to_plain(self.definition),
            "portrait": portrait(self.running.gadget),
            "plugged": self.running.plugged,
        }

    def stats(self, message: Message, connection: Connection) -> Message:
        device, recording = self.running.gadget.device, self.running.recording
        return {
            "session": self.session.spec.id if self.session else None,
            "faults": device.faults() if isinstance(device, Faulty) else [],
            "recording": recording.stats() if recording else None,
            "twin": self.twin.stats(),
            "companions": {
                label: [companion.stats() for companion in companions]
                for label, companions in self.running.companions.items()
                if companions
            },
        }

    def local(self, message: Message, connection: Connection) -> bool:
        folder = message.get("folder")
        self.running.local_plain(input_of(message), Path(folder) if isinstance(folder, str) else None)
        return True

    def events(self, message: Message, connection: Connection) -> bool:
        self.followers.append(connection)
        return True

    def serve(self, message: Message, connection: Connection) -> bool:
        fds = connection.take_fds("the session's listening control socket", "the client's socket")
        listener, client = (socket.socket(fileno=fd) for fd in fds)
        try:
            if not self.running.live or self.running.is_fenced or self.twin.orphan:
                raise Unavailable(
                    f"{self.name} is being handed over; its master is elsewhere, or not yet here"
                )
            if self.session:
                raise Busy(f"{self.name} is in use by {self.session.spec.peer}")
            if not self.running.plugged:
                raise Unavailable(f"{self.name} is unplugged at the moment, by a fault")
            about = message.get("guard") or {}
            facts = about.get("facts") or {}
            guard = guard_of(facts, about.get("gate"))
        except TwinhubError:
            listener.close()
            client.close()
            raise
        state = SessionState.begin(SessionSpec.from_json(message["spec"]))
        self.tell("", "attached", {"client": state.spec.peer})
        software = Software(state, client, self.running, facts, guard)
        self.session = Session(self.loop, state, listener, software)
        return True

    def resume(
        self, shadow: Shadow, listener: socket.socket, client: socket.socket, unsent: int, gate: object
    ) -> None:
        """Go on with a session of the process that this was the copy of."""
        state = SessionState.begin(shadow.spec)
        guard = guard_of(shadow.facts, gate, shadow.bytes_in)
        software = Software.resume(state, client, self.running, shadow, unsent, guard)
        self.session = Session(self.loop, state, listener, software)
        self.tell("", "resumed", {"client": state.spec.peer})

    def record(self, message: Message, connection: Connection) -> bool:
        (fd,) = connection.take_fds("a pipe or socket")
        try:
            self.running.record(fd)
        except TwinhubError:
            os.close(fd)
            raise
        return True

    def record_end(self, message: Message, connection: Connection) -> bool:
        self.running.end_recording(str(message.get("reason", "it was ended")))
        return True

    def stop(self, message: Message, connection: Connection) -> Message:
        connection.tell({"ok": True})
        raise Stopped(str(message.get("reason", "the gadget was stopped")))


def brief(value: object) -> object:
    """Data that went through is told by how it begins."""
    return f"{value[:LONGEST]}…" if isinstance(value, str) and len(value) > LONGEST else value


def _terminate(*_: object) -> None:
    raise Stopped("the gadget's process was told to stop")


def run(given: Mapping[str, Any], listener: socket.socket) -> None:
    """What the nursery forks: `given` is {"name", "definition": as plain values, "follow": begin as a copy}.
    Who had it forked asks at once how it went: without that there is nobody who wants it."""
    listener.settimeout(PATIENCE)
    asking = Connection(listener.accept()[0])
    try:
        definition = from_plain(Definition, given["definition"])
        follow = bool(given.get("follow"))
        process = GadgetProcess(given["name"], definition, listener, asking, follow=follow)
    except TwinhubError as error:
        log.error("there is no gadget %s: %s", given["name"], error)
        asking.tell(describe(error))
    else:
        process.run()
