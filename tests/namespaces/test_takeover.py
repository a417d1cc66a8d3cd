"""Whatever happens to one of the two, the client's devices go on: nothing lost, doubled or out of order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.namespaces.twins import Loads, Twins

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def pair() -> Iterator[Twins]:
    if not shutil.which("keepalived"):
        pytest.skip("keepalived is missing: apt-get install keepalived")
    with Twins() as twins:
        yield twins


@pytest.fixture
def loads(pair: Twins) -> Iterator[Loads]:
    pair.protected()
    with pair.loads() as loads:
        yield loads


def test_everything_on_the_master_is_killed(pair: Twins, loads: Loads) -> None:
    master, backup = pair.protected()
    loads.type(master, "typed before the blow")
    pair.kill(master)
    pair.becomes_master(backup)
    print("gap", loads.go_on())
    pair.start(master)
    assert pair.protected() == (backup, master)
    loads.go_on()


def test_the_master_freezes_and_comes_back_believing_it_is_master(pair: Twins, loads: Loads) -> None:
    master, backup = pair.protected()
    loads.type(master, "typed before it froze")
    pair.freeze(master)
    pair.becomes_master(backup)
    print("gap", loads.go_on())
    pair.thaw(master)
    loads.go_on()
    assert pair.protected() == (backup, master)
    loads.go_on()
