"""Events and captures: answers that go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import ClientSession

from appliance.api.app import STREAMS, full_application
from appliance.api.sites import SOCKET_NAME, on_unix_socket
from appliance.api.streams import MAX_STREAMS, Streams, with_pauses
from appliance.errors import DeviceFailed, PeerError
from tests.unit.api.fake import FakeAppliance


async def test_events_come_as_lines_as_they_happen(api: ClientSession, appliance: FakeAppliance) -> None:
    async with api.get("/api/events") as response:
        assert response.content_type == "application/x-ndjson"
        for event in ({"event": "device.added", "busid": "1-2"}, {"event": "device.removed", "busid": "1-2"}):
            appliance.happening.put_nowait(event)
            assert json.loads(await response.content.readline()) == event
        appliance.happening.put_nowait(None)
        assert await response.content.readline() == b""
    assert appliance.entered == 0


async def test_a_quiet_stream_beats(appliance: FakeAppliance, tmp_path: Path) -> None:
    app = full_application(appliance)
    app[STREAMS] = Streams(heartbeat_seconds=0.01)
    path = tmp_path / SOCKET_NAME
    async with (
        on_unix_socket(app, path),
        ClientSession("http://twinhub", connector=aiohttp.UnixConnector(str(path))) as api,
        api.get("/api/events") as response,
    ):
        assert json.loads(await response.content.readline()) == {"event": "heartbeat"}


async def test_a_reader_who_hangs_up_is_noticed_at_the_next_beat(
    appliance: FakeAppliance, tmp_path: Path
) -> None:
    app = full_application(appliance)
    app[STREAMS] = Streams(heartbeat_seconds=0.01)
    path = tmp_path / SOCKET_NAME
    async with on_unix_socket(app, path):
        for what in ("/api/events", "/api/capture?session=s-1"):
            async with ClientSession("http://twinhub", connector=aiohttp.UnixConnector(str(path))) as api:
                response = await api.get(what)
                assert appliance.entered == 1
                response.close()
            await asyncio.wait_for(appliance.left.wait(), 5)
            appliance.left.clear()


async def test_what_breaks_the_events_off_is_their_last_line(
    api: ClientSession, appliance: FakeAppliance
) -> None:
    async with api.get("/api/events") as response:
        appliance.happening.put_nowait(PeerError("too slow"))
        lines = (await response.read()).splitlines()
    assert json.loads(lines[0]) == {"event": "error", "error": "PeerError", "message": "too slow"}


async def test_a_capture_is_streamed_until_the_session_ends(
    api: ClientSession, appliance: FakeAppliance
) -> None:
    async with api.get("/api/capture", params={"session": "s-1"}) as response:
        assert response.content_type == "application/x-pcapng"
        appliance.captured.put_nowait(b"\x0a\x0d\x0d\x0a")
        assert await response.content.readexactly(4) == b"\x0a\x0d\x0d\x0a"
        appliance.captured.put_nowait(b"block")
        appliance.captured.put_nowait(None)
        assert await response.read() == b"block"
    assert appliance.entered == 0


async def test_a_capture_that_fails_half_way_does_not_look_whole(
    api: ClientSession, appliance: FakeAppliance
) -> None:
    async with api.get("/api/capture", params={"session": "s-1"}) as response:
        appliance.captured.put_nowait(b"block")
        assert await response.content.readexactly(5) == b"block"
        appliance.captured.put_nowait(DeviceFailed("gone"))
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


@pytest.mark.parametrize(("query", "status"), [("", 400), ("?session=", 400), ("?session=s-9", 404)])
async def test_a_capture_of_nothing_has_a_status(api: ClientSession, query: str, status: int) -> None:
    async with api.get(f"/api/capture{query}") as response:
        assert response.status == status


async def test_streams_are_bounded(appliance: FakeAppliance, tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    async with on_unix_socket(full_application(appliance), path):
        connector = aiohttp.UnixConnector(str(path), limit=0)
        async with ClientSession("http://twinhub", connector=connector) as api:
            open_ones = [await api.get("/api/events") for _ in range(MAX_STREAMS)]
            async with api.get("/api/events") as one_more:
                assert one_more.status == 503
            for response in open_ones:
                response.close()


async def test_the_end_of_the_daemon_ends_the_streams(appliance: FakeAppliance, tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    async with ClientSession("http://twinhub", connector=aiohttp.UnixConnector(str(path))) as api:
        async with on_unix_socket(full_application(appliance), path):
            response = await api.get("/api/events")
        assert appliance.entered == 0
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        response.close()


async def test_pauses_come_between_the_items_and_lose_none() -> None:
    queue: asyncio.Queue[int | None] = asyncio.Queue()

    async def source() -> AsyncIterator[int]:
        while (item := await queue.get()) is not None:
            yield item

    seen: list[int | None] = []
    feed = iter([1, 2, None])
    async for item in with_pauses(source(), 0.001):
        seen.append(item)
        if item is None:
            queue.put_nowait(next(feed, None))
    assert seen[0] is None
    assert [item for item in seen if item] == [1, 2]
