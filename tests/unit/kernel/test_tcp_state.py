from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import PeerError, UsageError
from appliance.kernel.tcp import nudge
from appliance.kernel.tcp.segment import ACK, Segment, distance, seq
from appliance.kernel.tcp.state import Facts, Rebuild, rebuild_of, standpoint

NUMBERS = st.integers(0, 0xFFFFFFFF)
FACTS = Facts(("10.0.0.1", 3240), ("10.0.0.2", 50000), 1000, 5000, 1460, True, 7, 8, 123456)
JSON = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=4)


def answer(ack: int, number: int, stamps: tuple[int, int] | None = None) -> Segment:
    return Segment(FACTS.remote, FACTS.local, number, ack, ACK, 100, timestamps=stamps)


@given(NUMBERS, NUMBERS, st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_positions_are_the_facts_and_the_bytes_counted(
    seq_in: int, seq_out: int, bytes_in: int, bytes_out: int
) -> None:
    rebuild = rebuild_of(replace(FACTS, seq_in=seq_in, seq_out=seq_out), bytes_in, bytes_out, 0)
    assert (rebuild.rcv, rebuild.snd) == (seq(seq_in + bytes_in), seq(seq_out + bytes_out))


@given(st.integers(-1000, 1 << 60))
def test_the_timestamp_clock_never_goes_back(elapsed: int) -> None:
    clock = rebuild_of(FACTS, 0, 0, elapsed).clock
    assert clock is not None
    assert distance(123456, clock) > 0
    assert rebuild_of(replace(FACTS, timestamp=None), 0, 0, elapsed).clock is None


def test_an_answer_says_what_either_side_lacks() -> None:
    rebuild = rebuild_of(FACTS, 100, 900, 0)
    found = standpoint(rebuild, 500, answer(5000 + 700, 1000 + 148))
    assert (found.missing, found.unheard, found.window) == (200, 48, 100 << 7)


def test_a_client_that_has_seen_a_later_clock_is_believed() -> None:
    rebuild = rebuild_of(FACTS, 0, 0, 0)
    seen = seq(123456 + 90_000)
    clock = standpoint(rebuild, 0, answer(5000, 1000, (77, seen))).clock
    assert clock is not None
    assert distance(seen, clock) > 0


@pytest.mark.parametrize(
    ("ack", "number", "complaint"),
    [
        (5000 + 399, 1100, "lacks 501 bytes of ours, of which the last 500 are known"),
        (5000 + 901, 1100, "lacks -1 bytes"),
        (5000 + 900, 1099, "sent 1 bytes fewer"),
    ],
)
def test_where_bytes_are_gone_nothing_is_built(ack: int, number: int, complaint: str) -> None:
    with pytest.raises(PeerError, match=complaint):
        standpoint(rebuild_of(FACTS, 100, 900, 0), 500, answer(ack, number))


def test_a_client_is_told_that_what_was_lost_arrived_but_never_by_acknowledgement() -> None:
    rebuild = rebuild_of(FACTS, 100, 900, 0)
    client = standpoint(rebuild, 500, answer(5900, 1148))
    (first, all_of_it), (second, later) = nudge.segments(rebuild, client)
    assert (first.ack, all_of_it) == (1099, ((1100, 1148),))
    assert (second.ack, later) == (1100, ((1101, 1148),))


def test_a_client_without_selective_acknowledgement_is_left_to_its_timer() -> None:
    rebuild = rebuild_of(replace(FACTS, sack=False), 0, 0, 0)
    assert list(nudge.segments(rebuild, standpoint(rebuild, 0, answer(5000, 1048)))) == []


@given(NUMBERS, NUMBERS, st.none() | st.integers(0, 14), st.none() | NUMBERS)
def test_facts_and_rebuilds_survive_the_way(
    seq_in: int, seq_out: int, scale: int | None, clock: int | None
) -> None:
    facts = replace(FACTS, seq_in=seq_in, seq_out=seq_out, snd_wscale=scale, timestamp=clock)
    assert Facts.from_plain(json.loads(json.dumps(facts.to_plain()))) == facts
    rebuild = Rebuild(facts, seq_in, seq_out, clock)
    assert Rebuild.from_plain(json.loads(json.dumps(rebuild.to_plain()))) == rebuild


@given(st.sampled_from([*FACTS.to_plain(), "other"]), JSON)
def test_anything_else_is_refused(name: str, value: Any) -> None:
    plain = {**FACTS.to_plain(), name: value}
    for read in (
        Facts.from_plain,
        lambda x: Rebuild.from_plain({"facts": x, "rcv": 0, "snd": 0, "clock": value}),
    ):
        try:
            read(plain)
        except UsageError:
            pass
