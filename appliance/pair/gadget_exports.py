"""A group's gadgets: what its node wants done, said to their processes (sessions/replication/twin.py).

A backup's processes are copies, started as such. The way of a feed: the backup offers a stream for each
gadget, the master dials them and passes each to the gadget's process; those speak TLS with each other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from appliance.errors import PeerError, TwinhubError
from appliance.pair import messages as m
from appliance.pair.streams import Streams, hand_over
from appliance.pair.timeline import Timeline
from appliance.sessions.control import Message
from appliance.sessions.gadgets import ANSWERING, Gadgets
from appliance.sessions.manager import Sessions
from appliance.sessions.state import SessionSpec

log = logging.getLogger(__name__)

PROTECTING: Final = 30.0
"""Seconds in which the sibling must have acknowledged what clients have already."""
MOST_TAIL: Final = 32 << 20
CAUGHT_UP: Final = ("caught_up", "in_sync")
"""What a master's process says, and a copy's, when both are the same."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A session whose client has yet to be found again: its connection, and where both streams stand."""

    gadget: str
    spec: SessionSpec
    facts: Mapping[str, Any]
    bytes_in: int
    bytes_out: int
    tail: bytes


class Gateway(Protocol):
    """The group's address, and the connections of its clients."""

    gate: Path
    """its socket"""

    async def close(self) -> None:
        """What clients say is held from now on, and nobody is told that nobody is there."""

    async def open(self) -> None: ...

    async def rebuild(self, orphans: Sequence[Orphan]) -> list[socket.socket | TwinhubError]: ...

    async def refuse(self, orphan: Orphan) -> None:
        """This client learns at once that its session is over."""


async def rebuilt(gateway: Gateway, orphans: Sequence[Orphan]) -> Sequence[socket.socket | TwinhubError]:
    """For each its connection, or why there is none; where none can be had, that is why."""
    try:
        return await gateway.rebuild(orphans)
    except TwinhubError as error:
        return [error] * len(orphans)


async def refused(gateway: Gateway, orphan: Orphan) -> None:
    """As far as that can be done: the other sessions go on whatever becomes of this one."""
    try:
        await gateway.refuse(orphan)
    except TwinhubError as error:
        log.warning("the client of session %s is not told: %s", orphan.spec.id, error)


class GadgetExports:
    """`tell`: to the group's runner. `say`: to the sibling's, which hears it by `heard`."""

    def __init__(
        self,
        names: Sequence[str],
        gadgets: Gadgets,
        sessions: Sessions,
        gateway: Gateway,
        streams: Streams,
        keys: Path,
        tell: Callable[[m.Input], None],
        say: Callable[[dict[str, Any]], None],
        timed: Callable[[Timeline], None],
    ) -> None:
        self.names, self.gadgets, self.sessions, self.gateway = tuple(names), gadgets, sessions, gateway
        self.streams, self.keys, self.tell, self.say, self.timed = streams, keys, tell, say, timed
        self._epoch = self._feed = 0
        self._is_offered = False
        """This feed waits for the sibling's offer"""
        self._caught_up: set[str] = set()
        self._copying: set[asyncio.Task[None]] = set()

    # What the node wants

    async def protect(self) -> None:
        await self._all("protect", PROTECTING)

    async def sole(self, until: int) -> None:
        await self._all("sole", until=until)

    async def stop(self) -> None:
        await self._all("hold")

    async def freeze(self) -> None:
        await self._all("freeze")

    async def thaw(self) -> None:
        await self._all("thaw")

    async def feed(self, epoch: int, feed: int) -> None:
        """The sibling's offer begins it."""
        self._begin(epoch, feed)
        self._is_offered = True

    async def follow(self, epoch: int, feed: int) -> None:
        self._begin(epoch, feed)
        await self.gateway.close()
        await self._restart()
        take = partial(self._taken, epoch, feed)
        tokens = {name: self.streams.offer(name, partial(take, name)) for name in self.names}
        self.say({"offer": feed, "tokens": tokens})

    async def promote(self, epoch: int) -> None:
        """Clients are answered when this returns."""
        timeline = Timeline("takeover", epoch)
        self._begin(epoch, 0)
        found = await asyncio.gather(*(self._promote_one(name, epoch) for name in self.names))
        orphans = [orphan for one in found for orphan in one]
        timeline.reached("executed")
        connections = await rebuilt(self.gateway, orphans)
        timeline.reached("rebuilt")
        work = (self._go_on(*each, timeline) for each in zip(orphans, connections, strict=True))
        await asyncio.gather(*work)
        timeline.reached("resumed")
        await self.gateway.open()
        timeline.reached("answering")
        self.timed(timeline)

    async def demote(self) -> None:
        """Their processes die without a farewell to the clients; copies take their places.

        They die without a gate, too: nothing leaves the address then.
        """
        self._begin(self._epoch, 0)
        try:
            await self.gateway.close()
        finally:
            await self._restart()

    # The streams

    async def progress(self) -> object:
        """How far the copies are; what clients do does not count."""
        told = (self.gadgets.ask(name, "stats") for name in self.names)
        done = await asyncio.gather(*told, return_exceptions=True)
        twins = [each.get("twin") or {} if isinstance(each, dict) else {} for each in done]
        return self._is_offered, [(twin.get("state"), twin.get("pieces")) for twin in twins]

    def began(self, spec: SessionSpec) -> None:
        """A gadget's session is in its log by itself."""

    def heard(self, said: dict[str, Any]) -> None:
        """From the sibling, which follows. A feed begins once."""
        match said:
            case {"offer": feed, "tokens": dict(tokens)} if self._is_offered and feed == self._feed:
                self._is_offered = False
                self._spawn(self._copy(self._epoch, self._feed, tokens))

    def _begin(self, epoch: int, feed: int) -> None:
        self._epoch, self._feed, self._is_offered = epoch, feed, False
        self._caught_up.clear()
        for task in self._copying:
            task.cancel()

    async def _copy(self, epoch: int, feed: int, tokens: Mapping[str, object]) -> None:
        try:
            for name in self.names:
                token = tokens.get(name)
                if not isinstance(token, str):
                    raise PeerError(f"the sibling has no gadget {name}; its configuration is another")
                sock = await self.streams.dial(token)
                await self._hand(name, "replicate", sock, epoch, feed)
        except TwinhubError as error:
            self._lost(feed, str(error))

    def _taken(self, epoch: int, feed: int, name: str, sock: socket.socket) -> None:
        self._spawn(self._follow_one(epoch, feed, name, sock))

    async def _follow_one(self, epoch: int, feed: int, name: str, sock: socket.socket) -> None:
        try:
            await self._hand(name, "follow", sock, epoch, feed)
        except TwinhubError as error:
            self._lost(feed, str(error))

    async def _hand(self, name: str, op: str, sock: socket.socket, epoch: int, feed: int) -> None:
        with sock:
            link = self.gadgets.link(name)
            link.on_twin = partial(self._heard, feed, name)
            link.when_over(lambda over: self._lost(feed, f"{name}: {over.reason}"))
            await hand_over(link, op, sock, epoch=epoch, keys=str(self.keys))

    def _heard(self, feed: int, name: str, state: str, reason: str) -> None:
        if feed != self._feed:
            return
        if state == "lost":
            self._lost(feed, f"{name}: {reason}")
        elif state in CAUGHT_UP:
            self._caught_up.add(name)
            if self._caught_up >= set(self.names):
                self.tell(m.CaughtUp(feed))

    def _lost(self, feed: int, reason: str) -> None:
        if feed == self._feed:
            log.warning("the copy on the sibling: %s", reason)
            self.tell(m.StreamsLost(feed))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._copying.add(task)
        task.add_done_callback(self._copying.discard)

    # Takeover

    async def _promote_one(self, name: str, epoch: int) -> list[Orphan]:
        file = os.memfd_create("tail")
        try:
            told: Message = await self.gadgets.ask(name, "promote", (file,), epoch=epoch)
            return [orphan_of(name, each, file) for each in told["sessions"]]
        except TwinhubError as error:
            log.error("gadget %s cannot be taken over: %s", name, error)
            return []
        finally:
            os.close(file)

    async def _go_on(
        self, orphan: Orphan, connection: socket.socket | TwinhubError, timeline: Timeline
    ) -> None:
        try:
            if isinstance(connection, TwinhubError):
                raise connection
            ask = partial(self.gadgets.ask, orphan.gadget)
            await self.sessions.resume(orphan.spec, connection, self.gateway.gate, ask)
        except TwinhubError as error:
            log.error("session %s of %s ends: %s", orphan.spec.id, orphan.gadget, error)
            timeline.lost.append(f"{orphan.spec.name}: {error}")
            with suppress(
                TwinhubError
            ):  # its process has died, or an earlier one of its kind has been dropped
                await self.gadgets.ask(orphan.gadget, "drop")
            await refused(self.gateway, orphan)
        else:
            timeline.kept.append(orphan.spec.name)

    async def _all(self, op: str, patience: float = ANSWERING, **fields: Any) -> None:
        """All are asked, whatever becomes of one; then the first error is raised."""
        asked = (self.gadgets.ask(name, op, patience=patience, **fields) for name in self.names)
        for done in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done

    async def _restart(self) -> None:
        await asyncio.gather(*(self.gadgets.restart(name, follow=True) for name in self.names))

    async def close(self) -> None:
        for task in (tasks := list(self._copying)):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def orphan_of(name: str, told: Mapping[str, Any], file: int) -> Orphan:
    size = min(int(told["tail"]), MOST_TAIL)
    spec = replace(SessionSpec.from_json(told["spec"]), gadget=name)
    return Orphan(name, spec, told["facts"], told["bytes_in"], told["bytes_out"], os.pread(file, size, 0))
