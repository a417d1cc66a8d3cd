from __future__ import annotations

import asyncio
import json
import os
import select
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.sessions.gadgets import Gadgets, Kept
from appliance.sessions.manager import Sessions
from appliance.sessions.state import SessionSpec
from gadgets.definition import Definition, Part
from gadgets.usb.records import to_plain
from gadgets.usb.urb import Speed
from tests.unit.sessions.doubles import TIMEOUT, Client, FakeHelper
from tests.unit.sessions.pdus import spec

KEYBOARD = Definition("keyboard", speed=Speed.FULL, functions=(Part("keyboard"),))


class House:
    """A runtime directory, the daemon's `Sessions` in it, and the clients of the test."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.helper = FakeHelper()
        self.ends: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.sockets: list[socket.socket] = []
        self.pidfds: list[int] = []
        self.daemon()

    def daemon(self) -> None:
        self.sessions = Sessions(
            self.runtime, self.helper, lambda spec, reason: self.ends.put_nowait((spec.id, reason))
        )
        self.changes: asyncio.Queue[str] = asyncio.Queue()
        self.gadgets = Gadgets(self.runtime, self.sessions.nursery, self.changes.put_nowait)

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

    async def add(self, name: str, definition: Definition = KEYBOARD) -> Kept:
        """A gadget runs, or says in `error` why not."""
        kept = await self.gadgets.add(name, plain(definition))
        if kept.link:
            self.pidfds.append(os.pidfd_open(kept.link.pid))
        return kept

    async def attach(self, gadget: str, **changes: object) -> Client:
        """A client uses the gadget."""
        asked = {"kind": "gadget", "gadget": gadget, "name": gadget, "busid": "", "descriptors": b""}
        return await self.start(**asked | changes)

    def pid(self, session: str) -> int:
        return self.sessions.link(session).pid

    async def ended(self) -> tuple[str, str]:
        """The next session that `on_end` tells of, and why."""
        async with asyncio.timeout(TIMEOUT):
            return await self.ends.get()

    async def renew(self) -> list[SessionSpec]:
        """The daemon ends and leaves its sessions; another one starts. Returns what that adopted."""
        wanted = {kept.name: kept.definition for kept in self.gadgets}
        await self.gadgets.close(leave=True)
        await self.sessions.close(leave=True)
        self.daemon()
        await self.gadgets.adopt(wanted)
        return await self.sessions.adopt()

    async def close(self) -> None:
        await self.gadgets.close(leave=False)
        await self.sessions.close(leave=False)
        for sock in self.sockets:
            sock.close()
        for device in self.helper.devices:
            device.join(TIMEOUT)
        for pidfd in self.pidfds:
            assert select.select([pidfd], [], [], TIMEOUT)[0], "a worker lives on"
            os.close(pidfd)
        for directory in ("sessions", "gadgets"):
            assert not list((self.runtime / directory).iterdir()), "a control socket is left behind"


def plain(definition: Definition) -> dict[str, Any]:
    """As JSON carries it."""
    return dict(json.loads(json.dumps(to_plain(definition))))


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
