"""What each fault does to a device, as a host sees it."""

from __future__ import annotations

import pytest

from appliance.errors import UsageError
from gadgets.faults.bus import Disconnect, Flapping, Give, Reenumeration
from gadgets.faults.cable import Plugged, Replug, Unplugged
from gadgets.faults.catalogue import AnyFault, RemoveFault
from gadgets.faults.classes import StuckKey, WrongReportSize
from gadgets.faults.control import LongDescriptor, Malformed, NoAnswer, ShortDescriptor, Stall, WrongLength
from gadgets.faults.data import Babble, Corrupt, Delay, Drop, Duplicate, Nak, Short, Throttle
from gadgets.faults.events import FaultFailed, FaultFired
from gadgets.faults.faulty import Faulty
from gadgets.hid.keyboard import Press, TypeText, keyboard
from gadgets.usb.device import BusEvent
from gadgets.usb.shape import DescriptorType
from gadgets.usb.urb import SHORT_NOT_OK, Status
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
from tests.unit.gadgets.host import Host, Say, bench

GET_DEVICE = "80 06 0100 0000 0012"
GET_CONFIGURATION = "80 06 0200 0000 00ff"


# Requests


def test_a_stalled_request_is_refused_once_and_then_answered() -> None:
    host, _ = faulty(Stall(request_type=0xC0, request=0x5C, nth=1))
    assert host.control("c0 5c 0000 0000 0006") is None
    assert host.control("c0 5c 0000 0000 0006") == b"answer"


def test_a_stalled_endpoint_is_halted_until_the_host_clears_it_and_loses_nothing() -> None:
    host, _ = faulty(Stall(endpoint=SOURCE, nth=1))
    assert statuses(fetch(host, b"kept")) == [Status.PIPE]
    assert host.control("82 00 0000 0081 0002") == b"\x01\x00"
    assert statuses(host.submit(SOURCE, 64)) == [Status.PIPE]
    host.control(CLEAR_SOURCE)
    assert data(host.submit(SOURCE, 64)) == [b"kept"]


def test_an_unanswered_request_waits_until_it_is_unlinked_and_then_the_next_go_on() -> None:
    host, device = faulty(NoAnswer(request=0x5C, nth=1))
    assert host.control_later("c0 5c 0000 0000 0006") == []
    assert host.control_later("c0 5c 0000 0000 0006") == []
    assert host.control_later("40 5b 0000 0000 0001", b"x") == []
    assert device.wake_at is None
    assert device.unlink(host.number - 2)
    assert not device.unlink(host.number - 2)
    assert device.wake_at == 0
    assert data(device.tick(5)) == [b"answer", b""]


@pytest.mark.parametrize(
    ("by", "expected"), [(-2, (b"answ", 0)), (2, (b"answer", Status.OVERFLOW)), (-99, (b"", 0))]
)
def test_an_answer_has_another_length(by: int, expected: tuple[bytes, int]) -> None:
    host, _ = faulty(WrongLength(by, request=0x5C))
    (done,) = host.control_later("c0 5c 0000 0000 0006")
    assert (done.data, done.status) == expected


# Descriptors


def test_a_descriptor_is_malformed_where_told() -> None:
    host, _ = faulty(Malformed(DescriptorType.DEVICE, 8, b"\xad\xde"))
    answer = host.control(GET_DEVICE)
    assert answer is not None
    assert answer[8:10] == b"\xad\xde"
    assert answer[:8] + answer[10:] == Host(bench()[0]).control(GET_DEVICE)[:8] + answer[10:]  # type: ignore[index]


def test_a_descriptor_is_short() -> None:
    host, _ = faulty(ShortDescriptor(DescriptorType.CONFIGURATION, 9))
    assert len(host.control(GET_CONFIGURATION) or b"") == 9
    assert len(host.control(GET_DEVICE) or b"") == 18


def test_a_descriptor_claims_to_be_longer_and_then_is() -> None:
    whole = Host(bench()[0]).control(GET_CONFIGURATION) or b""
    host, _ = faulty(LongDescriptor(DescriptorType.CONFIGURATION, 10))
    head = host.control("80 06 0200 0000 0009") or b""
    assert int.from_bytes(head[2:4], "little") == len(whole) + 10
    assert (host.control(GET_CONFIGURATION) or b"")[9:] == whole[9:] + bytes(10)


def test_a_descriptor_without_a_total_length_lies_in_its_first_byte() -> None:
    host, _ = faulty(LongDescriptor(DescriptorType.DEVICE, 300))
    assert (host.control(GET_DEVICE) or b"")[0] == 255


# Data


def test_a_nak_holds_the_endpoint_for_its_time_and_then_all_goes_on_in_order() -> None:
    host, device = faulty(Nak(2.0, endpoint=SINK, nth=2))
    assert statuses(host.submit(SINK, data=b"1")) == [0]
    assert host.submit(SINK, data=b"2") == host.submit(SINK, data=b"3") == []
    assert device.wake_at == 0
    assert device.tick(100 * MS) == []
    assert device.wake_at == 2100 * MS
    assert device.tick(2099 * MS) == []
    assert statuses(device.tick(2100 * MS)) == [0, 0]
    assert heard(device) == [b"1", b"2", b"3"]


def test_a_transfer_unlinked_during_a_nak_takes_no_data_with_it() -> None:
    host, device = faulty(Nak(1.0, endpoint=SOURCE, nth=1))
    assert fetch(host, b"kept") == []
    assert device.unlink(host.number)
    assert device.tick(0) == []
    assert data(host.submit(SOURCE, 64)) == [b"kept"]


def test_delayed_answers_come_late_each_in_its_turn() -> None:
    host, device = faulty(Delay(0.010, endpoint=SOURCE, nth=1))
    assert fetch(host, b"first") == []
    assert fetch(host, b"second") == []
    assert device.tick(1 * MS) == []
    assert device.wake_at == 11 * MS
    assert data(device.tick(11 * MS)) == [b"first", b"second"]


def test_a_throttled_endpoint_moves_so_many_bytes_a_second() -> None:
    host, device = faulty(Throttle(1000, endpoint=SINK))
    host.submit(SINK, data=bytes(100))
    host.submit(SINK, data=bytes(100))
    assert device.tick(0) == []
    assert device.wake_at == 100 * MS
    assert len(device.tick(100 * MS)) == 1
    assert device.wake_at == 200 * MS
    assert len(device.tick(200 * MS)) == 1


def test_a_short_transfer_loses_its_end_and_may_be_an_error() -> None:
    host, _ = faulty(Short(3, endpoint=SOURCE))
    assert data(fetch(host, b"message")) == [b"mes"]
    assert statuses(fetch(host, b"message", flags=SHORT_NOT_OK)) == [Status.REMOTEIO]


def test_babble_fills_the_buffer_and_says_overflow() -> None:
    host, _ = faulty(Babble(endpoint=SOURCE))
    (done,) = fetch(host, b"x", 8)
    assert (done.status, done.data) == (Status.OVERFLOW, b"x" + bytes(7))


@pytest.mark.parametrize("endpoint", [SOURCE, SINK])
def test_corruption_flips_as_many_bits_as_told_the_same_ones_for_the_same_seed(endpoint: int) -> None:
    def run(seed: int) -> bytes:
        host, device = faulty(Corrupt(3, endpoint=endpoint), seed=seed)
        if endpoint == SOURCE:
            return fetch(host, bytes(64))[0].data
        host.submit(SINK, data=bytes(64))
        return heard(device)[0]

    assert 1 <= int.from_bytes(run(1), "big").bit_count() <= 3
    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_dropped_request_never_reaches_the_device_though_the_host_believes_it() -> None:
    host, device = faulty(Drop(endpoint=SINK, nth=2))
    for message in (b"1", b"2", b"3"):
        (done,) = host.submit(SINK, data=message)
        assert (done.status, done.actual_length) == (0, 1)
    assert heard(device) == [b"1", b"3"]


def test_a_dropped_answer_is_lost_and_the_transfer_gets_the_next() -> None:
    host, device = faulty(Drop(endpoint=SOURCE, nth=1))
    assert host.submit(SOURCE, 64) == []
    assert device.local(Say(b"lost")) == []
    assert data(device.local(Say(b"found"))) == [b"found"]


def test_a_duplicated_request_reaches_the_device_twice_and_completes_once() -> None:
    host, device = faulty(Duplicate(endpoint=SINK, nth=1))
    assert len(host.submit(SINK, data=b"x")) == 1
    assert heard(device) == [b"x", b"x"]


def test_a_duplicated_answer_comes_again_with_the_next_transfer_waiting_or_not() -> None:
    host, device = faulty(Duplicate(endpoint=SOURCE, every=1))
    host.submit(SOURCE, 64)
    host.submit(SOURCE, 64)
    assert data(device.local(Say(b"x"))) == [b"x", b"x"]
    assert data(fetch(host, b"y")) == [b"y"]
    assert data(host.submit(SOURCE, 64)) == [b"y"]


# Classes


def keys(*faults: AnyFault) -> tuple[Host, Faulty]:
    device = Faulty(keyboard(), faults)
    return Host(device), device


def test_a_stuck_key_is_down_in_every_report() -> None:
    host, device = keys(StuckKey("a"), StuckKey("leftshift"))
    device.local(Press(("b",)))
    assert data(host.submit(SOURCE, 8)) == [bytes.fromhex("0200050400000000")]


def test_a_report_has_the_wrong_size() -> None:
    host, device = keys(WrongReportSize(3))
    device.local(TypeText("x"))
    assert data(host.submit(SOURCE, 8)) == [bytes(2) + b"\x1b"]


# The cable


def test_a_disconnect_ends_all_transfers_and_tells_the_driver_and_comes_back_in_time() -> None:
    host, device = faulty(Disconnect(2.0, endpoint=SINK, nth=2))
    host.submit(SOURCE, 64)
    host.submit(SINK, data=b"1")
    device.take_events()
    assert sorted(statuses(host.submit(SINK, data=b"2"))) == [Status.SHUTDOWN, Status.NODEV]
    events = [told.event for told in device.take_events()]
    assert events[0] == FaultFired("disconnect", "disconnect", 1, host.number, SINK)
    assert Unplugged() in events
    assert not device.plugged
    assert statuses(host.submit(SINK, data=b"3")) == [Status.NODEV]
    assert device.bus(BusEvent.ATTACH) == []
    assert device.tick(0) == []
    assert device.wake_at == 2000 * MS
    device.tick(2000 * MS)
    assert device.plugged
    assert [told.event for told in device.take_events()] == [Plugged()]
    device.bus(BusEvent.ATTACH)
    Host(device)
    assert statuses(host.submit(SINK, data=b"4")) == [0]


def test_a_device_that_was_pulled_out_for_good_comes_back_by_hand() -> None:
    host, device = faulty(Disconnect(0, nth=2))
    host.submit(SINK, data=b"1")
    assert device.wake_at is None
    with pytest.raises(UsageError, match="no fault 'x'"):
        device.local(RemoveFault("x"))
    device.local(Replug())
    assert device.plugged
    with pytest.raises(UsageError, match="plugged in already"):
        device.local(Replug())


def test_a_loose_contact_goes_and_comes_so_many_times() -> None:
    _, device = faulty(Flapping(2, 0.5, 1.0, at=0))
    device.take_events()
    seen, now = [], 0
    while (at := device.wake_at) is not None:
        now = max(now, at)
        device.tick(now)
        seen += [(now, type(told.event)) for told in device.take_events()]
    assert [(when, kind) for when, kind in seen if kind is not FaultFired] == [
        (0, Unplugged),
        (500 * MS, Plugged),
        (1500 * MS, Unplugged),
        (2000 * MS, Plugged),
    ]


def test_a_device_comes_back_under_another_serial_number() -> None:
    _, device = faulty(Reenumeration("4711", 1.0, at=0))
    device.tick(0)
    device.tick(0)
    device.tick(1000 * MS)
    device.bus(BusEvent.ATTACH)
    host = Host(device)
    index = device.device_descriptor.serial_index
    assert device.string(index) == "4711"
    assert host.control(f"80 06 03{index:02x} 0409 00ff") == b"\x0a\x03" + "4711".encode("utf-16-le")


def test_a_device_without_a_serial_number_cannot_get_another() -> None:
    with pytest.raises(UsageError, match="give it one"):
        Faulty(keyboard(), [Reenumeration("1")])


# Local inputs


def test_a_local_input_is_given_when_the_fault_fires() -> None:
    device = Faulty(keyboard(), [Give({"press": ["a"]}, endpoint=SOURCE, nth=1)])
    assert data(Host(device).submit(SOURCE, 8)) == [bytes.fromhex("0000040000000000")]


def test_a_local_input_that_is_refused_is_told() -> None:
    device = Faulty(keyboard(), [Give(Press(("a",)), at=1.0)])
    device.tick(0)
    device.tick(1000 * MS)
    events = [told.event for told in device.take_events()]
    assert isinstance(events[1], FaultFailed)
    assert "no host" in events[1].reason


def test_a_local_input_that_the_device_does_not_know_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="did you mean 'press'"):
        Faulty(keyboard(), [Give({"pres": ["a"]})])
