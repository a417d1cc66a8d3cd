"""A share of the fuzz run; `make soak` does the whole."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from appliance.errors import ProtocolError
from tests.fuzz import report
from tests.fuzz.harness import GROWTH, Result, Tally, parser, part, soak
from tests.fuzz.targets import TARGETS

COUNT = 2000
ACCEPTS_ALL = {"endpoints", "sysfs-descriptors", "gadget", "faults", "hid", "disk", "serial"}


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_inputs_do_no_harm(name: str) -> None:
    count = part(TARGETS[name], COUNT)
    result = soak(TARGETS[name], count, seed=2)
    assert result.fine
    assert result.tally.inputs == count
    assert result.tally.rejected < count, "no input gets anywhere"
    assert (result.tally.rejected > 0) == (name not in ACCEPTS_ALL)


def judge(random: Random, given: int) -> None:
    if given < 10:
        raise ProtocolError("too small")
    assert given != 42


def test_an_input_is_taken_or_rejected_and_all_else_is_a_crash_that_can_be_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = parser("number", lambda random: random.choice((5, 20, 42)), judge, (ProtocolError,))
    tally = target.run(1, range(60), lambda _: None)
    assert tally.inputs == 60
    assert tally.crashes
    assert tally.rejected
    again = capsys.readouterr().err.splitlines()[-1].split()
    assert again[-6:-3] == ["--seed", "1", "--first"]
    number = int(again[-3])
    assert target.run(1, range(number, number + 1), lambda _: None) == Tally(1, 0, 1)


def test_a_run_that_takes_too_much_memory_is_not_fine() -> None:
    assert Result("one", Tally(1), 1.0, GROWTH - 1).fine
    assert not Result("one", Tally(1), 1.0, GROWTH).fine


def test_the_page_tells_what_was_run_and_what_came_of_it(tmp_path: Path) -> None:
    report.write([Result("one", Tally(20_000, 7, 1), 2.5, 3 << 20)], "the run", tmp_path / "soak.md")
    text = (tmp_path / "soak.md").read_text()
    assert "the run" in text
    assert "| one | 20,000 | 7 | 1 | 2.5 | 3.0 MiB |" in text
