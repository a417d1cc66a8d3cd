"""Everything in here needs namespaces, and says so where there are none."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.namespaces.twins import Twins, missing
from tests.namespaces.world import why_not


@pytest.fixture(scope="session", autouse=True)
def namespaces() -> None:
    if reason := why_not():
        do_without(reason)


@pytest.fixture(scope="module")
def pair() -> Iterator[Twins]:
    if reason := missing():
        do_without(reason)
    with Twins() as twins:
        yield twins


def do_without(reason: str) -> None:
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
