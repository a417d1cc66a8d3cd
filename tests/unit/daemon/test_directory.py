"""What clients see and what an import sets off."""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import replace

import pytest

from appliance.daemon.directory import HubDirectory, HubGrant, protectable
from appliance.errors import Busy, DeviceFailed, NotFound, Refused, Unavailable
from appliance.kernel.stub import StubStatus
from appliance.sessions.state import SessionSpec
from appliance.usbip.server import Address
from tests.unit.daemon.conftest import HERE, THERE, House


@pytest.fixture
def refusals() -> Counter[str]:
    return Counter()


@pytest.fixture
def directory(house: House, refusals: Counter[str]) -> HubDirectory:
    return HubDirectory(house.hub, refusals)


@pytest.fixture
def name(house: House) -> str:
    """Of the one export."""
    (export,) = house.hub.exports
    return export.name


async def hold(house: House, directory: HubDirectory, name: str, peer: Address, sock: socket.socket) -> None:
    """A session of `peer`'s runs."""
    grant = await directory.open(name, peer)
    await grant.start(sock)
    (session,) = house.sessions.running
    house.sessions.running[session] = replace(house.sessions.running[session], peer=f"{peer}:50000")


def take_over(house: House, how: str) -> None:
    """A daemon comes up whose rule says so."""
    house.restart(f'[[share]]\nany = true\ntake_over = "{how}"')


def test_only_loopback_and_named_networks_are_admitted(
    directory: HubDirectory, refusals: Counter[str]
) -> None:
    assert directory.admit(HERE)
    assert not directory.admit(type(HERE)("192.0.2.1"))
    assert refusals == {"NotAdmitted": 1}


async def test_what_is_free_is_listed(house: House, directory: HubDirectory, name: str) -> None:
    assert [record.busid for record in directory.list(HERE)] == [name]
    house.helper.set_status("1-1", StubStatus.USED)
    await house.look()
    assert directory.list(HERE) == []


async def test_of_two_clients_that_import_at_once_the_second_is_told_that_it_is_busy(
    directory: HubDirectory, refusals: Counter[str], name: str
) -> None:
    await directory.open(name, HERE)
    with pytest.raises(Busy, match="just being given"):
        await directory.open(name, HERE)
    assert directory.list(HERE) == []
    assert refusals == {"Busy": 1}


async def test_a_client_that_leaves_before_its_session_begins_frees_the_name(
    directory: HubDirectory, name: str
) -> None:
    (await directory.open(name, HERE)).cancel()
    (await directory.open(name, THERE)).cancel()
    assert [record.busid for record in directory.list(HERE)] == [name]


async def test_a_session_that_does_not_start_frees_the_name(
    house: House, directory: HubDirectory, name: str, client: socket.socket
) -> None:
    house.sessions.failure = Unavailable("no process")
    grant = await directory.open(name, HERE)
    with pytest.raises(Unavailable):
        await grant.start(client)
    house.sessions.failure = None
    await (await directory.open(name, HERE)).start(client)
    assert [spec.name for spec in house.sessions.all()] == [name]


async def test_a_session_knows_its_device(
    house: House, directory: HubDirectory, name: str, client: socket.socket
) -> None:
    grant = await directory.open(name, HERE)
    assert isinstance(grant, HubGrant)
    await grant.start(client)
    (spec,) = house.sessions.all()
    device = house.inventory.devices["1-1"]
    assert (spec.kind, spec.busid, spec.devid) == ("relayed", "1-1", device.busnum << 16 | device.devnum)
    assert spec.descriptors[:2] == b"\x12\x01", "a device descriptor comes first"
    assert spec.peer.startswith("127.0.0.1:")


async def test_the_same_host_may_come_back_for_what_it_holds(
    house: House, directory: HubDirectory, name: str, client: socket.socket
) -> None:
    await hold(house, directory, name, HERE, client)
    await directory.open(name, HERE)
    assert house.sessions.ended == [(name, "taken over by 10.0.0.1")]


async def test_another_host_is_told_who_holds_it_and_how_to_end_that(
    house: House, directory: HubDirectory, name: str, client: socket.socket
) -> None:
    await hold(house, directory, name, HERE, client)
    with pytest.raises(Busy, match=r"in use by 10\.0\.0\.1.*twinhub kick"):
        await directory.open(name, THERE)
    assert house.sessions.ended == []


@pytest.mark.parametrize(("how", "peer", "is_taken"), [("anyone", THERE, True), ("never", HERE, False)])
async def test_the_rule_says_who_may_take_over(
    house: House, name: str, client: socket.socket, how: str, peer: Address, is_taken: bool
) -> None:
    take_over(house, how)
    await house.hub.settle()
    directory = HubDirectory(house.hub, Counter())
    await hold(house, directory, name, HERE, client)
    if is_taken:
        await directory.open(name, peer)
    else:
        with pytest.raises(Busy):
            await directory.open(name, peer)
    assert len(house.sessions.ended) == is_taken


async def test_a_device_that_could_not_be_bound_says_why(house: House, directory: HubDirectory) -> None:
    house.helper.stuck.add("1-2")
    house.plug("1-2", serial="S2")
    await house.look()
    assert len(directory.list(HERE)) == 1
    with pytest.raises(DeviceFailed, match="does not let go"):
        await directory.open("1-2", HERE)


async def test_there_are_no_more_sessions_than_the_limit_allows(
    house: House, directory: HubDirectory, name: str, client: socket.socket
) -> None:
    house.hub.config = replace(house.config, limits=replace(house.config.limits, sessions=1))
    house.plug("1-2", serial="S2")
    await house.look()
    await hold(house, directory, name, HERE, client)
    with pytest.raises(Unavailable, match=r"\[limits\] sessions"):
        await directory.open("1-2", HERE)


async def test_a_refusal_is_counted_and_told(
    house: House, directory: HubDirectory, refusals: Counter[str]
) -> None:
    async with house.hub.events.listen() as events:
        with pytest.raises(NotFound):
            await directory.open("nothing", HERE)
        event = await anext(events)
    assert (event["event"], event["export"], event["client"]) == ("import.refused", "nothing", "10.0.0.1")
    assert refusals == {"NotFound": 1}


async def test_who_may_not_use_an_export_neither_sees_nor_gets_it(house: House, name: str) -> None:
    house.restart('[[share]]\nany = true\nallow = ["10.0.0.2"]')
    await house.hub.settle()
    directory = HubDirectory(house.hub, Counter())
    assert directory.list(HERE) == []
    with pytest.raises(Refused, match="rule config-1"):
        await directory.open(name, HERE)
    assert len(directory.list(THERE)) == 1


def test_a_device_that_moves_between_appliances_is_relayed_and_has_one_address() -> None:
    spec = SessionSpec(id="a", name="disk", kind="direct", peer="10.0.0.2:50000", started=1.0, busid="1-1")
    assert protectable(spec, {"facts": {}}, HERE).kind == "relayed"
    with pytest.raises(Unavailable, match=f"attach it at {HERE}"):
        protectable(spec, None, HERE)
