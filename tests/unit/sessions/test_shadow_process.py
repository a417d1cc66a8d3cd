"""A relayed session's process and its shadow's: the one is killed, the other goes on in its place."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import threading
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import Busy, TwinhubError, Unavailable
from appliance.kernel.gate.messages import DONE, MAX_MESSAGE
from appliance.kernel.tcp.state import Facts
from appliance.sessions.link import Link, SessionLink
from appliance.sessions.manager import Sessions, first_contact, listen
from appliance.sessions.nursery_client import Nursery
from appliance.sessions.shadow.plan import Found
from appliance.sessions.shadows import Shadows
from gadgets.usb.urb import Speed
from tests.unit.sessions.doubles import TIMEOUT, Client, FakeDevice, FakeHelper, receive
from tests.unit.sessions.pdus import answer, spec, submit
from tests.unit.sessions.shadows import DISK, KEYBOARD, descriptors

SERIAL_PORT = descriptors("0403:6001", "0904000002ffffff0007058102400000" + "07050202400000")
SET_BAUD_RATE = bytes.fromhex("40031a0000000000")
FACTS = Facts(("10.0.0.1", 3240), ("10.0.0.2", 50000), 1, 1, 1448, True, 7, 7, 1)


class Gate(threading.Thread):
    """Lets everything pass, and remembers what it was told."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="gate", daemon=True)
        self.path, self.told = path, bytearray()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.bind(str(path))
        self.sock.listen()
        self.start()

    def run(self) -> None:
        sockets = [self.sock]
        while self.sock in sockets:
            for ready in select.select(sockets, [], [])[0]:
                message = b""
                try:
                    if ready is self.sock:
                        sockets.append(ready.accept()[0])
                        continue
                    message = ready.recv(MAX_MESSAGE)
                except OSError:
                    pass  # it was shut down
                if not message:
                    sockets.remove(ready)
                    ready.close()
                    continue
                self.told += message[:1]
                if message[:1] != b"c":
                    ready.send(DONE)
        for sock in sockets:
            sock.close()

    def close(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self.join(TIMEOUT)


class ShadowLink(Link):
    what = "shadow"


class TwinLink(SessionLink):
    def hear(self, event: dict[str, Any]) -> None:
        super().hear(event)
        if event["event"] == "twin":
            self.__dict__.setdefault("states", asyncio.Queue()).put_nowait(event["state"])

    async def is_told(self, state: str) -> None:
        async with asyncio.timeout(TIMEOUT):
            while await self.__dict__.setdefault("states", asyncio.Queue()).get() != state:
                pass


class Twins:
    """A session that is protected by a shadow; its client's connection has a second holder: this process."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.nursery = directory, Nursery()
        self.gate = Gate(directory / "gate")
        self.sockets: list[socket.socket] = []
        self.devices: list[FakeDevice] = []

    async def start(self, *, sole: bool = True, **changes: object) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            self.server, _ = server.accept()
        self.client = Client(client)
        self.sockets += client, self.server
        self.spec = spec(**{"descriptors": SERIAL_PORT} | changes)
        guard = {"facts": FACTS.to_plain(), "gate": str(self.gate.path)}
        with listen(self.directory / "s1.sock") as listener:
            pid = await self.nursery.start(
                "session", {**self.spec.to_json(), "guard": guard}, (listener, self.server, self.plug())
            )
        self.master = await first_contact(TwinLink, self.directory / "s1.sock", pid)
        if sole:
            await self.master.ask("sole")
        with listen(self.directory / "shadow.sock") as listener:
            pid = await self.nursery.start("shadow", {}, (listener,))
        self.shadow = await first_contact(ShadowLink, self.directory / "shadow.sock", pid)

    def plug(self) -> socket.socket:
        """A new device; our end of its stub's pair."""
        ours, theirs = socket.socketpair()
        self.device = FakeDevice(theirs)
        self.devices.append(self.device)
        self.sockets.append(ours)
        return ours

    async def replicate(self) -> None:
        here, there = socket.socketpair()
        with here, there:
            await self.shadow.ask("follow", (there.fileno(),), epoch=1)
            await self.master.ask("replicate", (here.fileno(),), epoch=1)
        await self.master.is_told("caught_up")
        await self.master.ask("protect")

    async def crash(self) -> None:
        os.kill(self.master.pid, signal.SIGKILL)
        await self.master.over()

    async def promote(self, epoch: int = 2) -> tuple[dict[str, Any], bytes]:
        file = os.memfd_create("tail")
        try:
            told = await self.shadow.ask("promote", (file,), epoch=epoch)
            return told, os.pread(file, told["tail"], 0)
        finally:
            os.close(file)

    async def resume(self, unsent: int = 0, **found: object) -> None:
        self.there = {
            "devid": 5 << 16 | 2,
            "busid": "5-1",
            "speed": int(Speed.HIGH),
            "descriptors": b64encode(self.spec.descriptors).decode(),
            "serial": "",
        } | found
        stub = self.plug()
        path = self.directory / f"s1-{len(self.devices)}.sock"
        with listen(path) as listener:
            fds = (listener.fileno(), self.server.fileno(), stub.fileno())
            await self.shadow.ask("resume", fds, found=self.there, unsent=unsent, gate=str(self.gate.path))
        self.master = await TwinLink.open(path)
        await self.master.ask("sole")

    async def works(self) -> None:
        """The client reads and writes, off this loop."""
        await asyncio.to_thread(self.client.read, 64)
        await asyncio.to_thread(self.client.write, b"hello")

    async def close(self) -> None:
        for link in (self.master, self.shadow):
            await link.close()
        await self.nursery.close()
        for sock in self.sockets:
            sock.close()
        for device in self.devices:
            device.join(TIMEOUT)
        self.gate.close()


@pytest.fixture
async def twins(tmp_path: Path) -> AsyncIterator[Twins]:
    twins = Twins(tmp_path)
    yield twins
    await twins.close()


async def test_a_client_goes_on_when_its_sessions_process_is_killed(twins: Twins) -> None:
    await twins.start()
    twins.client.sock.sendall(submit(900, 0x00, setup=SET_BAUD_RATE))
    await twins.replicate()
    assert await asyncio.to_thread(receive, twins.client.sock, 48) == answer(900)
    await twins.works()
    await twins.crash()
    position, tail = await twins.promote()
    assert position["verdict"] == "hide"
    assert position["facts"] == {**FACTS.to_plain()} | {"local": ["10.0.0.1", 3240]} | {
        "remote": ["10.0.0.2", 50000]
    }
    assert position["tail"] == len(tail) <= position["bytes_out"]
    twins.device.unplug()
    await twins.resume()
    await twins.works()
    assert twins.device.taken == [b"", b"hello"], "the baud rate was set again first"
    assert (await twins.master.ask("describe"))["spec"]["devid"] == 5 << 16 | 2
    await twins.master.kick("the test is over")
    assert twins.gate.told.endswith(b"l"), "a session that ends on purpose is let go at the gate"


async def test_the_new_master_may_have_a_shadow_in_its_turn(twins: Twins) -> None:
    await twins.start()
    await twins.replicate()
    await twins.works()
    await twins.crash()
    await twins.promote()
    await twins.resume()
    with listen(twins.directory / "shadow2.sock") as listener:
        pid = await twins.nursery.start("shadow", {}, (listener,))
    await twins.shadow.close()
    twins.shadow = await first_contact(ShadowLink, twins.directory / "shadow2.sock", pid)
    await twins.replicate()
    await twins.works()
    before = (await twins.master.ask("describe"))["spec"]
    await twins.crash()
    position, _ = await twins.promote()
    assert position["spec"] == before
    await twins.resume()
    await twins.works()
    await twins.master.kick("the test is over")


async def test_bytes_that_the_rebuilt_socket_does_not_hold_are_sent_first(twins: Twins) -> None:
    await twins.start()
    await twins.replicate()
    await twins.works()
    await twins.crash()
    _, tail = await twins.promote()
    await twins.resume(unsent=20)
    assert await asyncio.to_thread(receive, twins.client.sock, 20) == tail[-20:]
    await twins.works()
    await twins.master.kick("the test is over")


@pytest.mark.parametrize(
    ("changes", "found", "why"),
    [
        ({"descriptors": SERIAL_PORT}, {"serial": "another"}, "serial number"),
        ({"descriptors": DISK}, {"descriptors": b64encode(KEYBOARD).decode()}, "descriptors"),
        ({"descriptors": descriptors("1050:0407", "09040000010301010007058103080004")}, {}, "security key"),
    ],
    ids=["serial", "descriptors", "class"],
)
async def test_what_must_not_be_hidden_is_told_to_who_asks(
    twins: Twins, changes: dict[str, Any], found: dict[str, Any], why: str
) -> None:
    await twins.start(**changes)
    await twins.replicate()
    await twins.crash()
    await twins.promote()
    with pytest.raises(TwinhubError, match=why):
        await twins.resume(**found)
    await twins.shadow.end("stop", "the test is over", "")


async def test_a_shadow_without_a_grant_does_not_resume(twins: Twins) -> None:
    await twins.start()
    await twins.replicate()
    with pytest.raises(Unavailable, match="not promoted"):
        await twins.resume()
    await twins.master.kick("the test is over")
    await twins.shadow.over()
    assert twins.shadow.reason == "the session has ended"


async def test_the_daemon_has_a_session_go_on_that_was_the_siblings(tmp_path: Path, twins: Twins) -> None:
    await twins.start()
    ends: list[str] = []
    states: asyncio.Queue[str] = asyncio.Queue()
    helper = FakeHelper()
    sessions = Sessions(tmp_path / "b", helper, lambda spec, reason: ends.append(spec.id))  # type: ignore[arg-type]
    shadows = Shadows(tmp_path / "b", sessions, lambda session, state, reason: states.put_nowait(state))
    here, there = socket.socketpair()
    with here, there:
        await shadows.follow("s1", there, epoch=1)
        await twins.master.ask("replicate", (here.fileno(),), epoch=1)
    await twins.master.is_told("caught_up")
    await twins.master.ask("protect")
    await twins.works()
    assert await states.get() == "in_sync"
    await twins.crash()
    position, _ = await shadows.promote("s1", epoch=2)
    assert position["spec"] == twins.spec.to_json()
    found = Found(5 << 16 | 2, "5-1", Speed.HIGH, twins.spec.descriptors)
    await shadows.resume("s1", twins.server.dup(), found, 0, twins.gate.path)
    await sessions.link("s1").ask("sole")
    await twins.works()
    assert [session.busid for session in sessions.all()] == ["5-1"]
    assert list(shadows) == []
    await sessions.close(leave=False)
    await shadows.close(leave=False)
    twins.devices += helper.devices
    await twins.shadow.end("stop", "the test is over", "")
    assert ends == ["s1"]


async def test_an_old_epoch_is_refused(twins: Twins) -> None:
    await twins.start()
    await twins.replicate()
    await twins.crash()
    await twins.promote()
    with pytest.raises(Unavailable, match="epoch 1 is over"):
        await twins.promote(epoch=1)
    await twins.shadow.end("stop", "the test is over", "")


async def test_a_session_whose_lease_is_over_moves_nothing_until_there_is_another(twins: Twins) -> None:
    await twins.start()
    await twins.works()
    await twins.master.ask("sole", until=1)
    number = twins.client.submit_in(64)
    for _ in range(3):
        await twins.master.ask("stats")
    assert not select.select([twins.client.sock], [], [], 0)[0]
    await twins.master.ask("sole", until=1 << 62)
    await asyncio.to_thread(twins.client.expect_in, number, 64)
    await twins.master.kick("the test is over")
    await twins.shadow.end("stop", "the test is over", "")


async def test_bytes_that_wait_for_one_shadow_are_not_let_go_for_another(twins: Twins) -> None:
    await twins.start()
    await twins.replicate()
    here, there = socket.socketpair()
    with here, there, pytest.raises(Busy, match="only `sole`"):
        await twins.master.ask("replicate", (here.fileno(),), epoch=2)
    await twins.works()


async def test_a_session_begins_held_until_its_shadow_has_all_of_it(twins: Twins) -> None:
    await twins.start(sole=False)
    twins.client.sock.sendall(submit(900, 0x00, setup=SET_BAUD_RATE))
    assert (await twins.master.ask("stats"))["endpoints"] == {}
    await twins.replicate()
    assert await asyncio.to_thread(receive, twins.client.sock, 48) == answer(900)
    await twins.works()
