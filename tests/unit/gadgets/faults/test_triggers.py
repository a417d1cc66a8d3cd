"""When a fault fires, and when it is over; how faults come and go."""

from __future__ import annotations

import pytest

from appliance.errors import UsageError
from gadgets.faults.bus import Disconnect
from gadgets.faults.catalogue import AddFault, AnyFault, RemoveFault
from gadgets.faults.control import NoAnswer, Stall
from gadgets.faults.data import Corrupt, Delay, Drop, Nak, Short
from gadgets.faults.fault import Until
from gadgets.faults.faulty import Faulty
from gadgets.usb.device import BusEvent
from gadgets.usb.urb import Status
from tests.unit.gadgets.faults.hosts import (
    CLEAR_SOURCE,
    MS,
    SINK,
    SOURCE,
    data,
    faulty,
    fetch,
    heard,
    statuses,
)
from tests.unit.gadgets.host import Host, Say, Take


def lost(device: Faulty, host: Host, count: int) -> list[int]:
    """The numbers, from 1, of the OUT transfers that never came through."""
    for number in range(1, count + 1):
        host.submit(SINK, data=bytes((number,)))
    came = {message[0] for message in heard(device)}
    return [number for number in range(1, count + 1) if number not in came]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Drop(endpoint=SINK, nth=3), [3]),
        (Drop(endpoint=SINK, every=3), [3, 6, 9]),
        (Drop(endpoint=SINK, nth=2, every=3), [2, 5, 8]),
        (Drop(endpoint=SINK, nth=4, every=1, count=3), [4, 5, 6]),
        (Drop(endpoint=SINK, prefix=b"\x07"), [7]),
        (Drop(endpoint=SINK, chance=0), []),
        (Drop(endpoint=SOURCE), []),
        (Drop(count=2), [1, 2]),
    ],
)
def test_a_fault_fires_when_told(fault: AnyFault, expected: list[int]) -> None:
    host, device = faulty(fault)
    assert lost(device, host, 9) == expected


def test_chance_is_about_what_was_asked_and_the_same_for_the_same_seed() -> None:
    def run(seed: int) -> list[int]:
        host, device = faulty(Drop(endpoint=SINK, chance=0.25), seed=seed)
        return lost(device, host, 200)

    assert 30 <= len(run(1)) <= 70
    assert run(1) == run(1)
    assert run(1) != run(2)


def test_one_fault_does_not_disturb_the_chance_of_another() -> None:
    alone_host, alone = faulty(Drop(endpoint=SINK, chance=0.5, name="it"))
    host, device = faulty(Corrupt(1, endpoint=SOURCE, chance=0.5), Drop(endpoint=SINK, chance=0.5, name="it"))
    for _ in range(10):
        fetch(host, b"x")
    assert lost(device, host, 50) == lost(alone, alone_host, 50)


def test_a_time_beyond_all_clocks_is_never() -> None:
    host, device = faulty(Drop(endpoint=SINK, since=1e300), Disconnect(at=1e308))
    device.tick(10**18)
    assert lost(device, host, 3) == []
    assert device.plugged


def test_a_time_before_all_clocks_is_now() -> None:
    host, device = faulty(Nak(-1e308, endpoint=SINK), Delay(-1e308, endpoint=SOURCE))
    assert lost(device, host, 3) == []
    assert data(fetch(host, b"x")) == [b"x"]


def test_a_fault_may_have_any_name() -> None:
    host, device = faulty(Drop(endpoint=SINK, chance=0.5, name="\ud800"))
    assert len(lost(device, host, 64)) < 64


def test_a_fault_waits_for_its_window_of_time_after_the_attach() -> None:
    host, device = faulty(Drop(endpoint=SINK, since=1.0, before=2.0))
    assert device.wake_at == 0
    device.tick(100 * MS)
    assert device.wake_at == 1100 * MS
    host.submit(SINK, data=b"before")
    device.tick(1100 * MS)
    assert device.wake_at == 2100 * MS
    host.submit(SINK, data=b"within")
    device.tick(2100 * MS)
    assert device.wake_at is None
    host.submit(SINK, data=b"past")
    assert heard(device) == [b"before", b"past"]
    device.bus(BusEvent.ATTACH)
    assert device.wake_at == 0


def test_a_fault_waits_for_another() -> None:
    host, device = faulty(
        Drop(endpoint=SINK, nth=3, name="first"), Drop(endpoint=SINK, after="first", nth=2, name="second")
    )
    assert lost(device, host, 9) == [3, 5]


def test_a_deed_may_come_some_time_after_another_fault() -> None:
    host, device = faulty(Drop(endpoint=SINK, nth=2), Disconnect(at=2.0, after="drop"))
    host.submit(SINK, data=b"1")
    assert device.wake_at is None
    host.submit(SINK, data=b"2")
    assert device.wake_at == 0
    device.tick(100 * MS)
    assert device.wake_at == 2100 * MS
    device.tick(2100 * MS)
    assert not device.plugged


def test_a_fault_is_over_after_its_time() -> None:
    host, device = faulty(Drop(endpoint=SINK, lasting=1.0))
    host.submit(SINK, data=b"1")
    assert device.wake_at == 0
    device.tick(0)
    host.submit(SINK, data=b"2")
    assert device.wake_at == 1000 * MS
    device.tick(1000 * MS)
    host.submit(SINK, data=b"3")
    assert heard(device) == [b"3"]


@pytest.mark.parametrize("request_", ["00 09 0001 0000 0000", "21 ff 0000 0000 0000", "23 03 0004 0000 0000"])
def test_a_fault_is_over_when_the_host_resets(request_: str) -> None:
    host, device = faulty(Drop(endpoint=SINK, until=Until.RESET))
    host.submit(SINK, data=b"1")
    host.control(request_)
    if request_.startswith("23"):
        host.control("00 09 0001 0000 0000")
    host.submit(SINK, data=b"2")
    assert heard(device) == [b"2"]


def test_a_fault_is_over_when_the_host_clears_the_halt() -> None:
    host, _ = faulty(Stall(endpoint=SOURCE, until=Until.CLEAR))
    assert statuses(fetch(host, b"x")) == [Status.PIPE]
    host.control(CLEAR_SOURCE)
    assert data(host.submit(SOURCE, 64)) == [b"x"]


def test_a_request_is_matched_under_masks() -> None:
    host, _ = faulty(Stall(request_type=0xC0, request=0x5C, value=0x1200, value_mask=0xFF00))
    assert host.control("c0 5c 1234 0000 0006") is None
    assert host.control("c0 5c 1334 0000 0006") == b"answer"


# While it runs


def test_faults_are_added_listed_and_removed_while_the_device_runs() -> None:
    host, device = faulty()
    device.local(AddFault(Drop(endpoint=SINK)))
    device.local(AddFault(Drop(endpoint=SINK)))
    host.submit(SINK, data=b"1")
    assert device.faults() == [
        {"name": "drop", "kind": "drop", "endpoint": SINK, "fired": 1, "over": False},
        {"name": "drop-2", "kind": "drop", "endpoint": SINK, "fired": 0, "over": False},
    ]
    device.local(RemoveFault("drop"))
    device.local(RemoveFault())
    host.submit(SINK, data=b"2")
    assert heard(device) == [b"2"]


def test_a_transfer_in_flight_when_a_fault_is_added_is_not_spared() -> None:
    host, device = faulty()
    host.submit(SOURCE, 64)
    device.local(AddFault(Short(1)))
    assert data(device.local(Say(b"xyz"))) == [b"x"]


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (Drop(name="there"), "already"),
        (Drop(after="thre"), "did you mean 'there'"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_and_nothing_changes(fault: AnyFault, problem: str) -> None:
    _, device = faulty(Drop(name="there"))
    with pytest.raises(UsageError, match=problem):
        device.local(AddFault(fault))
    assert len(device.faults()) == 1


def test_a_device_has_no_end_of_faults_but_a_limit() -> None:
    _, device = faulty(*(Drop() for _ in range(256)))
    with pytest.raises(UsageError, match="at most 256"):
        device.local(AddFault(Drop()))


def test_a_source_that_loses_everything_does_not_lose_itself() -> None:
    host, device = faulty(Drop(endpoint=SOURCE))
    for _ in range(1500):
        device.local(Say(b"x"))
    assert host.submit(SOURCE, 64) == []
    assert device.unlink(host.number)


def test_a_transfer_that_waits_ends_when_the_host_goes() -> None:
    host, device = faulty(NoAnswer(endpoint=SINK, nth=1), Delay(1.0, endpoint=SOURCE))
    host.submit(SINK, data=b"1")
    host.submit(SINK, data=b"2")
    fetch(host, b"late")
    assert statuses(device.bus(BusEvent.DETACH)) == [Status.SHUTDOWN] * 3


def test_local_inputs_of_the_device_itself_go_through() -> None:
    host, device = faulty(Delay(1.0, endpoint=SINK))
    device.local(Take(False))
    assert host.submit(SINK, data=b"1") == []
    device.local(Take(True))
    assert heard(device) == [b"1"]
