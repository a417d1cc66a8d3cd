from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from appliance.sessions.manager import Sessions
from appliance.sessions.state import SessionSpec
from tests.unit.sessions.doubles import TIMEOUT, Client, FakeHelper
from tests.unit.sessions.pdus import spec


class House:
    """A runtime directory, the daemon's `Sessions` in it, and the clients of the test."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.helper = FakeHelper()
        self.ends: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.sockets: list[socket.socket] = []
        self.pidfds: list[int] = []
        self.sessions = self.daemon()

    def daemon(self) -> Sessions:
        return Sessions(
            self.runtime, self.helper, lambda spec, reason: self.ends.put_nowait((spec.id, reason))
        )

    def connection(self) -> tuple[Client, socket.socket]:
        """A TCP connection: the client, and the server's end."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            accepted, _ = server.accept()
        self.sockets += client, accepted
        return Client(client), accepted

    async def start(self, **changes: object) -> Client:
        client, accepted = self.connection()
        asked: SessionSpec = spec(**changes)
        await self.sessions.start(asked, accepted)
        self.pidfds.append(os.pidfd_open(self.pid(asked.id)))
        return client

    def pid(self, session: str) -> int:
        return self.sessions._link(session).pid

    async def ended(self) -> tuple[str, str]:
        """The next session that `on_end` tells of, and why."""
        async with asyncio.timeout(TIMEOUT):
            return await self.ends.get()

    async def renew(self) -> list[SessionSpec]:
        """The daemon ends and leaves its sessions; another one starts. Returns what that adopted."""
        await self.sessions.close(leave=True)
        self.sessions = self.daemon()
        return await self.sessions.adopt()

    async def close(self) -> None:
        await self.sessions.close(leave=False)
        for sock in self.sockets:
            sock.close()
        for device in self.helper.devices:
            device.join(TIMEOUT)
        for pidfd in self.pidfds:
            assert select.select([pidfd], [], [], TIMEOUT)[0], "a worker lives on"
            os.close(pidfd)
        assert not list((self.runtime / "sessions").iterdir()), "a control socket is left behind"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    yield house
    await house.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    with one, two:
        yield one, two
