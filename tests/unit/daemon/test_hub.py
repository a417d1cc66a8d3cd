"""What is the case becomes what should be: binds, unbinds, mends."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock

import pytest

from appliance import __version__
from appliance.daemon.run import begin, end
from appliance.errors import Unavailable
from appliance.kernel.stub import DRIVER, StubStatus
from appliance.sessions.state import SessionSpec
from tests.unit.daemon.conftest import House

NOTHING = ""


def session(busid: str = "1-1", name: str = "disk") -> SessionSpec:
    return SessionSpec("s1", name, "relayed", "10.0.0.1:50000", 0.0, busid)


async def test_what_a_rule_shares_is_bound_and_what_none_shares_is_not(house: House) -> None:
    house.plug("1-2", serial="PRIVATE")
    await house.look()
    assert house.helper.driver_of("1-1") == DRIVER
    assert house.helper.driver_of("1-2") == "usb"


async def test_what_fails_is_told_once_and_mended_as_soon_as_it_can_be(house: House) -> None:
    house.plug("1-2", serial="S2")
    house.helper.stuck.add("1-2")
    async with house.hub.events.listen() as events:
        await house.look()
        await house.hub.settle()
        assert "does not let go" in house.hub.failures["1-2"]
        house.helper.stuck.clear()
        await house.hub.settle()
        told = [(await anext(events))["event"] for _ in range(2)]
    assert told == ["export.failed", "export.added"]
    assert house.hub.failures == {}
    assert house.helper.driver_of("1-2") == DRIVER


async def test_what_is_no_longer_shared_loses_its_session_and_gets_its_driver_back(house: House) -> None:
    rule = await house.hub.add_rule({"serial": "S1", "exclude": True})
    house.sessions.running["s1"] = session()
    await house.hub.settle()
    assert house.sessions.ended == [("disk", "unshared")]
    assert house.helper.driver_of("1-1") == "usb"
    await house.hub.forget_rule(rule.id)
    await house.hub.settle()
    assert house.helper.driver_of("1-1") == DRIVER


async def test_what_an_earlier_daemon_bound_is_given_back_if_the_rules_have_changed(house: House) -> None:
    house.restart(NOTHING)
    await begin(house.hub)
    assert house.helper.driver_of("1-1") == "usb"


async def test_what_others_bound_to_the_stub_is_theirs(house: House) -> None:
    house.plug("1-2", serial="PRIVATE", driver=DRIVER)
    await house.look()
    await house.hub.give_all_back()
    assert house.helper.driver_of("1-2") == DRIVER


async def test_a_port_that_the_stub_takes_again_after_an_unplug_is_given_back(house: House) -> None:
    house.unplug("1-1")
    await house.look()
    house.restart(NOTHING)
    house.plug("1-1", serial="S1", driver=DRIVER)
    await house.look()
    assert house.helper.driver_of("1-1") == "usb"


async def test_a_clean_end_gives_every_device_back_and_does_not_miss_one_that_is_gone(house: House) -> None:
    house.plug("1-2", serial="S2")
    await house.look()
    house.unplug("1-2")
    await house.inventory.refresh()
    await end(house.hub, asyncio.Event())
    assert house.helper.driver_of("1-1") == "usb"
    assert house.hub.failures == {}
    assert not house.sessions.left


async def test_a_daemon_that_is_to_leave_leaves_sessions_and_devices(house: House) -> None:
    leave = asyncio.Event()
    leave.set()
    await end(house.hub, leave)
    assert house.sessions.left
    assert house.helper.driver_of("1-1") == DRIVER


@pytest.mark.parametrize("has_survived", [True, False])
async def test_a_device_stays_in_use_after_a_restart_if_its_session_has_survived(
    house: House, has_survived: bool
) -> None:
    house.helper.set_status("1-1", StubStatus.USED)
    await house.inventory.refresh()
    house.restart()
    house.sessions.adoptable = [session()] if has_survived else []
    await begin(house.hub)
    expected = StubStatus.USED if has_survived else StubStatus.AVAILABLE
    assert await house.helper.status("1-1") is expected


async def test_adopted_workers_of_another_version_become_ours(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.restart()
    older, ours, stubborn = (
        SessionSpec(id, id, "relayed", "10.0.0.1:1", 0.0) for id in ("older", "ours", "stubborn")
    )
    house.sessions.adoptable = [older, ours, stubborn]
    house.sessions.versions = {"older": "0.0.1", "ours": __version__, "stubborn": "0.0.1"}
    tried = asyncio.Event()

    async def upgrade(session: str) -> str:
        if session == "stubborn":
            tried.set()
            raise Unavailable("it cannot")
        return __version__

    house.sessions.upgrade = AsyncMock(side_effect=upgrade)  # type: ignore[method-assign]
    await begin(house.hub)
    following = asyncio.create_task(house.hub.follow())
    await tried.wait()
    following.cancel()
    await asyncio.wait([following])
    assert [call.args for call in house.sessions.upgrade.await_args_list] == [("older",), ("stubborn",)]
    assert "session stubborn keeps the code it runs: it cannot" in caplog.text


async def test_a_device_is_available_as_soon_as_the_stub_has_reset_it(house: House) -> None:
    house.sessions.running["s1"] = session()
    house.helper.set_status("1-1", StubStatus.USED)
    await house.inventory.refresh()
    following = asyncio.create_task(house.hub.follow())
    changes = house.inventory.changes()
    await house.sessions.kick("s1", "over")
    await anext(changes)
    following.cancel()
    await asyncio.wait([following])
    assert house.inventory.devices["1-1"].usbip_status == StubStatus.AVAILABLE


async def test_what_happened_is_noted_in_the_audit_trail(house: House) -> None:
    house.sessions.running["s1"] = session()
    await house.sessions.kick("s1", "over")
    house.hub.close()
    (entry,) = house.store.audit(10)
    assert (entry.action, entry.target, entry.detail) == ("detach", "disk", "10.0.0.1:50000: over")
