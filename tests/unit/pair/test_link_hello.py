"""What two daemons say first is checked, and both judge alike which connection stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.pair.hello import Candidate, Hello, agree, parse_hello, prefers

HELLO = Hello("a", "attic", "1", "0.1.0", 1, 2)


def test_a_hello_comes_back_and_may_say_more() -> None:
    assert parse_hello({**HELLO.to_json(), "new": []}) == HELLO


@given(
    st.none()
    | st.text()
    | st.dictionaries(
        st.sampled_from(["node", "name", "boot", "software", "oldest", "newest"]),
        st.text() | st.integers() | st.booleans() | st.none(),
    )
)
def test_anything_else_is_no_hello_or_is_one(said: Any) -> None:
    try:
        parse_hello(said)
    except ProtocolError:
        pass


@pytest.mark.parametrize("change", [{"name": "a\x1b"}, {"node": "x" * 65}, {"oldest": True}, {"boot": None}])
def test_what_is_improper_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse_hello(HELLO.to_json() | change)


@pytest.mark.parametrize(("theirs", "spoken"), [((1, 1), 1), ((2, 9), 2), ((1, 2), 2)])
def test_the_newest_version_that_both_know_is_spoken(theirs: tuple[int, int], spoken: int) -> None:
    assert agree(HELLO, Hello("b", "b", "1", "0.2.0", *theirs)) == spoken


def test_versions_too_far_apart_are_named() -> None:
    with pytest.raises(
        ProtocolError, match=r"attic runs Twinhub 0\.1\.0, which does not understand this one"
    ):
        agree(Hello("b", "b", "1", "2.0", 3, 4), HELLO)


candidates = st.builds(Candidate, st.sampled_from("ab"), st.just("1"))


@given(st.permutations([Candidate("a", "1"), Candidate("b", "1")]), st.permutations([0, 1]))
def test_of_two_that_were_dialled_at_once_both_keep_the_same(ours: list[Candidate], order: list[int]) -> None:
    def kept(arriving: list[Candidate]) -> Candidate | None:
        current = None
        for each in arriving:
            current = each if prefers(each, current) else current
        return current

    assert kept(ours) == kept([ours[n] for n in order]) == Candidate("a", "1")


@given(candidates, candidates)
def test_a_daemon_that_was_started_again_is_believed(new: Candidate, old: Candidate) -> None:
    assert prefers(Candidate(new.dialler, "2"), old)
    assert prefers(new, None)
