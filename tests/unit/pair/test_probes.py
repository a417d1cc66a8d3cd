"""Who answers a probe, in namespaces; and what counts as an answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import NotPermitted
from appliance.pair.probes import HEADER, REPLY, REQUEST, Prober, answers, request
from appliance.pair.settings import Target
from tests.namespaces.world import World, why_not

EVERYONE = "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range"
ABSENT = "10.78.0.99"
TOKEN = b"12345678"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if reason := why_not():
        pytest.skip(reason)
    with World("a", "b", "c") as made:
        made["a"].run(EVERYONE)
        yield made


def prober(world: World, *targets: Target, patience: float = 20) -> Prober:
    return Prober(targets, "eth0", patience)


async def test_a_machine_that_is_there_answers_a_ping(world: World) -> None:
    b, c = Target(world["b"].address), Target(world["c"].address)
    with world["a"].inside():
        asking = prober(world, b, c)
        for _ in range(3):
            assert await asking.round() == {b: True, c: True}


async def test_a_silent_one_is_told_from_the_others(world: World) -> None:
    b, absent = Target(world["b"].address), Target(ABSENT)
    with world["a"].inside():
        assert (await prober(world, absent, patience=0.2).round()) == {absent: False}
        assert (await prober(world, b).round()) == {b: True}


async def test_a_port_that_is_open_answers_and_one_that_refuses_too(world: World) -> None:
    listener = world["b"].listen(7)
    opened, closed = Target(world["b"].address, 7), Target(world["b"].address, 8)
    with listener, world["a"].inside():
        assert await prober(world, opened, closed).round() == {opened: True, closed: True}


async def test_a_machine_that_is_not_there_has_no_port(world: World) -> None:
    target = Target(ABSENT, 7)
    with world["a"].inside():
        assert await prober(world, target, patience=0.2).round() == {target: False}


async def test_what_is_asked_goes_by_the_groups_own_interface(world: World) -> None:
    loopback = Target(world["a"].address)
    with world["a"].inside():
        assert await Prober([loopback], "nowhere", 1).round() == {loopback: False}


async def test_rounds_follow_one_another(world: World) -> None:
    b, seen = Target(world["b"].address, 8), 0
    with world["a"].inside():
        async for answered in prober(world, b, patience=0.05).rounds():
            seen += answered[b]
            if seen == 3:
                break


async def test_who_may_not_ping_is_told_what_to_do(world: World) -> None:
    world["c"].run("echo 1 0 > /proc/sys/net/ipv4/ping_group_range")
    with world["c"].inside(), pytest.raises(NotPermitted, match="ping_group_range"):
        await prober(world, Target(world["b"].address)).round()


@pytest.mark.parametrize("version", [4, 6])
def test_only_the_echo_of_the_question_is_an_answer(version: int) -> None:
    echo = HEADER.pack(REPLY[version], 0, 0, 0, 7) + TOKEN
    assert answers(version, echo, 7, TOKEN)
    assert answers(version, echo, 7 + (1 << 16), TOKEN)
    assert not answers(version, echo, 8, TOKEN)
    assert not answers(version, echo, 7, b"another!")
    assert not answers(version, HEADER.pack(REQUEST[version], 0, 0, 0, 7) + TOKEN, 7, TOKEN)


@given(st.sampled_from([4, 6]), st.binary(max_size=64), st.integers(0, 1 << 20))
def test_nothing_else_is(version: int, data: bytes, number: int) -> None:
    assert not answers(version, data, number, TOKEN) or data.endswith(TOKEN)
    assert not answers(version, request(version, number, TOKEN), number, TOKEN)
