"""Two daemons keep one connection, over which messages come in order, and see at once when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import Unavailable
from appliance.pair import link as module
from appliance.pair.wire import Pace
from tests.unit.pair.appliances import Appliance, Cable

Two = tuple[Appliance, Appliance]


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    """The first of them, by node id, is the one that can reach the other."""
    a, b = sorted(
        (Appliance(tmp_path / "attic"), Appliance(tmp_path / "cellar")), key=lambda each: each.identity.node
    )
    a.trust(b)
    b.trust(a, port=1)
    yield a, b
    await a.end()
    await b.end()


async def test_messages_arrive_in_order_both_ways(two: Two) -> None:
    a, b = two
    a.begin()
    b.begin()
    for here, there in ((a, b), (b, a)):
        link = await here.up()
        for number in range(100):
            link.send({"number": number})
        assert [await there.heard.get() for _ in range(100)] == [{"number": n} for n in range(100)]


async def test_they_know_each_other_by_name(two: Two) -> None:
    a, b = two
    a.begin()
    b.begin()
    hello = await a.ups.get()
    assert (hello.node, hello.name) == (b.identity.node, b.directory.name)


@pytest.mark.parametrize("which", [0, 1])
async def test_either_may_dial(two: Two, which: int) -> None:
    dials, answers = two[which], two[1 - which]
    dials.trust(answers)
    answers.trust(dials, port=1)
    dials.begin()
    answers.begin()
    await dials.up()
    await answers.up()


async def test_they_keep_one_connection_when_both_dial(two: Two) -> None:
    a, b = two
    b.trust(a)
    links = [a.begin(), b.begin()]
    await asyncio.gather(*(link._try() for link in links))
    await until(lambda: all(link.is_up and len(link._wires) == 1 for link in links))
    assert {wire.dialler for link in links for wire in link._wires} == {a.identity.node}


async def test_a_sibling_that_ends_is_missed_at_once_and_found_again(two: Two) -> None:
    a, b = two
    a.begin(Pace(beat=1000))
    b.begin(Pace(beat=1000))
    await a.up()
    await b.up()
    await b.end()
    await a.downs.get()
    await b.restart()
    await a.up()


async def test_a_daemon_that_was_started_again_takes_the_place_of_its_former_self(two: Two) -> None:
    a, b = two
    cable = Cable(b.port)
    a.trust(b, await cable.plug())
    a.begin()
    b.begin()
    await a.up()
    await b.up()
    cable.freeze()  # a learns nothing of the end of b
    await b.end()
    b.trust(a)
    await b.restart()
    await b.up()
    await a.up()
    assert a.downs.get_nowait() == "the connection was made anew"
    await cable.unplug()


async def test_a_connection_that_carries_nothing_any_more_is_dead(two: Two) -> None:
    a, b = two
    cable = Cable(b.port)
    a.trust(b, await cable.plug())
    pace = Pace(beat=0.05, lost=20)
    a.begin(pace)
    b.begin(pace)
    await a.up()
    await b.up()
    cable.freeze()
    assert "silent for 1 s" in await a.downs.get()
    assert "silent for 1 s" in await b.downs.get()
    cable.thaw()
    await a.up()
    await cable.unplug()


async def test_nothing_can_be_sent_without_a_link(two: Two) -> None:
    a, b = two
    link = a.begin()
    with pytest.raises(Unavailable, match=f"no link to {b.directory.name}"):
        link.send({})


async def test_one_that_was_unpaired_there_is_told_so(two: Two, tmp_path: Path) -> None:
    a, b = two
    stranger = Appliance(tmp_path / "stranger")
    b.trust(stranger)
    link = a.begin()
    b.begin()
    await until(lambda: "do not trust" in str(link.problem))
    assert not a.ups.qsize() + b.ups.qsize()
    await stranger.end()


async def test_a_version_that_is_too_different_is_named(two: Two) -> None:
    a, b = two
    link = a.begin()
    link._ours = replace(link._ours, software="9.9", oldest=7, newest=8)
    other = b.begin()
    await until(lambda: "runs Twinhub 9.9" in str(other.problem))


async def test_a_message_that_makes_no_sense_ends_the_connection(two: Two) -> None:
    a, b = two
    link = a.begin()
    b.begin()
    await a.up()
    await b.up()
    (wire,) = link._wires
    wire._write({"song": 1})
    assert "no sense" in await b.downs.get()


async def test_one_that_does_not_read_is_not_waited_for(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = two
    monkeypatch.setattr("appliance.pair.wire.MOST_UNSENT", 1000)
    link, other = a.begin(), b.begin()
    await a.up()
    await b.up()
    (wire,) = other._wires
    wire._transport.pause_reading()
    while not a.downs.qsize():
        link.send({"much": "x" * 100_000})
        await asyncio.sleep(0)
    assert "does not read" in a.downs.get_nowait()


async def test_the_status_says_how_it_is(two: Two) -> None:
    a, b = two
    link = a.begin()
    before = link.status()
    assert (before["up"], before["since"], before["software"]) == (False, None, None)
    b.begin()
    await a.up()
    after = link.status()
    assert after["up"]
    assert after["software"] == module.__version__
    assert isinstance(after["since"], float)
    assert after["problem"] is None
