"""What a session says to the gate of its client's connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import Unavailable, UsageError
from appliance.kernel.gate.messages import Commit, LetGo, Register
from appliance.kernel.tcp.state import Facts
from appliance.loop import Ended
from appliance.sessions.guard import Unguarded, guard_of
from tests.unit.kernel.fakegate import FakeGate

FACTS = Facts(("192.0.2.10", 3240), ("192.0.2.1", 50000), 1000, 2000, 1460, True, 7, 7, 123456)
CONNECTION = FACTS.local, FACTS.remote


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[FakeGate]:
    gate = FakeGate(tmp_path / "gate")
    yield gate
    if gate.path.exists():
        gate.die()


def test_a_connection_is_registered_where_it_stands_and_let_go_in_the_end(gate: FakeGate) -> None:
    guard = guard_of(FACTS.to_plain(), str(gate.path), 7)
    guard.commit(9)
    guard.let_go()
    guard.close()
    assert [gate.next() for _ in range(3)] == [Register(CONNECTION, 1000, 7), Commit(9), LetGo()]


def test_a_gate_that_was_restarted_is_told_of_the_connection_again(gate: FakeGate) -> None:
    guard = guard_of(FACTS.to_plain(), str(gate.path))
    gate.die()
    gate.start()
    guard.commit(9)
    guard.let_go()
    guard.close()
    assert [gate.next() for _ in range(3)] == [
        Register(CONNECTION, 1000, 0), Register(CONNECTION, 1000, 9), LetGo(),
    ]  # fmt: skip


def test_without_a_gate_the_session_is_over(gate: FakeGate) -> None:
    guard = guard_of(FACTS.to_plain(), str(gate.path))
    gate.die()
    with pytest.raises(Ended, match="no gate answers"):
        guard.commit(9)
    guard.let_go()
    guard.close()


def test_no_session_begins_unguarded_where_the_gate_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        guard_of(FACTS.to_plain(), str(tmp_path / "gate"))


def test_a_client_of_another_address_needs_no_gate() -> None:
    assert isinstance(guard_of({}, None), Unguarded)


@pytest.mark.parametrize(("facts", "gate"), [(FACTS.to_plain(), None), ({"mss": 1}, "gate")])
def test_what_is_no_guard_is_refused(facts: dict[str, Any], gate: object) -> None:
    with pytest.raises(UsageError):
        guard_of(facts, gate)
