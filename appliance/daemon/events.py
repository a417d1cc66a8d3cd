"""What happens, told to whoever listens: each listener has a bounded queue, and one too slow is cut off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

Event = dict[str, Any]

BACKLOG: Final = 256


class Events:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._queues: set[asyncio.Queue[Event | None]] = set()

    def tell(self, kind: str, **about: Any) -> None:
        event = {"event": kind, "time": self._clock(), **about}
        for queue in list(self._queues):
            if queue.qsize() < BACKLOG:
                queue.put_nowait(event)
            else:
                self._queues.discard(queue)
                queue.put_nowait(None)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[Event]]:
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield _each(queue)
        finally:
            self._queues.discard(queue)


async def _each(queue: asyncio.Queue[Event | None]) -> AsyncIterator[Event]:
    while (event := await queue.get()) is not None:
        yield event
