"""The pair as this appliance has it: who its sibling is, how it gets and loses one, and what they say.

What is said on the control link is `{"about": subject, "say": message}`; each part of the appliance has a
subject of its own (`hear`, `send`), and is told when the link is up or down.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from appliance.errors import ProtocolError, Refused, Unavailable, UsageError
from appliance.pair import enrolling
from appliance.pair.enrol import SECONDS, About, Code, Listener, digits_of
from appliance.pair.hello import Hello
from appliance.pair.link import Ears, Link
from appliance.pair.port import Port, listen
from appliance.pair.settings import PairTable
from appliance.pair.streams import Streams
from appliance.pair.wire import Pace
from appliance.security.identity import Identity
from appliance.security.sibling import Sibling, forget_sibling, keep_sibling, sibling_in

Json = dict[str, Any]
Up = Callable[[Hello], None]
Down = Callable[[str], None]
Heard = Callable[[Json], None]

NOBODY: Final = "this appliance has no sibling; 'twinhub pair' tells how it gets one"
DEAF: Final = (
    "this appliance listens for no sibling: set `listen` in [pair] of its configuration, and restart it"
)


@dataclass(slots=True)
class Part:
    """A part of the appliance that talks with its like on the other side."""

    on_message: Heard
    on_up: Up
    on_down: Down


def ignore(_: object) -> None:
    """What a part does with what it need not know."""


class Pair:
    def __init__(
        self,
        identity: Identity,
        table: PairTable,
        name: str,
        groups: Callable[[], list[Json]] = list,
        pace: Pace | None = None,
    ) -> None:
        """`groups`: each with its name, role, epoch, and whether it is in sync and protected."""
        self.identity, self.name = identity, name
        self.link: Link | None = None
        self.streams: Streams | None = None
        self._table, self._groups, self._pace = table, groups, pace
        self._code: Code | None = None
        self._parts: dict[str, Part] = {}
        self._serving: asyncio.Task[None] | None = None

    async def start(self, listeners: list[socket.socket] | None = None) -> None:
        """`listeners`: ready-made, else they are made as the configuration says. Unavailable."""
        if listeners is None:
            listeners = listen(self._table.listen, self._table.port)
        takers = {"link": self._take_link, "stream": self._take_stream, "enrol": self._take_enrol}
        if sibling := sibling_in(self.identity.directory):
            self._connect(sibling)
        if listeners:
            serving = Port(takers, self._table.allow).serve_on(listeners)
            self._serving = asyncio.create_task(serving, name="the pair port")

    async def close(self) -> None:
        if self._serving:
            self._serving.cancel()
            await asyncio.wait([self._serving])
            self._serving = None
        await self._disconnect()

    # What the parts say

    def hear(self, about: str, on_message: Heard, on_up: Up = ignore, on_down: Down = ignore) -> None:
        """From now on what the sibling says `about` this comes to `on_message`, in order."""
        self._parts[about] = Part(on_message, on_up, on_down)

    def send(self, about: str, message: Json) -> None:
        """Unavailable while there is no link."""
        if self.link is None:
            raise Unavailable(NOBODY)
        self.link.send({"about": about, "say": message})

    # How it gets and loses a sibling

    def show_code(self) -> Json:
        """A new code, which ends one that was shown before. Refused while there is a sibling."""
        if self._serving is None:
            raise Unavailable(DEAF)
        self._check_alone()
        self._code = Code(time.monotonic)
        return {"code": self._code.text, "seconds": SECONDS, "name": self.name, **self._where()}

    async def join(self, host: str, port: int | None, code: str) -> Json:
        """Pairs with the appliance at `host` that shows `code`; the status. Refused, PeerError."""
        if self._serving is None:
            raise Unavailable(DEAF)
        self._check_alone()
        port = port or self._table.port
        self._pin(await enrolling.join(host, port, digits_of(code), self._about()))
        return self.status()

    async def unpair(self) -> Json:
        """Forgets the sibling, which need not be there; its last description. UsageError if there is none."""
        if self.link is None:
            raise UsageError(NOBODY)
        gone = sibling_told(self.link.sibling)
        forget_sibling(self.identity.directory)
        await self._disconnect()
        return gone

    def status(self) -> Json:
        return {
            "node": self.identity.node,
            "name": self.name,
            **self._where(),
            "sibling": sibling_told(self.link.sibling) if self.link else None,
            "link": self.link.status() if self.link else None,
            "groups": self._groups(),
        }

    def _where(self) -> Json:
        return {"listen": list(self._table.listen), "port": self._table.port}

    def _about(self) -> About:
        return About(self.identity.certificate, self.name, self._table.port)

    def _check_alone(self) -> None:
        if self.link:
            raise Refused(
                f"{self.name} is paired with {self.link.sibling.name}; 'twinhub unpair' there first"
            )

    def _pin(self, sibling: Sibling) -> None:
        self._check_alone()
        keep_sibling(self.identity.directory, sibling)
        self._code = None
        self._connect(sibling)

    def _connect(self, sibling: Sibling) -> None:
        self.streams = Streams(sibling.host, sibling.port)
        ears = Ears(self._on_message, self._on_up, self._on_down)
        self.link = Link(self.identity, sibling, self.name, ears, self._pace)

    async def _disconnect(self) -> None:
        link, self.link, self.streams = self.link, None, None
        if link:
            await link.close()

    # What comes in

    async def _take_link(self, sock: socket.socket, argument: str) -> None:
        if self.link is None:
            sock.close()
            raise Unavailable(NOBODY)
        await self.link.take(sock, argument)

    async def _take_stream(self, sock: socket.socket, token: str) -> None:
        if self.streams is None:
            sock.close()
            raise Unavailable(NOBODY)
        await self.streams.take(sock, token)

    async def _take_enrol(self, sock: socket.socket, _: str) -> None:
        await enrolling.answer(sock, self._begin, self._pin)

    def _begin(self) -> Listener:
        self._check_alone()
        if self._code is None:
            raise Refused(f"{self.name} shows no code; run 'twinhub pair' there")
        return Listener(self._code, self._about())

    def _on_message(self, message: Json) -> None:
        match message:
            case {"about": str(about), "say": dict(said)}:
                if part := self._parts.get(about):  # a newer sibling may speak of more
                    part.on_message(said)
            case _:
                raise ProtocolError("the sibling does not say what it speaks about")

    def _on_up(self, theirs: Hello) -> None:
        self._learn_name(theirs.name)
        for part in self._parts.values():
            part.on_up(theirs)

    def _learn_name(self, name: str) -> None:
        assert self.link
        if name and name != self.link.sibling.name:
            self.link.sibling = replace(self.link.sibling, name=name)
            keep_sibling(self.identity.directory, self.link.sibling)

    def _on_down(self, reason: str) -> None:
        for part in self._parts.values():
            part.on_down(reason)


def sibling_told(sibling: Sibling) -> Json:
    return {"node": sibling.node, "name": sibling.name, "host": sibling.host, "port": sibling.port}
