"""The arbiter as it runs: a process, two lines, a switch that is a command."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from appliance.errors import DeviceFailed, Timeout, TwinhubError, Unavailable, UsageError
from appliance.pair.model import Standing
from appliance.pair.selector import open_selector
from appliance.pair.selector.arbiter import line
from appliance.pair.selector.arbiter.driver import ArbiterSelector
from appliance.pair.selector.arbiter.frames import Position
from appliance.pair.selector.arbiter.run import Board, command_switch
from appliance.pair.selector.register import FREE, Refused

KEY = "a key that three machines share"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o600)
    return path


@pytest.fixture
def turn(tmp_path: Path) -> Path:
    """A switch that writes down where it was turned."""
    path = tmp_path / "turn"
    path.write_text(f'#!/bin/sh\necho "$1 $TWINHUB_OWNER" >> {tmp_path}/turned\n')
    path.chmod(0o700)
    return path


def turned(tmp_path: Path) -> list[str]:
    return (tmp_path / "turned").read_text().splitlines()


def jam(turn: Path) -> None:
    turn.write_text("#!/bin/sh\nexit 1\n")


@contextmanager
def arbiter(tmp_path: Path, a: str, b: str, turn: Path) -> Iterator[None]:
    places = ["--a", a, "--b", b, "--state", str(tmp_path / "state"), "--key", str(tmp_path / "key")]
    command = [
        sys.executable,
        "-m",
        "appliance.cli.main",
        "arbiter",
        *places,
        "--switch",
        str(turn),
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            assert json.loads(process.stdout.readline())["event"] == "running"
            yield
        finally:
            process.terminate()
            assert process.wait() == 0


@asynccontextmanager
async def asking(spec: str, key: Path) -> AsyncIterator[ArbiterSelector]:
    selector = open_selector(f"arbiter:{spec},key={key}")
    assert isinstance(selector, ArbiterSelector)
    try:
        yield selector
    finally:
        await selector.close()


async def until_at(selector: ArbiterSelector, position: Position) -> None:
    async with asyncio.timeout(30):
        while selector.switch is not position:
            await selector.look()


async def test_the_hub_goes_to_who_is_granted_and_to_nobody_in_between(
    tmp_path: Path, key: Path, turn: Path
) -> None:
    a, b = f"unix:{tmp_path}/a", f"unix:{tmp_path}/b"
    with arbiter(tmp_path, a, b, turn):
        async with asking(a, key) as of_a, asking(b, key) as of_b:
            assert await of_a.claim("a", 0, "b") == Standing("a", 1, "b")
            await until_at(of_a, Position.A)
            assert await of_b.claim("b", 1, None) == Standing("b", 2, None)
            with pytest.raises(Refused):
                await of_a.renew("a", 1)
            await until_at(of_b, Position.B)
            assert of_b.lease == 5.0
            assert of_b.silent < 3600
    assert turned(tmp_path)[-4:] == ["none a", "a a", "none b", "b b"]
    with arbiter(tmp_path, a, b, turn):
        async with asking(a, key) as of_a:
            assert await of_a.look() == Standing("b", 2, None)
            await until_at(of_a, Position.B)


async def test_a_serial_line_carries_it_too(tmp_path: Path, key: Path, turn: Path) -> None:
    with cable() as (ours, theirs), arbiter(tmp_path, theirs, f"unix:{tmp_path}/b", turn):
        async with asking(ours, key) as of_a:
            assert await of_a.claim("a", 0, None) == Standing("a", 1, None)
            await of_a.renew("a", 1)
            assert await of_a.release("a", 1) == Standing(None, 2, None)


@contextmanager
def cable() -> Iterator[tuple[str, str]]:
    """Two ptys whose masters are joined: the paths of its ends."""
    pairs = [os.openpty(), os.openpty()]
    loop = asyncio.get_running_loop()

    def carry(source: int, target: int) -> None:
        os.write(target, os.read(source, 4096))

    (one, near), (two, far) = pairs
    try:
        for slave in (near, far):
            tty.setraw(slave)
        loop.add_reader(one, carry, one, two)
        loop.add_reader(two, carry, two, one)
        yield os.ttyname(near), os.ttyname(far)
    finally:
        for master in (one, two):
            loop.remove_reader(master)
        for fd in (one, near, two, far):
            os.close(fd)


async def test_a_line_without_an_arbiter_says_what_may_be_missing(key: Path) -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    selector = ArbiterSelector(f"tcp:127.0.0.1:{port}", KEY.encode(), seconds=0.05)
    async with server:
        with pytest.raises(Timeout, match="has it power, and the same key"):
            await selector.look()
        await gone.wait()


async def test_a_line_that_hangs_up_is_opened_anew(key: Path) -> None:
    calls = 0

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(rude, "127.0.0.1", 0)
    place = f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, asking(place, key) as selector:
        for _ in range(2):
            with pytest.raises(Unavailable, match="broke"):
                await selector.look()
    assert calls == 2


async def test_nothing_at_the_other_end_says_where(tmp_path: Path, key: Path) -> None:
    for place in (f"unix:{tmp_path}/nobody", str(tmp_path / "ttyACM9")):
        async with asking(place, key) as selector:
            with pytest.raises(Unavailable, match=r"nobody|ttyACM9"):
                await selector.look()


async def test_a_file_is_not_a_serial_line(tmp_path: Path, key: Path) -> None:
    async with asking(str(key), key) as selector:
        with pytest.raises(Unavailable, match="not a serial line"):
            await selector.look()


def test_a_name_is_no_address() -> None:
    with pytest.raises(UsageError, match="no IP address"):
        line.address_of("tcp:arbiter.example:1")


async def test_a_switch_that_does_not_obey_is_told(tmp_path: Path, key: Path, turn: Path) -> None:
    a = f"unix:{tmp_path}/a"
    with arbiter(tmp_path, a, f"unix:{tmp_path}/b", turn):
        jam(turn)
        async with asking(a, key) as selector:
            with pytest.raises(DeviceFailed, match="nothing was granted"):
                await selector.claim("a", 0, None)
            assert await selector.look() == FREE


def test_a_switch_command_that_is_not_there_is_an_unknown_position(tmp_path: Path) -> None:
    board = Board(
        tmp_path / "state", lambda position, standing: command_switch(["/no/such"], position, standing)
    )
    assert board.switch(Position.A, FREE) is Position.UNKNOWN


def test_memory_keeps_owner_and_side(tmp_path: Path) -> None:
    board = Board(tmp_path / "state", lambda position, standing: position)
    assert board.load() == (FREE, Position.NONE)
    board.save(Standing("b", 4, None), Position.B)
    assert board.load() == (Standing("b", 4, None), Position.B)


def test_memory_that_does_not_keep_is_an_error(tmp_path: Path) -> None:
    board = Board(tmp_path / "gone" / "state", lambda position, standing: position)
    with pytest.raises(TwinhubError):
        board.save(FREE, Position.NONE)
