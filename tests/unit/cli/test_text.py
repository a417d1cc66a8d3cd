"""Values as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cli.text import duration, plural, safe, size, table


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (2048, "2 KiB"),
        (5e8, "477 MiB"),
        (1 << 50, "1.02e+03 TiB"),
    ],
)
def test_sizes_have_three_digits(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (12_000, "3 h 20 min"),
        (93_784, "1 d 2 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_things_are_counted() -> None:
    assert [plural(count, "rule") for count in (0, 1, 2)] == ["no rules", "1 rule", "2 rules"]


def test_a_table_has_columns_and_a_dash_for_nothing() -> None:
    assert table(("A", "LONG"), [("xyz", None), ("", 1)], "none") == "A    LONG\nxyz  -\n-    1\n"
    assert table(("A",), [], "none") == "none\n"


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_shown(text: str) -> None:
    assert safe(text).isprintable()
    assert len(safe(text)) == len(text)


@given(st.lists(st.tuples(st.text(), st.none() | st.integers()), min_size=1, max_size=5))
def test_a_row_is_a_line_whatever_is_in_it(rows: list[tuple[str, int | None]]) -> None:
    assert len(table(("A", "B"), rows, "").splitlines()) == len(rows) + 1
