"""The sibling is remembered as it was, or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import TwinhubError, Unavailable, UsageError
from appliance.security.identity import identity_in
from appliance.security.sibling import (
    FILE,
    Sibling,
    forget_sibling,
    keep_sibling,
    parse_sibling,
    sibling_in,
)


@pytest.fixture
def sibling(tmp_path: Path) -> Sibling:
    return Sibling("attic", identity_in(tmp_path / "other").certificate, "192.0.2.7", 3242)


def test_it_is_remembered_until_it_is_forgotten(tmp_path: Path, sibling: Sibling) -> None:
    assert sibling_in(tmp_path) is None
    keep_sibling(tmp_path, sibling)
    assert sibling_in(tmp_path) == sibling
    forget_sibling(tmp_path)
    forget_sibling(tmp_path)
    assert sibling_in(tmp_path) is None


def test_its_node_is_that_of_its_certificate(tmp_path: Path, sibling: Sibling) -> None:
    assert sibling.node == identity_in(tmp_path / "other").node


@pytest.mark.parametrize(
    "change",
    [{"name": ""}, {"name": "a\nb"}, {"name": "x" * 65}, {"certificate": "rust"}, {"port": 0}, {"port": True},
     {"host": 7}, {"more": 1}],
)  # fmt: skip
def test_what_is_no_sibling_is_refused(sibling: Sibling, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        parse_sibling(asdict(sibling) | change)


def test_what_cannot_be_read_is_told_with_what_to_do(tmp_path: Path) -> None:
    for text in ("rust", "[]", "{}"):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(Unavailable, match="twinhub unpair"):
            sibling_in(tmp_path)


def test_where_nothing_can_be_written_it_is_said(tmp_path: Path, sibling: Sibling) -> None:
    with pytest.raises(Unavailable, match="cannot remember"):
        keep_sibling(tmp_path / "nowhere", replace(sibling, name="x"))


@given(
    st.dictionaries(
        st.sampled_from(["name", "certificate", "host", "port"]),
        st.text() | st.integers() | st.none() | st.lists(st.integers()),
    )
)
def test_anything_else_is_refused_in_words(said: dict[str, Any]) -> None:
    with pytest.raises(TwinhubError):
        parse_sibling(json.loads(json.dumps(said)))
