"""A group's shared hub: what its node wants done, said to the sessions on the devices behind it, and to the
shadows that a backup has of the sibling's sessions.

The way of a feed: the backup says that it is ready; the master names its sessions, also those that begin
later; for each the backup offers a stream, which the master dials. The devices themselves come with the hub.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from appliance.errors import DeviceFailed, TwinhubError
from appliance.pair import messages as m
from appliance.pair.gadget_exports import Gateway, Orphan, rebuilt, refused
from appliance.pair.streams import Streams, hand_over
from appliance.pair.timeline import Timeline
from appliance.sessions.manager import Sessions
from appliance.sessions.shadow.plan import Found
from appliance.sessions.shadows import Shadows
from appliance.sessions.state import SessionSpec

log = logging.getLogger(__name__)

Json = dict[str, Any]

PROTECTING: Final = 30.0
DEVICE_SECONDS: Final = 15.0
"""In which the hub's devices must have come to this appliance."""
POLL_SECONDS: Final = 0.02


class DeviceExports:
    """`mine(spec)`: whether a session is on a device behind the hub. `find(export)`: the device that is
    here under this name, ready for a session; None as long as it is not."""

    def __init__(
        self,
        sessions: Sessions,
        shadows_at: Path,
        gateway: Gateway,
        streams: Streams,
        keys: Path,
        choice: str,
        mine: Callable[[SessionSpec], bool],
        find: Callable[[str], Found | None],
        tell: Callable[[m.Input], None],
        say: Callable[[Json], None],
        timed: Callable[[Timeline], None],
    ) -> None:
        self.sessions, self.gateway, self.streams, self.keys = sessions, gateway, streams, str(keys)
        self.choice, self.mine, self.find = choice, mine, find
        self.tell, self.say, self.timed = tell, say, timed
        self.shadows = Shadows(shadows_at, sessions, self._shadow_told)
        self._epoch = self._feed = 0
        self._leads = self._protects = False
        self._until: int | None = None
        """The end of the lease by which sessions are alone, if they are"""
        self._wanted: set[str] = set()
        """Sessions that the sibling shall have shadows of"""
        self._level: set[str] = set()
        """Those that it has all of"""
        self._works: set[asyncio.Task[None]] = set()

    def _sessions(self) -> list[SessionSpec]:
        return [spec for spec in self.sessions.all() if spec.kind == "relayed" and self.mine(spec)]

    # What the node wants

    async def protect(self) -> None:
        self._protects, self._until = True, None
        await self._all("protect", self._level, PROTECTING)

    async def sole(self, until: int) -> None:
        self._protects, self._until = False, until
        await self._all("sole", until=until)

    async def stop(self) -> None:
        self._until = None
        await self._all("hold")

    async def freeze(self) -> None:
        await self._all("freeze")

    async def thaw(self) -> None:
        await self._all("thaw")

    async def feed(self, epoch: int, feed: int) -> None:
        """It begins when the sibling is ready."""
        self._begin(epoch, feed, leads=True)

    async def follow(self, epoch: int, feed: int) -> None:
        self._begin(epoch, feed, leads=False)
        await self.gateway.close()
        await self._drop_shadows("another feed begins")
        self.say({"ready": feed})

    async def promote(self, epoch: int) -> None:
        """Clients are answered when this returns."""
        timeline = Timeline("takeover", epoch)
        self._until = None
        self._begin(epoch, 0, leads=True)
        orphans = [each for each in [await self._promote_one(id, epoch) for id in [*self.shadows]] if each]
        timeline.reached("executed")
        found = await asyncio.gather(*(self._device_of(orphan) for orphan in orphans))
        timeline.reached("devices")
        connections = await rebuilt(self.gateway, orphans)
        timeline.reached("rebuilt")
        whole = zip(orphans, found, connections, strict=True)
        await asyncio.gather(*(self._go_on(*each, timeline) for each in whole))
        timeline.reached("resumed")
        await self.gateway.open()
        timeline.reached("answering")
        self.timed(timeline)

    async def demote(self) -> None:
        """Sessions die without a farewell to their clients."""
        self._begin(self._epoch, 0, leads=False)
        try:
            await self.gateway.close()
        finally:  # without a gate nothing leaves the address
            for spec in self._sessions():
                with suppress(TwinhubError, ProcessLookupError):
                    os.kill(self.sessions.link(spec.id).pid, signal.SIGKILL)

    # The streams

    async def progress(self) -> object:
        return sorted(self._wanted), sorted(self._level)

    def began(self, spec: SessionSpec) -> None:
        """A new session, on whatever device. It is held until it is alone by a lease, or has its shadow."""
        if not self._leads or spec.kind != "relayed" or not self.mine(spec):
            return
        if self._feed:
            self._want(spec.id)
        if self._until is not None:
            self._spawn(self._all("sole", [spec.id], until=self._until))

    def heard(self, said: Json) -> None:
        """From the sibling's."""
        match said:
            case {"ready": feed} if feed == self._feed and self._leads:
                for spec in self._sessions():
                    self._want(spec.id)
                self._look()
            case {"shadow": str(session), "feed": feed} if feed == self._feed and not self._leads:
                token = self.streams.offer(session, partial(self._taken, session))
                self.say({"token": token, "session": session, "feed": feed})
            case {"token": str(token), "session": str(session), "feed": feed} if feed == self._feed:
                self._spawn(self._replicate(session, token))
            case {"level": feed} if feed == self._feed and not self._leads:
                self.tell(m.CaughtUp(self._feed))

    def _begin(self, epoch: int, feed: int, *, leads: bool) -> None:
        self._epoch, self._feed, self._leads, self._protects = epoch, feed, leads, False
        self._wanted.clear()
        self._level.clear()
        for task in self._works:
            task.cancel()

    def _want(self, session: str) -> None:
        self._wanted.add(session)
        self.say({"shadow": session, "feed": self._feed})

    async def _replicate(self, session: str, token: str) -> None:
        feed = self._feed
        try:
            link = self.sessions.link(session)
            link.on_twin = partial(self._session_told, session)
            link.when_over(lambda _: self._ended(session))
            sock = await self.streams.dial(token)
            await hand_over(link, "replicate", sock, epoch=self._epoch, keys=self.keys)
        except TwinhubError as error:
            self._lost(session, feed, str(error))

    def _taken(self, session: str, sock: socket.socket) -> None:
        self._spawn(self._follow(session, sock))

    async def _follow(self, session: str, sock: socket.socket) -> None:
        feed = self._feed
        with sock:
            try:
                await self.shadows.follow(session, sock, self._epoch, self.keys)
            except TwinhubError as error:
                log.warning("no shadow of session %s: %s", session, error)
                self.tell(m.StreamsLost(feed))

    def _session_told(self, session: str, state: str, reason: str) -> None:
        if state == "caught_up":
            self._level.add(session)
            if self._protects:
                self._spawn(self._protect_one(session))
            self._look()
        elif state == "lost":
            self._lost(session, self._feed, reason)

    def _shadow_told(self, session: str, state: str, reason: str) -> None:
        if state == "lost" and self._feed:
            log.warning("the shadow of session %s: %s", session, reason)

    def _ended(self, session: str) -> None:
        self._wanted.discard(session)
        self._level.discard(session)
        self._look()

    def _look(self) -> None:
        """The sibling has all of all."""
        if self._feed and self._leads and self._wanted <= self._level:
            with suppress(TwinhubError):  # without a link there is no feed for long
                self.say({"level": self._feed})
            self.tell(m.CaughtUp(self._feed))

    def _lost(self, session: str, feed: int, reason: str) -> None:
        """One that has just ended is nobody's loss."""
        running = session in (spec.id for spec in self.sessions.all())
        if feed and feed == self._feed and running and session in self._wanted:
            log.warning("the shadow of session %s on the sibling: %s", session, reason)
            self.tell(m.StreamsLost(feed))

    async def _protect_one(self, session: str) -> None:
        with suppress(TwinhubError):  # its stream is lost then, which is told
            await self.sessions.link(session).ask("protect", patience=PROTECTING)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    # Takeover

    async def _promote_one(self, session: str, epoch: int) -> Orphan | None:
        try:
            told, tail = await self.shadows.promote(session, epoch, self.choice)
        except TwinhubError as error:
            log.error("session %s cannot be taken over: %s", session, error)
            return None
        spec = SessionSpec.from_json(told["spec"])
        return Orphan(spec.name, spec, told["facts"], told["bytes_in"], told["bytes_out"], tail)

    async def _device_of(self, orphan: Orphan) -> Found | None:
        """Its device, as soon as it is here and bound; None: it does not come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DEVICE_SECONDS):
                while not (found := self.find(orphan.spec.name)):  # noqa: ASYNC110 - many things bring it
                    await asyncio.sleep(POLL_SECONDS)
                return found
        return None

    async def _go_on(
        self,
        orphan: Orphan,
        found: Found | None,
        connection: socket.socket | TwinhubError,
        timeline: Timeline,
    ) -> None:
        session, name = orphan.spec.id, orphan.spec.name
        try:
            if isinstance(connection, TwinhubError):
                raise connection
            if found is None:
                connection.close()
                raise DeviceFailed(f"{name} did not come to this appliance in {DEVICE_SECONDS:g} s")
            await self.shadows.resume(session, connection, found, 0, self.gateway.gate, self.choice)
        except TwinhubError as error:
            log.error("session %s of %s ends: %s", session, name, error)
            timeline.lost.append(f"{name}: {error}")
            await refused(self.gateway, orphan)
            with suppress(TwinhubError):
                await self.shadows.drop(session, str(error))
        else:
            timeline.kept.append(name)

    async def _drop_shadows(self, reason: str) -> None:
        for session in [*self.shadows]:
            with suppress(TwinhubError):
                await self.shadows.drop(session, reason)

    async def _all(
        self, op: str, ids: Sequence[str] | set[str] | None = None, patience: float = 5.0, **fields: Any
    ) -> None:
        """To those sessions, by default all on the hub's devices; one that has ended has nothing to do."""
        wanted = [spec.id for spec in self._sessions()] if ids is None else [*ids]
        asked: list[Awaitable[Any]] = []
        for id in wanted:
            with suppress(TwinhubError):
                asked.append(self.sessions.link(id).ask(op, patience=patience, **fields))
        for done in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(done, Exception) and not isinstance(done, TwinhubError):
                raise done

    async def close(self) -> None:
        for task in (tasks := [*self._works]):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.shadows.close(leave=True)
