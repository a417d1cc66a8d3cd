"""All software gadgets, for the daemon: a process each, started through the nursery, found again after a
restart, started anew when it dies. Their control sockets are `<runtime>/gadgets/<name>.sock`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from appliance import __version__
from appliance.errors import DeviceFailed, NotFound, PeerError, TwinhubError
from appliance.explain import did_you_mean
from appliance.sessions.control import Message
from appliance.sessions.link import GADGETS, GadgetLink
from appliance.sessions.manager import chunks, first_contact, listen
from appliance.sessions.nursery_client import Nursery

BUILDING: Final = 30.0
"""Seconds in which a gadget must have opened what it needs: its media, its ports."""
ANSWERING: Final = 20.0
"""Seconds in which it must have answered: a medium that is inserted may have to be made first."""
FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 60.0
"""Seconds until a gadget that died is started again; they double each time."""
STEADY: Final = 60.0
"""Seconds after which one that dies has not died of its start."""

BACKLOG: Final = 256
"""Of events that a follower has yet to take."""

log = logging.getLogger(__name__)

Json = dict[str, Any]


class Kept:
    """One gadget that there shall be."""

    def __init__(self, name: str, definition: Json) -> None:
        self.name, self.definition = name, definition
        self.link: GadgetLink | None = None
        self.portrait: Json = {}
        """as it was when it last ran"""
        self.error: TwinhubError | None = None
        """why it does not run, if it does not"""
        self.tried = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.follow = False
        """it begins as a copy of the sibling's"""


class Gadgets:
    """`on_change(name)` is called whenever a gadget begins to run or no longer does."""

    def __init__(self, runtime_dir: Path, nursery: Nursery, on_change: Callable[[str], None]) -> None:
        self.directory = runtime_dir / GADGETS
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.nursery = nursery
        self.on_change = on_change
        self._kept: dict[str, Kept] = {}

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._kept.values())

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def find(self, name: str) -> Kept:
        try:
            return self._kept[name]
        except KeyError:
            raise NotFound(f"no gadget {name!r}{did_you_mean(name, self._kept)}") from None

    async def adopt(self, wanted: Mapping[str, Json]) -> None:
        """What an earlier daemon left goes on where it is still wanted as it is; the rest is stopped."""
        for path in sorted(self.directory.glob("*.sock")):
            try:
                link = await GadgetLink.open(path)
            except (OSError, TwinhubError) as error:
                log.warning("gadget %s does not answer: %s", path.stem, error)
                path.unlink(missing_ok=True)
                continue
            name = path.stem
            if wanted.get(name) != link.about["definition"]:
                await link.stop("it is defined no longer, or otherwise")
            elif link.version != __version__ and not (await link.ask("stats"))["session"]:
                await link.stop("newer code is there, and nobody uses it")
            else:
                log.info("gadget %s goes on", name)
                self._keep(name, wanted[name], link)

    async def add(self, name: str, definition: Json) -> Kept:
        """There shall be this gadget. Returns when it runs, or has failed to for the first time."""
        kept = self._kept.get(name) or self._keep(name, definition)
        await kept.tried.wait()
        return kept

    async def remove(self, name: str, reason: str) -> None:
        kept = self.find(name)
        del self._kept[name]
        link = await self._let_go(kept)
        if link:
            await link.stop(reason)
            await link.close()

    async def ask(
        self, name: str, op: str, fds: tuple[int, ...] = (), patience: float = ANSWERING, **fields: Any
    ) -> Any:
        """Raises DeviceFailed while it does not run."""
        return await self.link(name).ask(op, fds, patience, **fields)

    @asynccontextmanager
    async def events(self, name: str) -> AsyncIterator[AsyncIterator[Message]]:
        """What it tells from now on, until it ends; "lost" says how much a reader was too slow for."""
        link = await Follower.open(self.link(name).path)
        try:
            await link.ask("events")
            yield link.each()
        finally:
            await link.close()

    @asynccontextmanager
    async def record(self, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """A recording (`gadgets.replay`) from now on, in chunks, until `record_end` is asked or it ends."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            with theirs:
                await self.ask(name, "record", (theirs.fileno(),))
            yield chunks(ours)

    async def close(self, leave: bool) -> None:
        """The daemon ends. `leave`: the gadgets go on and wait for the next one; else they end."""
        links = [link for kept in list(self) if (link := await self._let_go(kept))]
        if not leave:
            await asyncio.gather(*(link.stop("the daemon stops") for link in links))
        for link in links:
            await link.close()
        self._kept.clear()

    async def restart(self, name: str, follow: bool) -> GadgetLink:
        """Kills its process, whose sessions end without a word, and starts it anew; `follow`: as a copy.

        Raises what it fails of.
        """
        kept = self.find(name)
        kept.follow = follow
        if link := await self._let_go(kept):
            with suppress(ProcessLookupError):
                os.kill(link.pid, signal.SIGKILL)
            await link.over()
        kept.link = None
        kept.tried.clear()
        kept.task = asyncio.create_task(self._run(kept, None), name=f"gadget {name}")
        await kept.tried.wait()
        return self.link(name)

    def link(self, name: str) -> GadgetLink:
        """Raises DeviceFailed while it does not run."""
        kept = self.find(name)
        if kept.link is None:
            raise DeviceFailed(f"gadget {name} does not run: {kept.error or 'it is being started'}")
        return kept.link

    def _keep(self, name: str, definition: Json, link: GadgetLink | None = None) -> Kept:
        kept = self._kept[name] = Kept(name, definition)
        kept.task = asyncio.create_task(self._run(kept, link), name=f"gadget {name}")
        return kept

    async def _let_go(self, kept: Kept) -> GadgetLink | None:
        """Nobody looks after it any more; the link that is left of it."""
        assert kept.task
        kept.task.cancel()
        await asyncio.wait((kept.task,))
        return kept.link

    async def _run(self, kept: Kept, link: GadgetLink | None) -> None:
        """Until cancelled: runs, and runs again."""
        delay = FIRST_DELAY
        while True:
            began = time.monotonic()
            try:
                kept.link = link or await self._start(kept)
                kept.link.plugged = kept.link.about["plugged"]
                kept.portrait, kept.error, link = kept.link.about["portrait"], None, None
                self._tried(kept)
                await kept.link.over()
                kept.error = DeviceFailed(kept.link.reason)
                kept.link.path.unlink(missing_ok=True)
            except TwinhubError as error:
                kept.error = error
            kept.link = None
            delay = FIRST_DELAY if time.monotonic() > began + STEADY else delay
            log.error("gadget %s: %s; it is started again in %g s", kept.name, kept.error, delay)
            self._tried(kept)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    def _tried(self, kept: Kept) -> None:
        kept.tried.set()
        self.on_change(kept.name)

    async def _start(self, kept: Kept) -> GadgetLink:
        path = self.directory / f"{kept.name}.sock"
        path.unlink(missing_ok=True)
        try:
            with listen(path) as listener:
                what = {"name": kept.name, "definition": kept.definition, "follow": kept.follow}
                pid = await self.nursery.start("gadget", what, (listener,))
            try:
                return await first_contact(GadgetLink, path, pid, BUILDING)
            except PeerError:
                raise DeviceFailed("its process failed at the start; the log says why") from None
        except BaseException:
            path.unlink(missing_ok=True)
            raise


class Follower(GadgetLink):
    """A connection that hears what the gadget tells; the last of `each` is its end, and why."""

    def __init__(self, path: Path, sock: socket.socket) -> None:
        super().__init__(path, sock)
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.lost = 0

    def hear(self, event: Message) -> None:
        if event["event"] == "lost":
            self.lost += event["count"]
        elif event["event"] == "told" and self.heard.qsize() >= BACKLOG:
            self.lost += 1
        elif event["event"] == "told":
            self.heard.put_nowait(event)
        else:
            super().hear(event)

    async def each(self) -> AsyncIterator[Message]:
        self.when_over(lambda link: self.heard.put_nowait({"event": "end", "reason": link.reason}))
        event: Message = {"event": "told"}
        while event["event"] != "end":
            event = await self.heard.get()
            yield event
            if self.lost and self.heard.empty():
                lost, self.lost = self.lost, 0
                yield {"event": "lost", "count": lost}
