"""Everything in here needs namespaces, and says so where there are none."""

from __future__ import annotations

import os

import pytest

from tests.namespaces.world import why_not


@pytest.fixture(scope="session", autouse=True)
def namespaces() -> None:
    if reason := why_not():
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
