"""What the daemon and the keeper of keepalived say to each other; the keeper, root, trusts none of it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import UsageError
from appliance.pair.keepalived import FAULT, FIT, MOST, Instance, Link
from appliance.pair.keeper_messages import (
    MAX_MESSAGE,
    Alive,
    Configure,
    Report,
    Said,
    encode,
    parse_said,
    parse_told,
)
from appliance.pair.vrrp_fifo import State, Transition

BENCH = Instance("bench", 9, "eth0", "192.168.7.100/24", 150, 0.02)
CONFIGURE = Configure(Link("192.168.7.1", "192.168.7.2"), (BENCH,), 3.0)
KEYS = st.sampled_from(["configure", "report", "alive", "groups", "own", "sibling", "stall", "delta", "name"])
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("said", [CONFIGURE, Report("bench", FAULT), Report("bench", FIT), Alive()])
def test_what_the_daemon_says_arrives(said: Said) -> None:
    assert parse_said(encode(said)) == said


@pytest.mark.parametrize("state", State)
def test_what_the_keeper_says_arrives(state: State) -> None:
    assert parse_told(encode(Transition("bench", state, 150))) == Transition("bench", state, 150)


def test_all_the_groups_that_there_may_be_fit_into_a_message() -> None:
    groups = tuple(
        replace(
            BENCH, name=f"{'g' * 28}-{n}", interface="i" * 15, address=f"2001:db8:{'abcd:' * 5}{n + 1:x}/128"
        )
        for n in range(MOST)
    )
    link = Link("2001:db8::1", "2001:db8::2")
    assert len(encode(Configure(link, groups, 3.0))) <= MAX_MESSAGE


@pytest.mark.parametrize(
    "wrong",
    [
        {"configure": {"own": "192.168.7.1", "sibling": "192.168.7.1"}},
        {"configure": {"own": "192.168.7.1/24", "sibling": "192.168.7.2"}},
        {"configure": {"own": "::1", "sibling": "::2"}},
        {"stall": 0},
        {"stall": 61},
        {"groups": [{"name": "bench"}]},
        {"groups": json.loads(encode(CONFIGURE))["groups"] * 2},
        {"further": 1},
    ],
)
def test_a_configuration_that_is_wrong_is_refused_as_a_whole(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        parse_said(json.dumps(json.loads(encode(CONFIGURE)) | wrong).encode())


@pytest.mark.parametrize("delta", [FAULT - 1, 255, 1.5, "0", None])
def test_a_delta_is_what_keepalived_can_add(delta: object) -> None:
    with pytest.raises(UsageError):
        parse_said(json.dumps({"report": "bench", "delta": delta}).encode())


@given(st.binary(max_size=80) | PLAIN.map(lambda found: json.dumps(found).encode()))
def test_anything_else_is_refused_and_breaks_nothing(data: bytes) -> None:
    for parse in (parse_said, parse_told):
        with suppress(UsageError):
            parse(data)
