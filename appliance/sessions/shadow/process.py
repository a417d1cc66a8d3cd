"""The process of a shadow, forked by the nursery: it follows a session, and may become it.

Its control socket, wherever who started it has put it:

| op | fields, and what is passed along | answer |
|---|---|---|
| describe | | the session's spec (or null), state, the code's version, the process's pid |
| follow | epoch, keys (the pair's folder); the socket from the master | true |
| promote | epoch, choice (auto, hide, replug); a file for the tail | `position` |
| resume | found, choice, unsent, gate; the session's listener, the client's socket, the stub pair's | true |
| stop | reason | true; the shadow ends |

`found` is {devid, busid, speed, descriptors (base64), serial} of the device as it is here; `unsent` counts
the bytes of the tail that the client's socket does not hold; `gate` is the path of the gate's socket here.
Behind `resume` the process is an ordinary session's, on that session's listener; the shadow's own socket is
closed. The error `Replug` says that this device must not pass for the old one: then, as after any other error
of `resume`, the client must be reset.

Everybody is told `{"event": "twin", "state", "reason"}`: "in_sync", "lost" (it stays as it was) or "over".
"""

from __future__ import annotations

import os
import signal
import socket
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic_ns
from typing import Any, Final

from appliance import __version__
from appliance.errors import Busy, PeerError, Unavailable, UsageError
from appliance.exports.takeover import CHOICES, Policy, policy
from appliance.loop import Ended, Loop
from appliance.sessions.control import Message
from appliance.sessions.conversation import Connection, Conversation
from appliance.sessions.replication.wire import Wire
from appliance.sessions.shadow.core import Shadow
from appliance.sessions.shadow.follower import Follower
from appliance.sessions.shadow.plan import Found, Plan, plan
from appliance.sessions.shadow.restore import steps
from appliance.sessions.shadow.stub import carry_out
from appliance.sessions.shadow.twin import channel, newer
from appliance.sessions.state import SessionState
from appliance.sessions.worker import Worker
from gadgets.usb.urb import Speed

PATIENCE: Final = 5.0
"""Seconds for the stub or the client to take what it gets at once."""


class Becomes(Exception):
    """The shadow is a session from now on, on these sockets: listener, client's, stub's."""

    def __init__(self, state: SessionState, sockets: Sequence[socket.socket]) -> None:
        self.state, self.sockets = state, sockets


class ShadowProcess:
    def __init__(self, listener: socket.socket) -> None:
        self.loop = Loop()
        self.wire: Wire | None = None
        self.follower: Follower | None = None
        self.epoch = 0
        self.promoted = False
        operations = {
            "describe": self.describe,
            "follow": self.follow,
            "promote": self.promote,
            "resume": self.resume,
            "stop": self.stop,
        }
        self.conversation = Conversation(self.loop, listener, operations)

    def run(self) -> None:
        """Returns when it is over, and so is the session if it became one."""
        signal.signal(signal.SIGTERM, _terminate)
        heir: Becomes | None = None
        reason = "the shadow's process failed"
        try:
            self.loop.run()
        except Becomes as becomes:
            heir, reason = becomes, "it is the session now"
        except Ended as end:
            reason = str(end)
        finally:
            if self.wire:
                self.wire.close()
            self.conversation.close(reason)
            self.loop.close()
        if heir:
            listener, *others = heir.sockets
            Worker(heir.state, listener, others).run()

    @property
    def shadow(self) -> Shadow | None:
        return self.follower.shadow if self.follower else None

    def describe(self, message: Message, connection: Connection) -> Message:
        shadow, follower = self.shadow, self.follower
        return {
            "spec": shadow.relay.spec.to_json() if shadow else None,
            "state": follower.state_word if follower else "alone",
            "index": follower.index if follower else 0,
            "version": __version__,
            "pid": os.getpid(),
        }

    def follow(self, message: Message, connection: Connection) -> bool:
        (fd,) = connection.take_fds("the socket from the master")
        with socket.socket(fileno=fd) as sock:
            if self.promoted:
                raise Busy("this shadow has been promoted; start another")
            self.epoch = newer(message, self.epoch)
            secured = channel(message, server_side=True)
            if self.wire:
                self.wire.close()
            follower = Follower(self.epoch, lambda data: wire.send(data), self.told)
            wire = Wire(self.loop, socket.socket(fileno=sock.detach()), follower.feed, follower.lose, secured)
        self.follower, self.wire = follower, wire
        return True

    def told(self, state: str, reason: str) -> None:
        self.conversation.tell({"event": "twin", "state": state, "reason": reason})
        if state == "over":
            raise Ended(reason)

    def promote(self, message: Message, connection: Connection) -> Message:
        """All that came from the master is followed first. Who asks has the group's grant."""
        (fd,) = connection.take_fds("a file for the tail")
        with open(fd, "wb") as file:
            if self.wire and not self.promoted:
                self.wire.drain()
            if not (shadow := self.shadow) or not self.follower:
                raise Unavailable("this shadow knows no session")
            self.epoch = newer(message, self.epoch)
            self.promoted = True
            if self.wire:
                self.wire.close()
            file.write(shadow.tail)
        return position(shadow, self.follower.broken, judged(shadow.standing().state, message))

    def resume(self, message: Message, connection: Connection) -> None:
        """Blocks this process, for PATIENCE at most each: nothing else is to be done here."""
        fds = connection.take_fds("the session's listener", "the client's socket", "ours of the stub's pair")
        sockets = [socket.socket(fileno=fd) for fd in fds]
        _, client, stub = sockets
        try:
            if not (shadow := self.shadow) or not self.promoted:
                raise Unavailable("this shadow was not promoted")
            standing = shadow.standing()
            made = plan(standing, judged(standing.state, message), found_of(message), monotonic_ns())
            carry_out(steps(made), stub, made.state.spec.devid)
            made = replace(made, state=replace(made.state, gate=str(message.get("gate", ""))))
            deliver(made, bytes(shadow.tail), int(message.get("unsent", 0)), client, stub)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        connection.tell({"ok": True})
        raise Becomes(made.state, sockets)

    def stop(self, message: Message, connection: Connection) -> None:
        connection.tell({"ok": True})
        raise Ended(str(message.get("reason", "no reason given")))


def judged(state: SessionState, message: Message) -> Policy:
    """What the session's device is, in the settings that it has."""
    choice = str(message.get("choice", "auto"))
    if choice not in CHOICES:
        raise UsageError(f"choice {choice!r}: use one of {', '.join(CHOICES)}")
    selection = state.selection
    return policy(state.spec.descriptors, selection.configuration, dict(selection.alternates), choice)


def position(shadow: Shadow, broken: str, verdict: Policy) -> dict[str, Any]:
    """For who rebuilds the client's connection: the tail ends at `bytes_out`."""
    return {
        "spec": shadow.relay.spec.to_json(),
        "facts": shadow.facts,
        "bytes_in": shadow.consumed,
        "bytes_out": shadow.produced,
        "tail": len(shadow.tail),
        "broken": broken,
        "verdict": verdict.verdict.value,
        "reasons": list(verdict.reasons),
    }


def found_of(message: Message) -> Found:
    try:
        told: Mapping[str, Any] = message["found"]
        return Found(
            int(told["devid"]),
            str(told["busid"]),
            Speed(told["speed"]),
            b64decode(told["descriptors"], validate=True),
            str(told["serial"]),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise UsageError(f"resume needs the device as it was found here: {error!r}") from None


def deliver(made: Plan, tail: bytes, unsent: int, client: socket.socket, stub: socket.socket) -> None:
    """What each side gets before the relay goes on."""
    for sock, data, who in (
        (stub, made.to_stub, "the device"),
        (client, tail[len(tail) - min(unsent, len(tail)) :] + made.to_client, "the client"),
    ):
        sock.settimeout(PATIENCE)
        try:
            sock.sendall(data)
        except OSError as error:
            raise PeerError(f"{who} takes nothing: {error.strerror or error}") from None


def _terminate(*_: object) -> None:
    raise Ended("the shadow was told to stop")


def run(listener: socket.socket) -> None:
    """What the nursery forks."""
    ShadowProcess(listener).run()
