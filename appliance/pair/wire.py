"""One connection between the two daemons: messages in order, and beats that tell when it is dead.

A line is one JSON object with one key: `hello`, once and first; `beat`, a number that rises by one; or
`message`. Who has heard nothing in so many beats of its own hangs up: beats are counted and no clock is read,
so that a process which was paused does not blame its sibling for it. One that dies closes its socket: that
shows at once.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Final, Protocol, cast

from appliance.errors import ProtocolError
from appliance.pair.hello import Hello, parse_hello
from appliance.pair.model import NodeId
from appliance.sessions.control import Lines, Message, encode

MOST_UNSENT: Final = 4 << 20
"""Bytes that a sibling may leave unread."""
DISTRUST: Final = (
    "the two do not trust each other's keys: one of them was unpaired or replaced; 'twinhub unpair' on both,"
    " then pair them again"
)


@dataclass(frozen=True, slots=True)
class Pace:
    """`beat`: seconds between two; after `lost` of them without a word the connection is dead."""

    beat: float = 0.1
    lost: int = 10


class Owner(Protocol):
    """Whose connection it is. A ProtocolError that it raises ends the connection."""

    def opened(self, wire: Wire) -> None: ...

    def greeted(self, wire: Wire, theirs: Hello) -> None: ...

    def heard(self, wire: Wire, message: Message) -> None: ...

    def lost(self, wire: Wire, reason: str) -> None:
        """Once and last."""


class Wire(asyncio.Protocol):
    def __init__(self, owner: Owner, ours: Hello, dialler: NodeId, pace: Pace) -> None:
        self.dialler = dialler
        self.theirs: Hello | None = None
        self.settled, self.gone = asyncio.Event(), asyncio.Event()
        """both have said hello, or it is lost; it is lost"""
        self._owner, self._ours, self._pace = owner, ours, pace
        self._loop = asyncio.get_running_loop()
        self._lines = Lines()
        self._sent = self._heard = self._silence = 0
        self._reason: str | None = None

    def send(self, message: Message) -> None:
        """Nothing happens on one that is ending."""
        self._write({"message": message})

    def end(self, reason: str) -> None:
        """At once; `Owner.lost` is told soon."""
        self._reason = self._reason or reason
        self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._write({"hello": self._ours.to_json()})
        self._timer = self._loop.call_later(self._pace.beat, self._beat)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        self._silence = 0
        try:
            for line in self._lines.feed(data):
                if self._reason is None:
                    self._take(line)
        except ProtocolError as error:
            self.end(str(error))

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        self.settled.set()
        self.gone.set()
        self._owner.lost(self, self._reason or why(error, self.theirs is not None))

    # What is said

    def _take(self, line: Message) -> None:
        match line:
            case {"hello": said} if self.theirs is None:
                self.theirs = parse_hello(said)
                self._owner.greeted(self, self.theirs)
                self.settled.set()
            case {"beat": int(number)} if self.theirs and number == self._heard + 1:
                self._heard = number
            case {"message": dict(message)} if self.theirs:
                self._owner.heard(self, message)
            case _:
                raise ProtocolError(f"the sibling said {sorted(line)[:3]}, which has no sense here")

    def _beat(self) -> None:
        if self._silence >= self._pace.lost:
            self.end(f"the sibling has been silent for {self._pace.beat * self._pace.lost:g} s")
            return
        self._silence += 1
        self._sent += 1
        self._write({"beat": self._sent})
        self._timer = self._loop.call_later(self._pace.beat, self._beat)

    def _write(self, line: Message) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(encode(line))
        if self._transport.get_write_buffer_size() > MOST_UNSENT:
            self.end("the sibling does not read")


def why(error: Exception | None, greeted: bool) -> str:
    """How a connection was lost, or could not be made, in words."""
    hung_up = error is None or isinstance(error, ConnectionError)
    if isinstance(error, ssl.SSLCertVerificationError) or (hung_up and not greeted):
        return DISTRUST  # who refuses us just hangs up where it should say hello
    return str(error) if error and str(error) else "the sibling closed the connection"
