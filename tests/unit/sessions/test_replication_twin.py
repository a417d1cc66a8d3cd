"""A gadget in two processes, by their control sockets: copied, taken over, handed over."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import Busy, TwinhubError, Unavailable
from appliance.sessions.link import GadgetLink, SessionLink
from appliance.sessions.manager import first_contact, listen
from appliance.sessions.nursery_client import Nursery
from gadgets.definition import Definition
from tests.unit.sessions.conftest import House, plain
from tests.unit.sessions.doubles import TIMEOUT, Client, receive
from tests.unit.sessions.pdus import submit
from tests.unit.sessions.replicas import CONFIGURE, KEYBOARD, SPEC

A_DOWN = bytes.fromhex("0000040000000000")
SECONDS = 30.0


class Process:
    """A gadget's process, and what it tells."""

    def __init__(self, link: GadgetLink) -> None:
        self.link = link
        self.states: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        link.on_twin = lambda *both: self.states.put_nowait(both)
        self.pidfd = os.pidfd_open(link.pid)

    async def ask(self, op: str, fds: tuple[int, ...] = (), **fields: Any) -> Any:
        return await self.link.ask(op, fds, SECONDS, **fields)

    async def until(self, state: str) -> str:
        """Until it tells so, and why."""
        async with asyncio.timeout(SECONDS):
            while (told := await self.states.get())[0] != state:
                continue
        return told[1]

    async def kill(self) -> None:
        os.kill(self.link.pid, signal.SIGKILL)
        await self.link.over()


class Two:
    """Two processes of one gadget, and a client."""

    def __init__(self, runtime: Path, nursery: Nursery) -> None:
        self.runtime, self.nursery = runtime, nursery
        self.processes: list[Process] = []
        self.sockets: list[socket.socket] = []
        self.session = runtime / "none.sock"

    async def start(self, name: str, *, follow: bool, definition: Definition = KEYBOARD) -> Process:
        path = self.runtime / f"{name}.sock"
        with listen(path) as listener:
            what = {"name": name, "definition": plain(definition), "follow": follow}
            pid = await self.nursery.start("gadget", what, (listener,))
        process = Process(await first_contact(GadgetLink, path, pid, SECONDS))
        self.processes.append(process)
        return process

    def pair(self) -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair()
        self.sockets += pair
        return pair

    async def connect(self, master: Process, copy: Process, keys: tuple[str, str] = ("", "")) -> None:
        there, here = self.pair()
        await copy.ask("follow", (here.fileno(),), epoch=1, keys=keys[1])
        await master.ask("replicate", (there.fileno(),), epoch=1, keys=keys[0])
        there.close()
        here.close()
        await master.until("caught_up")
        await copy.until("in_sync")

    def listen(self) -> socket.socket:
        self.session = self.runtime / f"{len(self.sockets)}.sock"
        return listen(self.session)

    async def attach(self, process: Process) -> Client:
        """By a TCP connection, as clients do."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            served, _ = server.accept()
        self.sockets.append(client)
        with self.listen() as listener, served:
            await process.ask("serve", (listener.fileno(), served.fileno()), spec=SPEC.to_json())
        return Client(client)

    async def take_over(self, copy: Process, got: int, sent: bytes) -> Client:
        """As if the connection were rebuilt: the client has `got` bytes, and sends again what is missing of
        what it has `sent`."""
        file = os.memfd_create("tail")
        try:
            told = await copy.ask("promote", (file,), epoch=2)
            (session,) = told["sessions"]
            assert os.fstat(file).st_size == session["tail"]
        finally:
            os.close(file)
        ours, theirs = self.pair()
        ours.sendall(sent[session["bytes_in"] :])
        with self.listen() as listener:
            unsent = session["bytes_out"] - got
            await copy.ask("resume", (listener.fileno(), theirs.fileno()), unsent=unsent)
        theirs.close()
        return Client(ours)

    async def close(self) -> None:
        for process in self.processes:
            await process.link.stop("the test is over")
            await process.link.close()
            os.close(process.pidfd)
        for sock in self.sockets:
            sock.close()


@pytest.fixture
async def two(house: House, tmp_path: Path) -> AsyncIterator[Two]:
    folder = tmp_path / "twins"
    folder.mkdir()
    made = Two(folder, house.sessions.nursery)
    yield made
    await made.close()


CONFIGURED = submit(900, 0x00, setup=CONFIGURE)


def fetching(seqnum: int) -> bytes:
    return submit(seqnum, 0x81, 8) + submit(seqnum + 1, 0x81, 8)


async def pressed(client: Client, process: Process, seqnum: int) -> None:
    await process.ask("local", input={"type_text": "a"})
    client.sock.sendall(fetching(seqnum))
    assert receive(client.sock, 56)[48:] == A_DOWN
    assert receive(client.sock, 56)[48:] == bytes(8)


async def configured(two: Two, process: Process) -> Client:
    client = await two.attach(process)
    client.sock.sendall(CONFIGURED)
    assert len(receive(client.sock, 48)) == 48
    return client


async def test_a_killed_process_is_followed_by_its_copy_in_mid_session(two: Two) -> None:
    master, copy = await two.start("a", follow=False), await two.start("b", follow=True)
    client = await configured(two, master)
    await pressed(client, master, 901)
    await two.connect(master, copy)
    await master.ask("protect")
    await pressed(client, master, 903)
    client.sock.sendall(fetching(905))
    await master.kill()
    sent = CONFIGURED + fetching(901) + fetching(903) + fetching(905)
    again = await two.take_over(copy, 48 + 4 * 56, sent)
    await copy.ask("local", input={"type_text": "a"})
    assert receive(again.sock, 56)[48:] == A_DOWN
    link = await SessionLink.open(two.session)
    assert link.spec == SPEC
    await link.close()


async def test_a_session_that_cannot_be_rebuilt_is_dropped_and_the_gadget_is_free(two: Two) -> None:
    master, copy = await two.start("a", follow=False), await two.start("b", follow=True)
    await configured(two, master)
    await two.connect(master, copy)
    await master.ask("protect")
    await master.kill()
    file = os.memfd_create("tail")
    await copy.ask("promote", (file,), epoch=2)
    os.close(file)
    with pytest.raises(Unavailable, match="handed over"):
        await two.attach(copy)
    await copy.ask("drop")
    await configured(two, copy)


async def test_a_protected_master_without_its_copy_waits_until_it_is_alone(two: Two) -> None:
    master, copy = await two.start("a", follow=False), await two.start("b", follow=True)
    await two.connect(master, copy)
    await master.ask("protect")
    client = await configured(two, master)
    await copy.kill()
    assert "hung up" in await master.until("lost")
    client.sock.sendall(submit(901, 0x80, 18, setup=bytes.fromhex("8006000100001200")))
    client.sock.setblocking(False)
    assert (await master.ask("stats"))["twin"]["state"] == "lost"
    with pytest.raises(BlockingIOError):
        client.sock.recv(1)
    client.sock.settimeout(TIMEOUT)
    await master.ask("sole")
    assert len(receive(client.sock, 48 + 18)) == 66


async def test_a_planned_handover_leaves_nothing_behind(two: Two) -> None:
    master, copy = await two.start("a", follow=False), await two.start("b", follow=True)
    client = await configured(two, master)
    await two.connect(master, copy)
    await master.ask("protect")
    await master.ask("freeze")
    client.sock.sendall(fetching(901))
    with pytest.raises(Unavailable, match="handed over"):
        await master.ask("local", input={"type_text": "a"})
    again = await two.take_over(copy, 48, CONFIGURED + fetching(901))
    await pressed(again, copy, 903)


async def test_a_handover_that_is_called_off_goes_on_where_it_was(two: Two) -> None:
    master, copy = await two.start("a", follow=False), await two.start("b", follow=True)
    client = await configured(two, master)
    await two.connect(master, copy)
    await master.ask("freeze")
    await master.ask("thaw")
    await pressed(client, master, 901)


async def test_who_has_no_lease_any_more_is_silent(two: Two) -> None:
    master = await two.start("a", follow=False)
    client = await configured(two, master)
    await master.ask("sole", until=1)
    client.sock.sendall(submit(901, 0x80, 18, setup=bytes.fromhex("8006000100001200")))
    assert (await master.ask("stats"))["session"]
    client.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.sock.recv(1)
    client.sock.settimeout(TIMEOUT)
    await master.ask("sole", until=time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 10**12)
    assert len(receive(client.sock, 48 + 18)) == 66


async def test_a_copy_serves_nobody_and_takes_nothing(two: Two) -> None:
    copy = await two.start("b", follow=True)
    with pytest.raises(Unavailable, match="its master is elsewhere"):
        await two.attach(copy)
    with pytest.raises(Unavailable, match="a copy that waits"):
        await copy.ask("local", input={"type_text": "a"})
    with pytest.raises(Unavailable):
        await copy.ask("protect")


async def test_where_there_never_was_a_master_the_copy_begins_anew(two: Two) -> None:
    copy = await two.start("b", follow=True)
    file = os.memfd_create("tail")
    assert await copy.ask("promote", (file,), epoch=1) == {"sessions": []}
    os.close(file)
    await pressed(await configured(two, copy), copy, 901)


async def test_one_that_runs_does_not_follow_and_an_old_epoch_is_refused(two: Two) -> None:
    master, copy = await two.start("a", follow=False), await two.start("b", follow=True)
    one, other = two.pair()
    with pytest.raises(Busy):
        await master.ask("follow", (one.fileno(),), epoch=1)
    await copy.ask("follow", (one.fileno(),), epoch=5)
    await master.ask("replicate", (other.fileno(),), epoch=4)
    assert "epoch 4" in await master.until("lost")
    with pytest.raises(TwinhubError, match="epoch 3 is over"):
        await copy.ask("follow", (other.fileno(),), epoch=3)


async def test_outputs_that_wait_for_one_copy_are_not_let_go_for_another(two: Two) -> None:
    master, copy = await two.start("a", follow=False), await two.start("b", follow=True)
    await two.connect(master, copy)
    await master.ask("protect")
    one, _ = two.pair()
    with pytest.raises(Busy, match="only `sole`"):
        await master.ask("replicate", (one.fileno(),), epoch=2)
    assert (await master.ask("stats"))["twin"]["state"] == "protected"
