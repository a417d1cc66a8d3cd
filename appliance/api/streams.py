"""Answers that go on for as long as something happens: events as NDJSON, a capture as pcapng."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, TypeVar

from aiohttp import web

from appliance.api.facade import Json
from appliance.errors import TwinhubError, Unavailable, describe

HEARTBEAT_SECONDS: Final = 15.0
"""After so long without a word a stream shows, and sees, that the other side is still there."""
HEARTBEAT_LINE: Final = b'{"event": "heartbeat"}\n'
MAX_STREAMS: Final = 32

Item = TypeVar("Item")


class Streams:
    """The streams of one application: at most MAX_STREAMS, and ended when the application ends."""

    def __init__(self, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._heartbeat_seconds = heartbeat_seconds
        self._running: set[asyncio.Task[None]] = set()

    async def send(
        self, request: web.Request, content_type: str, chunks: AsyncIterator[bytes], pause: bytes = b""
    ) -> web.StreamResponse:
        """Answers with `chunks` until they end, and with `pause` whenever there was none for long.

        A TwinhubError half-way can no longer become a status: the connection breaks off before the end
        of the chunked body, which HTTP clients notice.
        """
        task = asyncio.current_task()
        assert task
        if len(self._running) >= MAX_STREAMS:
            raise Unavailable(f"{MAX_STREAMS} streams are open already; end one of them")
        response = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-store"})
        self._running.add(task)
        try:
            await response.prepare(request)
            async with aclosing(with_pauses(chunks, self._heartbeat_seconds)) as items:
                async for item in items:
                    if item or pause:
                        await response.write(item or pause)
                    elif hung_up(request):
                        break
        except ConnectionResetError:
            pass
        except TwinhubError:
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._running.discard(task)
        return response

    async def close(self) -> None:
        """Breaks off all that run."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def hung_up(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def with_pauses(source: AsyncIterator[Item], seconds: float) -> AsyncGenerator[Item | None, None]:
    """The items of `source`, and `None` whenever `seconds` have passed without one."""
    while True:
        item = asyncio.ensure_future(anext(source))
        try:
            while not (await asyncio.wait({item}, timeout=seconds))[0]:
                yield None
            yield item.result()
        except StopAsyncIteration:
            return
        finally:
            item.cancel()
            await asyncio.wait({item})


async def event_lines(events: AsyncIterator[Json]) -> AsyncIterator[bytes]:
    """NDJSON; what breaks the events off is told as the last line."""
    try:
        async for event in events:
            yield json.dumps(event).encode() + b"\n"
    except TwinhubError as error:
        yield json.dumps({"event": "error", **describe(error)}).encode() + b"\n"
