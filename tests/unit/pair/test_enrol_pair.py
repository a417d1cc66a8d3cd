"""Two appliances become a pair by a code, stay one over a restart, and cease to be one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import PeerError, ProtocolError, Refused, Unavailable, UsageError
from appliance.pair.pairing import Pair
from appliance.pair.port import dial, listen
from appliance.pair.settings import PairTable
from appliance.security.identity import identity_in
from tests.unit.pair.appliances import QUICK


@dataclass
class House:
    """An appliance with its pair port, which may be started anew."""

    directory: Path
    heard: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    ups: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    port: int = 0

    async def start(self) -> Pair:
        (listener,) = listen(["127.0.0.1"], self.port)
        self.port = listener.getsockname()[1]
        table = PairTable(("127.0.0.1",), self.port, (), 3.0)
        self.pair = Pair(identity_in(self.directory), table, self.directory.name, pace=QUICK)
        self.pair.hear("test", self.heard.put_nowait, self.ups.put_nowait)
        await self.pair.start([listener])
        return self.pair


@pytest.fixture
async def houses(tmp_path: Path) -> AsyncIterator[tuple[House, House]]:
    attic, cellar = House(tmp_path / "attic"), House(tmp_path / "cellar")
    await attic.start()
    await cellar.start()
    yield attic, cellar
    await attic.pair.close()
    await cellar.pair.close()


async def pair_up(attic: House, cellar: House) -> None:
    code = attic.pair.show_code()["code"]
    await cellar.pair.join("127.0.0.1", attic.port, code)
    await attic.ups.get()
    await cellar.ups.get()


async def test_a_code_makes_them_a_pair_that_talks(houses: tuple[House, House]) -> None:
    attic, cellar = houses
    await pair_up(attic, cellar)
    attic.pair.send("test", {"hello": 1})
    assert await cellar.heard.get() == {"hello": 1}
    told = cellar.pair.status()
    assert told["sibling"]["node"] == attic.pair.identity.node
    assert (told["sibling"]["name"], told["link"]["up"]) == ("attic", True)
    assert attic.pair.status()["sibling"]["port"] == cellar.port


async def test_they_are_a_pair_after_a_restart(houses: tuple[House, House]) -> None:
    attic, cellar = houses
    await pair_up(attic, cellar)
    await attic.pair.close()
    await attic.start()
    await attic.ups.get()
    await cellar.ups.get()


async def test_a_wrong_code_is_told_on_both_sides(houses: tuple[House, House]) -> None:
    attic, cellar = houses
    code = attic.pair.show_code()["code"]
    wrong = "0000-0000" if code != "0000-0000" else "0000-0001"
    with pytest.raises(Refused, match="the code is wrong: 2 more tries"):
        await cellar.pair.join("127.0.0.1", attic.port, wrong)
    assert cellar.pair.status()["sibling"] is None
    await cellar.pair.join("127.0.0.1", attic.port, code)


async def test_without_a_code_nobody_is_let_in(houses: tuple[House, House]) -> None:
    attic, cellar = houses
    with pytest.raises(Refused, match="attic shows no code; run 'twinhub pair' there"):
        await cellar.pair.join("127.0.0.1", attic.port, "1234-5678")


async def test_one_that_is_paired_says_with_whom(houses: tuple[House, House], tmp_path: Path) -> None:
    attic, cellar = houses
    await pair_up(attic, cellar)
    with pytest.raises(Refused, match="attic is paired with cellar; 'twinhub unpair' there first"):
        attic.pair.show_code()
    shed = House(tmp_path / "shed")
    await shed.start()
    with pytest.raises(Refused, match="attic is paired with cellar"):
        await shed.pair.join("127.0.0.1", attic.port, "1234-5678")
    await shed.pair.close()


async def test_a_dead_one_is_replaced_while_the_other_works(
    houses: tuple[House, House], tmp_path: Path
) -> None:
    attic, cellar = houses
    await pair_up(attic, cellar)
    await cellar.pair.close()
    assert (await attic.pair.unpair())["name"] == "cellar"
    shed = House(tmp_path / "shed")
    await shed.start()
    await pair_up(attic, shed)
    await shed.pair.close()


async def test_what_was_unpaired_on_one_side_is_not_let_in_again(houses: tuple[House, House]) -> None:
    attic, cellar = houses
    await pair_up(attic, cellar)
    await attic.pair.unpair()
    assert attic.pair.status()["sibling"] is None
    with pytest.raises(Unavailable, match="no sibling"):
        attic.pair.send("test", {})
    with pytest.raises(UsageError, match="no sibling"):
        await attic.pair.unpair()


async def test_nobody_there_is_said(houses: tuple[House, House]) -> None:
    _, cellar = houses
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(PeerError, match=f"cannot reach 127.0.0.1 port {port}"):
        await cellar.pair.join("127.0.0.1", port, "1234-5678")


async def test_one_that_does_not_listen_can_show_no_code(tmp_path: Path) -> None:
    pair = Pair(identity_in(tmp_path), PairTable((), 3242, (), 3.0), "deaf")
    await pair.start()
    with pytest.raises(Unavailable, match=r"set `listen` in \[pair\]"):
        pair.show_code()
    await pair.close()


async def test_a_stream_is_dialled_once_with_its_token(houses: tuple[House, House]) -> None:
    attic, cellar = houses
    await pair_up(attic, cellar)
    assert attic.pair.streams
    assert cellar.pair.streams
    taken: asyncio.Queue[socket.socket] = asyncio.Queue()
    token = attic.pair.streams.offer("keyboard", taken.put_nowait)
    with await cellar.pair.streams.dial(token) as dialled, await taken.get() as accepted:
        assert dialled.getblocking()
        assert accepted.getblocking()
        dialled.sendall(b"from one process to another")
        assert accepted.recv(100) == b"from one process to another"
    again = await cellar.pair.streams.dial(token)
    assert await asyncio.to_thread(again.recv, 1) == b""
    again.close()


async def test_strangers_on_the_pair_port_are_hung_up_on(houses: tuple[House, House]) -> None:
    attic, _ = houses
    loop = asyncio.get_running_loop()
    for line in (b"GET / HTTP/1.1\r\n", b"twinhub-pair song\n", b"x" * 200, b"twinhub-pair link\n",
                 b"twinhub-pair stream 00\n"):  # fmt: skip
        with socket.create_connection(("127.0.0.1", attic.port)) as sock:
            sock.setblocking(False)
            await loop.sock_sendall(sock, line)
            try:
                assert await loop.sock_recv(sock, 1) == b""
            except ConnectionResetError:
                pass


async def test_what_answers_but_is_no_appliance_is_told_so(houses: tuple[House, House]) -> None:
    _, cellar = houses

    async def sing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"la la la\n")
        writer.close()

    async with await asyncio.start_server(sing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ProtocolError, match="no appliance that pairs"):
            await cellar.pair.join("127.0.0.1", port, "1234-5678")


async def test_a_dialled_host_that_is_no_host_is_told(houses: tuple[House, House]) -> None:
    with pytest.raises(PeerError, match="cannot reach"):
        await dial("no.such.host.invalid", 1, "link")
