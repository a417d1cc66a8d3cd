"""Two appliances in this process, as far as their pair port and their control link go."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from appliance.pair.hello import Hello
from appliance.pair.link import Ears, Link
from appliance.pair.port import Port, listen
from appliance.pair.wire import Pace
from appliance.security.identity import identity_in
from appliance.security.sibling import Sibling, keep_sibling

QUICK = Pace(beat=0.02, lost=200)
"""Alive however slow this machine is."""


class Appliance:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.identity = identity_in(directory)
        (self.listener,) = listen(["127.0.0.1"], 0)
        self.port: int = self.listener.getsockname()[1]
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.ups: asyncio.Queue[Hello] = asyncio.Queue()
        self.downs: asyncio.Queue[str] = asyncio.Queue()
        self.link: Link | None = None
        self._serving: asyncio.Task[None] | None = None

    def trust(self, other: Appliance, port: int | None = None) -> None:
        self.sibling = Sibling(
            other.directory.name, other.identity.certificate, "127.0.0.1", port or other.port
        )
        keep_sibling(self.directory, self.sibling)

    def begin(self, pace: Pace = QUICK, boot: str = "1") -> Link:
        ears = Ears(self.heard.put_nowait, self.ups.put_nowait, self.downs.put_nowait)
        self.link = Link(self.identity, self.sibling, self.directory.name, ears, pace, boot)
        self._serving = asyncio.create_task(Port({"link": self.link.take}).serve_on([self.listener]))
        return self.link

    async def up(self) -> Link:
        await self.ups.get()
        assert self.link
        return self.link

    async def end(self) -> None:
        if self.link:
            await self.link.close()
            self.link = None
        if self._serving:
            self._serving.cancel()
            await asyncio.wait([self._serving])
            self._serving = None
        self.listener.close()

    async def restart(self, boot: str = "2") -> Link:
        await self.end()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        return self.begin(boot=boot)


class Cable:
    """Between one appliance that dials and another: what it carries can freeze, as on a dead network."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def plug(self) -> int:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    async def unplug(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._tasks.add(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                data = b"?"
                while data:
                    data = await source.read(65536)
                    await self._thawed.wait()
                    sink.write(data)
                    await sink.drain()
        finally:
            sink.close()
            with suppress(OSError):
                await sink.wait_closed()
