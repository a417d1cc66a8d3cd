"""The control link: one connection kept between the two daemons of a pair, dialled by either.

Between `on_up` and `on_down` every message of the sibling arrives, in order. What was sent after the last one
that arrived is lost when the link goes down; who needs it says it again when it is up.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from typing import Any, Final

from appliance import __version__
from appliance.errors import ProtocolError, TwinhubError, Unavailable
from appliance.pair.hello import Candidate, Hello, agree, prefers
from appliance.pair.model import NodeId
from appliance.pair.port import PATIENCE, dial
from appliance.pair.wire import Pace, Wire, why
from appliance.security.identity import Identity
from appliance.security.sibling import Sibling
from appliance.security.tls import context_of
from appliance.sessions.control import Message

SOONEST, LATEST = 0.05, 2.0
"""Seconds between two attempts to dial: twice as many after each that failed."""
BOOT: Final = token_hex(8)


@dataclass(frozen=True, slots=True)
class Ears:
    """Who is told; each is called in the event loop and must not wait."""

    on_message: Callable[[Message], None]
    on_up: Callable[[Hello], None]
    on_down: Callable[[str], None]


class Link:
    def __init__(
        self,
        identity: Identity,
        sibling: Sibling,
        name: str,
        ears: Ears,
        pace: Pace | None = None,
        boot: str = BOOT,
    ) -> None:
        self.sibling = sibling
        self.problem: str | None = None
        """Why it is down, as far as is known."""
        self.since: float | None = None
        """When it came up, in seconds since the epoch."""
        self._identity, self._ears, self._pace = identity, ears, pace or Pace()
        self._ours = Hello(identity.node, name, boot, __version__)
        self._wires: set[Wire] = set()
        self._closed = False
        self._kept: Wire | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._dialling = asyncio.create_task(self._dial(), name="the pair's link")

    @property
    def is_up(self) -> bool:
        return self._kept is not None

    def send(self, message: Message) -> None:
        """Unavailable while the link is down."""
        if self._kept is None:
            raise Unavailable(f"there is no link to {self.sibling.name}: {self.problem or 'not yet'}")
        self._kept.send(message)

    async def take(self, sock: socket.socket, _: str) -> None:
        """A connection of the sibling, from the pair port. OSError if it is another's."""
        loop = asyncio.get_running_loop()
        try:
            context = context_of(self._identity.directory, server_side=True)
        except TwinhubError:
            sock.close()
            raise
        await loop.connect_accepted_socket(
            partial(self._wire, self.sibling.node), sock, ssl=context, ssl_handshake_timeout=PATIENCE
        )

    async def close(self) -> None:
        self._closed = True
        self._dialling.cancel()
        await asyncio.wait([self._dialling])
        for wire in (wires := list(self._wires)):
            wire.end("the link was closed")
        for wire in wires:
            await wire.gone.wait()

    def status(self) -> dict[str, Any]:
        theirs = self._kept.theirs if self._kept else None
        return {
            "up": self.is_up,
            "since": self.since,
            "problem": None if self.is_up else self.problem,
            "software": theirs.software if theirs else None,
        }

    # Dialling

    async def _dial(self) -> None:
        """Whenever there is no connection, until there is one. The greater node id leaves the first word to
        the smaller one, so that seldom both dial at the same time."""
        waits = self._ours.node > self.sibling.node
        pause = SOONEST
        while True:
            await self._free.wait()
            if waits:
                await asyncio.sleep(4 * pause)
            if not self.is_up:
                await self._try()
            if self.is_up:
                pause = SOONEST
                continue
            await asyncio.sleep(pause)
            pause = min(2 * pause, LATEST)

    async def _try(self) -> None:
        """Returns when the link is up, by whichever connection, or the attempt has failed."""
        loop = asyncio.get_running_loop()
        try:
            context = context_of(self._identity.directory, server_side=False)
            sock = await dial(self.sibling.host, self.sibling.port, "link")
            _, wire = await loop.create_connection(
                partial(self._wire, self._ours.node),
                sock=sock,
                ssl=context,
                server_hostname="",
                ssl_handshake_timeout=PATIENCE,
            )
        except TwinhubError as error:
            self.problem = str(error)
        except OSError as error:
            self.problem = why(error, greeted=False)
        else:
            await wire.settled.wait()

    # Its connections (`wire.Owner`)

    def _wire(self, dialler: NodeId) -> Wire:
        return Wire(self, self._ours, dialler, self._pace)

    def opened(self, wire: Wire) -> None:
        self._wires.add(wire)
        if self._closed:
            wire.end("the link was closed")

    def greeted(self, wire: Wire, theirs: Hello) -> None:
        if theirs.node != self.sibling.node:
            raise ProtocolError(f"the sibling calls itself {theirs.node}, its key {self.sibling.node}")
        agree(self._ours, theirs)
        if not prefers(Candidate(wire.dialler, theirs.boot), candidate(self._kept)):
            wire.end("there is a better connection")
            return
        if self._kept:
            self._kept.end("a newer connection took its place")
            self._down("the connection was made anew")
        self._kept, self.since, self.problem = wire, time.time(), None
        self._free.clear()
        self._ears.on_up(theirs)

    def heard(self, wire: Wire, message: Message) -> None:
        if wire is self._kept:
            self._ears.on_message(message)

    def lost(self, wire: Wire, reason: str) -> None:
        self._wires.discard(wire)
        if wire is self._kept:
            self._down(reason)
        elif self._kept is None:
            self.problem = reason

    def _down(self, reason: str) -> None:
        self._kept, self.since, self.problem = None, None, reason
        self._free.set()
        self._ears.on_down(reason)


def candidate(wire: Wire | None) -> Candidate | None:
    return Candidate(wire.dialler, wire.theirs.boot) if wire and wire.theirs else None
