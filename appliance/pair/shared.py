"""How the two appliances come to remember the same (`appliance.exports.store`).

Each says what it has, when the link comes up and after every change: `{"have": …}`. Who lacks some of it
asks, `{"want": what I have}`, and gets a batch, `{"entries": […], "more": bool, "have": …}`; while there is
more, it asks again. What was missed in a cut of the link is so made up by the next word.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from appliance.errors import ProtocolError, TwinhubError, Unavailable
from appliance.exports.entries import Entry, Have, parse_entries, parse_have
from appliance.pair.pairing import Pair

log = logging.getLogger(__name__)

Json = dict[str, Any]
SUBJECT: Final = "shared"


class Book(Protocol):
    """What is remembered; `appliance.exports.store.Store` is one."""

    def have(self) -> Have: ...

    def since(self, theirs: Mapping[str, int]) -> tuple[list[Entry], bool]: ...

    def merge(self, theirs: Sequence[Entry], have: Mapping[str, int]) -> set[str]: ...


class Shared:
    """One side of it, sans-IO but for its book. Each method's value is what to tell the other side."""

    def __init__(self, book: Book, changed: Callable[[set[str]], None]) -> None:
        """`changed`: kinds of which the other side has changed something here."""
        self._book, self._changed = book, changed
        self._asking = False

    def up(self) -> Json:
        self._asking = False
        return self.news()

    def news(self) -> Json:
        return {"have": self._book.have()}

    def hear(self, said: Json) -> Json | None:
        """ProtocolError for what makes no sense."""
        match said:
            case {"entries": given, "more": bool(more), "have": have}:
                return self._take(parse_entries(given), more, parse_have(have))
            case {"want": theirs}:
                batch, is_all = self._book.since(parse_have(theirs))
                return {"entries": batch, "more": not is_all, "have": self._book.have() if is_all else {}}
            case {"have": theirs}:
                return self._ask() if not self._asking and self._lacks(parse_have(theirs)) else None
        raise ProtocolError("the sibling's word about what is shared makes no sense")

    def _take(self, batch: list[Entry], more: bool, have: Have) -> Json | None:
        self._asking = False
        if changed := self._book.merge(batch, have):
            self._changed(changed)
        return self._ask() if more and batch else None

    def _ask(self) -> Json:
        self._asking = True
        return {"want": self._book.have()}

    def _lacks(self, theirs: Have) -> bool:
        ours = self._book.have()
        return any(counter > ours.get(replica, 0) for replica, counter in theirs.items())


class Sharing:
    """Its shell: over the pair's link, with the book read and written in a thread, since the disk is slow."""

    def __init__(self, pair: Pair, book: Book, changed: Callable[[set[str]], Awaitable[None]]) -> None:
        """`changed` is awaited with the kinds that the sibling has changed, before it is asked for more."""
        self._pair, self._changed, self._loop = pair, changed, asyncio.get_running_loop()
        self._kinds: set[str] = set()
        self._shared = Shared(book, self._kinds.update)
        self._work: asyncio.Queue[Callable[[], Json | None]] = asyncio.Queue()
        self._told = True
        pair.hear(SUBJECT, self._heard, lambda _: self._work.put_nowait(self._shared.up))
        if pair.link and pair.link.is_up:
            self._work.put_nowait(self._shared.up)
        self._task = asyncio.create_task(self._run(), name="what is shared")

    def changed_here(self) -> None:
        """For `Store.watch`: from any thread."""
        with suppress(RuntimeError):  # the daemon's loop has ended: nobody is there to be told
            self._loop.call_soon_threadsafe(self._tell)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    def _tell(self) -> None:
        if self._told:
            self._told = False
            self._work.put_nowait(self._news)

    def _news(self) -> Json:
        self._told = True
        return self._shared.news()

    def _heard(self, said: Json) -> None:
        self._work.put_nowait(lambda: self._shared.hear(said))

    async def _run(self) -> None:
        while True:
            step = await self._work.get()
            try:
                answer = await asyncio.to_thread(step)
                if self._kinds:
                    kinds = set(self._kinds)
                    self._kinds.clear()
                    await self._changed(kinds)
            except TwinhubError as error:
                log.error("what both appliances remember may differ: %s", error)
                continue
            if answer is not None:
                with suppress(Unavailable):  # the next time the link is up begins anew
                    self._pair.send(SUBJECT, answer)
