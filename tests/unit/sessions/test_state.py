"""A session as a value."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import UsageError
from appliance.sessions.endpoints import Selection
from appliance.sessions.state import KINDS, HalfState, PendingUrb, SessionSpec, SessionState
from gadgets.usb.urb import Speed
from tests.unit.sessions.pdus import spec

number = st.integers(0, (1 << 32) - 1)
halves = st.builds(HalfState, st.binary(max_size=100), number, number, number)
selections = st.builds(
    Selection, st.integers(0, 255), st.lists(st.tuples(st.integers(0, 31), st.integers(0, 255))).map(tuple)
)
specs = st.builds(
    SessionSpec,
    id=st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True),
    name=st.text(),
    kind=st.sampled_from(KINDS),
    peer=st.text(),
    started=st.floats(0, 1e10),
    busid=st.text(),
    devid=number,
    speed=st.sampled_from(Speed),
    configuration=st.integers(0, 255),
    descriptors=st.binary(max_size=100),
    serial=st.text(),
    idle_seconds=st.none() | st.floats(0.1, 1e6),
    gadget=st.text(),
)
states = st.builds(
    SessionState,
    spec=specs,
    selection=selections,
    pending=st.lists(st.builds(PendingUrb, *[number] * 7, st.binary(max_size=100))).map(tuple),
    unlinks=st.dictionaries(number, number),
    undo=st.dictionaries(number, selections),
    up=halves,
    down=halves,
    answers=st.binary(max_size=100),
    dropped=number,
    history=st.lists(st.binary(max_size=20)).map(tuple),
    complete=st.booleans(),
    unsettled=st.lists(number).map(tuple),
    consumed=number,
    produced=number,
    counters=st.dictionaries(st.text(), st.dictionaries(st.text(), number)),
    facts=st.dictionaries(st.text(), number),
    gate=st.text(),
)


@given(states)
def test_a_state_survives_being_written_down(state: SessionState) -> None:
    assert SessionState.from_json(state.to_json()) == state


def test_a_state_of_another_version_is_refused() -> None:
    older = json.loads(SessionState.begin(spec()).to_json()) | {"version": 1}
    with pytest.raises(UsageError, match="version 1, this Twinhub reads version 2"):
        SessionState.from_json(json.dumps(older))


@pytest.mark.parametrize(
    "bad",
    [b"", b"\xff", "[" * 3000, "[]", '{"version": 2}', '{"version": 2, "spec": {"id": 5}}', '"text"'],
    ids=["nothing", "no text", "too deep", "a list", "no spec", "a number for an id", "a string"],
)
def test_what_is_no_state_is_refused(bad: str | bytes) -> None:
    with pytest.raises(UsageError):
        SessionState.from_json(bad)


def test_a_session_begins_with_the_configuration_that_the_device_has() -> None:
    assert SessionState.begin(spec(configuration=3)).selection == Selection(3)


@pytest.mark.parametrize("bad", ["", "../x", "A", "x" * 33, "a.sock"])
def test_an_id_that_is_no_file_name_is_refused(bad: str) -> None:
    with pytest.raises(UsageError):
        spec(id=bad)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError):
        spec(kind="borrowed")
