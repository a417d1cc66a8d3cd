"""The witness: registers of many groups behind a key, durable."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ConfigError, PeerError, ProtocolError, TwinhubError, Unavailable
from appliance.pair.model import Standing
from appliance.pair.selector import open_selector, store
from appliance.pair.selector.register import Refused
from appliance.pair.selector.witness import wire
from appliance.pair.selector.witness.client import WitnessSelector
from appliance.pair.selector.witness.server import Server, Settings, Witness

KEY = b"a key that three machines share"


@asynccontextmanager
async def witness(
    state: Path, clock: Callable[[], float] = lambda: 0.0, first_epoch: int = 0
) -> AsyncIterator[int]:
    """Runs one; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    settings = Settings(KEY, state, lease=2.0, first_epoch=first_epoch)
    running = asyncio.create_task(Server(settings, clock).serve_on([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def asking(port: int, group: str = "desk", key: bytes = KEY) -> AsyncIterator[WitnessSelector]:
    selector = WitnessSelector("127.0.0.1", port, group, key, seconds=30)
    try:
        yield selector
    finally:
        await selector.close()


async def test_of_two_who_claim_at_once_one_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    async with witness(tmp_path / "state") as port, asking(port) as a, asking(port) as b:
        granted = await asyncio.gather(a.claim("a", 0, None), b.claim("b", 0, None), return_exceptions=True)
        (owner,) = [s for s in granted if isinstance(s, Standing)]
        (refused,) = [s for s in granted if isinstance(s, Refused)]
        assert refused.standing == owner == await a.look() == await b.look()


async def test_all_four_calls_reach_the_register(tmp_path: Path) -> None:
    async with witness(tmp_path / "state") as port, asking(port) as a, asking(port) as b:
        assert await a.look() == Standing(None, 0, None)
        assert await a.claim("a", 0, "b") == Standing("a", 1, "b")
        await a.renew("a", 1)
        assert await b.claim("b", 1, None) == Standing("b", 2, None)
        with pytest.raises(Refused):
            await a.renew("a", 1)
        assert await b.release("b", 2) == Standing(None, 3, None)


async def test_a_claim_is_granted_once_though_its_answer_was_lost(tmp_path: Path) -> None:
    async with witness(tmp_path / "state") as port, asking(port) as a:
        await a.claim("a", 0, "b")
        with pytest.raises(Refused) as refused:
            await a.claim("a", 0, "b")
        assert refused.value.standing == Standing("a", 1, "b")


async def test_the_lease_is_told_even_with_a_refusal(tmp_path: Path) -> None:
    async with witness(tmp_path / "state") as port, asking(port) as a:
        with pytest.raises(Refused):
            await a.renew("a", 9)
        assert a.lease == 2.0


async def test_groups_do_not_touch_each_other(tmp_path: Path) -> None:
    async with witness(tmp_path / "state") as port, asking(port, "desk") as desk, asking(port, "lab") as lab:
        await desk.claim("a", 0, None)
        assert await lab.look() == Standing(None, 0, None)


async def test_who_looks_at_a_group_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    async with witness(tmp_path / "state") as port, asking(port, "nowhere") as a:
        await a.look()
    assert not (tmp_path / "state").exists()


async def test_a_restarted_witness_knows_the_epochs_and_begins_leases_anew(tmp_path: Path) -> None:
    async with witness(tmp_path / "state") as port, asking(port) as a:
        await a.claim("a", 0, None)
    async with witness(tmp_path / "state", clock=lambda: 1000.0) as port, asking(port) as b:
        with pytest.raises(Refused) as refused:
            await b.claim("b", 1, None)
        assert refused.value.standing == Standing("a", 1, None)


async def test_an_owner_whose_lease_has_run_out_can_be_superseded(tmp_path: Path) -> None:
    now = [0.0]
    async with witness(tmp_path / "state", clock=lambda: now[0]) as port, asking(port) as a:
        await a.claim("a", 0, None)
        now[0] = 2.0
        assert await a.claim("b", 1, None) == Standing("b", 2, None)


async def test_a_selector_connects_again_to_a_witness_that_came_back(tmp_path: Path) -> None:
    async with witness(tmp_path / "state") as port, asking(port) as a:
        await a.claim("a", 0, None)
    with pytest.raises(Unavailable):
        await a.look()
    listener = socket.create_server(("127.0.0.1", port))
    running = asyncio.create_task(Server(Settings(KEY, tmp_path / "state")).serve_on([listener]))
    try:
        assert await a.look() == Standing("a", 1, None)
    finally:
        await a.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_another_key_is_refused_with_a_hint(tmp_path: Path) -> None:
    async with witness(tmp_path / "state") as port, asking(port, key=b"another key, as long") as a:
        with pytest.raises(PeerError, match="key the same on both ends"):
            await a.claim("a", 0, None)
    assert not (tmp_path / "state").exists()


async def test_nobody_there_says_what_to_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with asking(port) as a:
        with pytest.raises(Unavailable, match="does `twinhub witness` run there"):
            await a.look()


async def test_something_else_on_the_port_is_named(tmp_path: Path) -> None:
    async def web(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"hello": "world"}\n')
        writer.close()

    server = await asyncio.start_server(web, "127.0.0.1", 0)
    async with server, asking(server.sockets[0].getsockname()[1]) as a:
        with pytest.raises(ProtocolError, match="not a witness"):
            await a.look()


async def test_recorded_lines_are_worth_nothing_on_another_connection(tmp_path: Path) -> None:
    async with witness(tmp_path / "state") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        nonce = wire.read_greeting(await reader.readuntil(b"\n"))
        claim = {"op": "claim", "group": "desk", "node": "a", "epoch": 0, "heir": None}
        recorded = [
            wire.reply_to_greeting(bytes(wire.NONCE)),
            wire.Lines(wire.session_key(KEY, nonce, bytes(wire.NONCE)), wire.TO_WITNESS).seal(claim),
        ]
        writer.writelines(recorded)
        assert b'"epoch": 1' in await reader.readuntil(b"\n")
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readuntil(b"\n")
        writer.writelines(recorded)
        assert await reader.read() == b""
        writer.close()


def test_a_line_opens_once_in_its_order_and_its_direction() -> None:
    sealing = wire.Lines(KEY, wire.TO_WITNESS)
    first, second = sealing.seal({"n": 1}), sealing.seal({"n": 2})
    for wrong in ([second], [first, first]):
        opening = wire.Lines(KEY, wire.TO_WITNESS)
        with pytest.raises(PeerError):
            [opening.open(line) for line in wrong]
    with pytest.raises(PeerError):
        wire.Lines(KEY, wire.FROM_WITNESS).open(first)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_line_is_parsed_or_refused(line: bytes) -> None:
    for read in (wire.read_greeting, lambda line: wire.read_nonce(wire.parse(line))):
        try:
            read(line)
        except PeerError:
            pass


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.lists(st.none())
messages = st.dictionaries(
    st.sampled_from(
        ["op", "group", "node", "epoch", "heir", "owner", "lease", "refused", "error", "message"]
    ),
    values | st.sampled_from(["claim", "look", "renew", "release"]),
)


@given(messages)
def test_any_message_is_answered_or_refused(message: wire.Json) -> None:
    try:
        group, request = wire.read_request(message)
        assert wire.read_request(json.loads(json.dumps(wire.write_request(group, request))))[0] == group
    except ProtocolError:
        pass
    try:
        wire.read_answer(message)
    except TwinhubError:
        pass


@given(st.none() | st.just("a"), st.integers(0, 2**63 - 1), st.none() | st.just("b"), st.booleans())
def test_an_answer_comes_back_as_it_was(
    owner: str | None, epoch: int, heir: str | None, refused: bool
) -> None:
    standing = Standing(owner, epoch, heir)
    said = json.loads(json.dumps(wire.write_standing(standing, 5.0, refused=refused)))
    assert wire.read_answer(said) == wire.Answer(standing, 5.0, refused)


def claim(group: str) -> wire.Json:
    return {"op": "claim", "group": group, "node": "a", "epoch": 0, "heir": None}


def test_nothing_is_granted_that_could_not_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    kept = Witness(Settings(KEY, folder / "state"), lambda: 0.0)
    folder.rmdir()
    assert kept.answer(claim("desk"))["error"] == "Unavailable"
    folder.mkdir()
    assert kept.answer(claim("desk"))["epoch"] == 1


def test_a_witness_takes_no_more_groups_than_it_has_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.pair.selector.witness.server.MOST_GROUPS", 2)
    kept = Witness(Settings(KEY, tmp_path / "state"), lambda: 0.0)
    answers = [kept.answer(claim(group)) for group in ("a", "b", "c")]
    assert [answer.get("error") for answer in answers] == [None, None, "Busy"]


def test_a_lost_state_is_made_good_by_a_first_epoch_above_what_was(tmp_path: Path) -> None:
    kept = Witness(Settings(KEY, tmp_path / "state", first_epoch=40), lambda: 0.0)
    assert kept.answer({"op": "look", "group": "desk"})["epoch"] == 40


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"standings": 1}', b'{"standings": {"a": [1, 2, 3]}}', b"\xff"]
)
def test_a_broken_state_stops_the_witness_with_advice(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(ConfigError, match="restore it, or move it away"):
        store.load(tmp_path / "state")


def test_a_crash_while_writing_leaves_the_state_that_was(tmp_path: Path) -> None:
    store.save(tmp_path / "state", {"desk": Standing("a", 1, None)})
    (tmp_path / "state.new").write_bytes(b'{"standings": {"de')
    assert store.load(tmp_path / "state") == {"desk": Standing("a", 1, None)}


async def test_strangers_cannot_keep_friends_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.pair.selector.witness.server.MOST_STRANGERS", 2)
    async with witness(tmp_path / "state") as port, asking(port) as a:
        await a.claim("a", 0, None)
        strangers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, _ in strangers:
            assert await reader.readuntil(b"\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"", "one too many"
        await a.renew("a", 1)
        for _, one in [*strangers, (reader, writer)]:
            one.close()
            await one.wait_closed()


async def test_a_line_that_is_too_long_ends_the_connection(tmp_path: Path) -> None:
    async with witness(tmp_path / "state") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readuntil(b"\n")
        writer.write(b"x" * (wire.LINE_LIMIT + 1))
        assert await reader.read() == b""
        writer.close()


@contextmanager
def process(state: Path, key: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`twinhub witness`, and the selector to ask it by."""
    words = ["--listen", "127.0.0.1:0", "--state", str(state), "--key", str(key), "--json"]
    command = [sys.executable, "-m", "appliance.cli.main", "witness", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        try:
            (place,) = json.loads(running.stdout.readline())["listen"]
            yield running, f"witness:{place},key={key}"
        finally:
            running.terminate()


async def test_the_process_remembers_what_it_answered_before_it_was_killed(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    with process(tmp_path / "state", key) as (killed, spec):
        selector = open_selector(spec, "desk")
        await selector.claim("a", 0, "b")
        killed.kill()
        await selector.close()
    with process(tmp_path / "state", key) as (stopped, spec):
        selector = open_selector(spec, "desk")
        assert await selector.look() == Standing("a", 1, "b")
        await selector.close()
    assert stopped.returncode == 0
