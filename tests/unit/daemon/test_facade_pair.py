"""The daemon's side of `twinhub pair`: what is asked reaches the pair, and the audit trail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.daemon.facade import Facade
from appliance.errors import Unavailable
from appliance.pair.pairing import Pair
from appliance.pair.port import listen
from appliance.pair.settings import PairTable
from appliance.security.identity import identity_in
from tests.unit.daemon.conftest import House


async def appliance(directory: Path) -> Pair:
    listeners = listen(["127.0.0.1"], 0)
    table = PairTable(("127.0.0.1",), listeners[0].getsockname()[1], (), 3.0)
    pair = Pair(identity_in(directory), table, directory.name)
    await pair.start(listeners)
    return pair


@pytest.fixture
async def pairs(tmp_path: Path) -> AsyncIterator[tuple[Pair, Pair]]:
    made = await appliance(tmp_path / "attic"), await appliance(tmp_path / "cellar")
    yield made
    for pair in made:
        await pair.close()


async def test_a_pair_is_made_and_ended_and_both_is_noted(house: House, pairs: tuple[Pair, Pair]) -> None:
    other, house.hub.pair = pairs
    facade = Facade(house.hub, [])
    told = await facade.pair_join("127.0.0.1", other.status()["port"], other.show_code()["code"])
    assert told["sibling"]["name"] == "attic"
    assert facade.pair()["sibling"] == told["sibling"]
    assert (await facade.unpair())["name"] == "attic"
    assert facade.pair_code()["code"]
    house.hub.close()
    noted = [(entry["action"], entry["target"]) for entry in facade.audit(10)]
    assert noted == [("pair", "attic"), ("unpair", "attic"), ("pair code", "cellar")]


async def test_a_daemon_without_a_pair_port_says_what_to_set(house: House) -> None:
    with pytest.raises(Unavailable, match=r"set `listen` in \[pair\]"):
        Facade(house.hub, []).pair()
