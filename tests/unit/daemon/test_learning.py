"""What the sibling changed in what both remember is so here at once, not only after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.daemon.learning import learn
from appliance.exports.entries import Entry, Have
from appliance.exports.store import Store
from tests.unit.daemon.conftest import House
from tests.unit.daemon.test_gadgets import Daemon, daemon  # noqa: F401

STICK = {"definition": "keyboard", "name": "stick"}


class Sibling:
    """Its memory, which a test changes and then passes on."""

    def __init__(self, theirs: Store, ours: Store) -> None:
        self.store, self._ours = theirs, ours
        self.store.merge(*self._all_of(ours))

    def tell(self) -> set[str]:
        return self._ours.merge(*self._all_of(self.store))

    def _all_of(self, store: Store) -> tuple[list[Entry], Have]:
        entries, is_all = store.since({})
        assert is_all
        return entries, store.have()


@pytest.fixture
def memory() -> Iterator[Store]:
    store = Store(Path(":memory:"))
    yield store
    store.close()


async def test_a_rule_of_the_sibling_shares_and_unshares_here(house: House, memory: Store) -> None:
    sibling = Sibling(memory, house.hub.store)
    (before,) = house.hub.exports
    rule = memory.add_rule({"any": True, "exclude": True})
    await learn(house.hub, sibling.tell())
    assert list(house.hub.exports) == []
    memory.forget_rule(rule)
    await learn(house.hub, sibling.tell())
    assert [export.name for export in house.hub.exports] == [before.name]


async def test_a_rule_that_only_a_newer_twinhub_understands_is_left_out(house: House, memory: Store) -> None:
    sibling = Sibling(memory, house.hub.store)
    memory.add_rule({"any": True, "colour": "red"})
    await learn(house.hub, sibling.tell())
    assert [rule.id for rule in house.hub.exports.rules] == ["config-1", "config-2"]


async def test_a_device_has_the_name_here_that_it_had_there(house: House, memory: Store) -> None:
    sibling = Sibling(memory, house.hub.store)
    memory.remember_names({"46f4:0001:S9": "licence"})
    await learn(house.hub, sibling.tell())
    assert house.hub.exports._remembered["46f4:0001:S9"] == "licence"


async def test_a_gadget_of_the_sibling_comes_changes_and_goes(daemon: Daemon, memory: Store) -> None:  # noqa: F811
    await daemon.start("")
    hub = daemon.hub
    await hub.gadgets.add(STICK, keep=True)
    sibling = Sibling(memory, daemon.store)
    plain = memory.gadgets()["stick"]
    pid = daemon.pid("stick")

    memory.add_gadget("other", {**plain, "name": "other"})
    await learn(hub, sibling.tell())
    assert {export.name for export in hub.exports} == {"stick", "other"}
    assert daemon.pid("stick") == pid

    memory.add_gadget("stick", {**plain, "allow": ["10.0.0.1"]})
    memory.forget_gadget("other")
    await learn(hub, sibling.tell())
    (export,) = hub.exports
    assert (export.name, [str(network) for network in export.options.allow]) == ("stick", ["10.0.0.1/32"])
    assert daemon.pid("stick") not in (None, pid)
