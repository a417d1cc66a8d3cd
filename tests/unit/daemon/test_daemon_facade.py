"""What the API is told and what it sets off."""

from __future__ import annotations

import pytest

from appliance.daemon.facade import Facade
from appliance.errors import NotFound, TwinhubError
from appliance.kernel.stub import DRIVER
from appliance.sessions.state import SessionSpec
from tests.unit.daemon.conftest import House


@pytest.fixture
def facade(house: House) -> Facade:
    return Facade(house.hub, ["127.0.0.1:3240"])


def use(house: House) -> SessionSpec:
    (export,) = house.hub.exports
    spec = SessionSpec("s1", export.name, "direct", "10.0.0.1:50000", 0.0, "1-1")
    house.sessions.running[spec.id] = spec
    return spec


async def test_a_shared_device_and_its_export_name_each_other(facade: Facade) -> None:
    (export,) = facade.exports()
    device = next(each for each in facade.devices() if each["busid"] == "1-1")
    assert device["share"] == {"export": export["name"], "state": "available", "rule": export["rule"]}
    assert (export["busid"], export["session"]) == ("1-1", None)


async def test_a_device_that_is_not_shared_says_why(house: House, facade: Facade) -> None:
    house.plug("1-2", serial="PRIVATE")
    await house.look()
    (device,) = (each for each in facade.devices() if each["busid"] == "1-2")
    assert device["share"] is None
    assert "excluded" in device["why_not"]


async def test_a_device_that_could_not_be_bound_says_why(house: House, facade: Facade) -> None:
    house.plug("1-2", serial="S2")
    house.helper.stuck.add("1-2")
    await house.look()
    (device,) = (each for each in facade.devices() if each["busid"] == "1-2")
    assert device["share"]["state"] == "error"
    assert "does not let go" in device["why_not"]


async def test_a_session_is_told_with_its_export_and_a_direct_one_without_figures(
    house: House, facade: Facade
) -> None:
    spec = use(house)
    (told,) = await facade.sessions()
    assert (told["id"], told["export"], told["mode"], told["stats"]) == ("s1", spec.name, "direct", None)
    assert [export["state"] for export in facade.exports()] == ["in use"]


async def test_a_kick_ends_every_session_of_its_target_and_is_counted(house: House, facade: Facade) -> None:
    spec = use(house)
    (kicked,) = await facade.kick(spec.name, "enough")
    assert kicked["id"] == "s1"
    assert house.sessions.ended == [(spec.name, "enough")]
    with pytest.raises(NotFound, match="twinhub sessions"):
        await facade.kick(spec.name, "again")


async def test_sharing_takes_effect_before_the_answer_and_is_remembered(house: House) -> None:
    house.restart("")
    await house.hub.settle()
    assert house.helper.driver_of("1-1") == "usb"
    facade = Facade(house.hub, [])
    told = await facade.share({"busid": "1-1"})
    assert [export["busid"] for export in told["exports"]] == ["1-1"]
    assert house.helper.driver_of("1-1") == DRIVER
    assert [rule["id"] for rule in Facade(house.restart(), []).rules()] == [told["rule"]["id"]]

    facade = Facade(house.hub, [])
    await house.hub.settle()
    await facade.unshare("1-1")
    assert facade.rules() == []
    assert house.helper.driver_of("1-1") == "usb"


async def test_a_rule_that_makes_no_sense_is_not_remembered(facade: Facade) -> None:
    before = facade.rules()
    with pytest.raises(TwinhubError):
        await facade.share({"busid": "7-7"})
    assert facade.rules() == before


async def test_status_counts_what_there_is(house: House, facade: Facade) -> None:
    use(house)
    status = await facade.status()
    assert status["listen"] == ["127.0.0.1:3240"]
    assert status["counts"]["exports"] == status["counts"]["sessions"] == 1
    assert status["helper"]
