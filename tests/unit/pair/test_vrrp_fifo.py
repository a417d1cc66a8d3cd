"""keepalived's FIFO becomes transitions, whatever is in it and however it is cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from appliance.pair.vrrp_fifo import LONGEST_LINE, State, Transition, Transitions

SAID = b"""INSTANCE "bench" BACKUP 150
INSTANCE "keys:2" FAULT 0
GROUP "both" MASTER 0
INSTANCE "bench" MASTER 150
INSTANCE "bench" STOP 150
"""
MEANT = [
    Transition("bench", State.BACKUP, 150),
    Transition("keys:2", State.FAULT, 0),
    Transition("bench", State.MASTER, 150),
    Transition("bench", State.STOP, 150),
]
SCRAPS = st.sampled_from([b"\n", b"INSTANCE ", b'"bench"', b" MASTER 1", b"\xff", b"x" * LONGEST_LINE, SAID])


def test_each_line_of_an_instance_is_a_transition() -> None:
    assert Transitions().feed(SAID) == MEANT


@given(st.lists(SCRAPS, max_size=12).map(b"".join), st.lists(st.integers(0, 4000), max_size=8))
def test_where_it_is_cut_makes_no_difference(data: bytes, cuts: list[int]) -> None:
    pieces = Transitions()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    told = [t for at, end in pairwise(places) for t in pieces.feed(data[at:end])]
    assert told == Transitions().feed(data)


@given(st.lists(st.binary(max_size=600), max_size=10))
def test_any_bytes_are_survived_in_bounded_memory(chunks: list[bytes]) -> None:
    transitions = Transitions()
    for chunk in chunks:
        transitions.feed(chunk)
        assert len(transitions._rest) <= LONGEST_LINE


def test_after_a_line_without_end_the_next_one_counts() -> None:
    transitions = Transitions()
    for _ in range(100):
        assert transitions.feed(b'INSTANCE "bench" MASTER 150' * 40) == []
    assert transitions.feed(b"\n" + SAID) == MEANT
