"""Data endpoints, bus events and the composite device."""

from __future__ import annotations

import pytest

from appliance.errors import Unavailable, UsageError
from gadgets.usb.compose import compose
from gadgets.usb.device import MAX_EVENTS, BusEvent, Configured, To, Told, WakeUp
from gadgets.usb.pipes import MAX_PARKED
from gadgets.usb.urb import SHORT_NOT_OK, ZERO_PACKET, Completion, IsoPacket, Speed, Status, TransferType
from tests.unit.gadgets.host import IDENTITY, Bench, Host, Say, Take, bench, iso, setup_of

IN, OUT, ISO_IN, ISO_OUT = 0x81, 0x01, 0x82, 0x02


@pytest.fixture
def host() -> Host:
    return Host(bench(remote_wakeup=True)[0])


def heard(host: Host) -> list[bytes]:
    function = host.device.functions[0]
    assert isinstance(function, Bench)
    return function.heard


# IN


def test_an_in_transfer_waits_for_data(host: Host) -> None:
    assert host.submit(IN, 512) == []
    assert host.device.local(Say(b"hello")) == [Completion(host.number, 0, 5, b"hello")]


def test_parked_transfers_complete_first_in_first_out(host: Host) -> None:
    numbers = [host.number + n for n in (1, 2, 3)]
    for _ in numbers:
        host.submit(IN, 512)
    done = [c for word in (b"a", b"b", b"c") for c in host.device.local(Say(word))]
    assert [(c.number, c.data) for c in done] == list(zip(numbers, (b"a", b"b", b"c"), strict=True))


def test_data_waits_for_transfers_too(host: Host) -> None:
    for word in (b"a", b"b"):
        assert host.device.local(Say(word)) == []
    assert [host.submit(IN, 512)[0].data for _ in range(2)] == [b"a", b"b"]


def test_a_long_message_goes_on_in_the_next_transfer_but_never_shares_one(host: Host) -> None:
    host.device.local(Say(bytes(1300)))
    host.device.local(Say(b"next"))
    assert [host.submit(IN, 512)[0].actual_length for _ in range(4)] == [512, 512, 276, 4]


class Filling(Bench):
    """Says `said`, then answers `filled`, to each transfer that finds nothing queued."""

    said, filled = b"", b""

    def fill(self, endpoint: int, length: int) -> bytes:
        if self.said:
            self.send(endpoint, self.said)
        return self.filled


def filling(said: bytes, filled: bytes) -> Host:
    function = Filling()
    function.said, function.filled = said, filled
    return Host(compose(IDENTITY, [function]))


def test_a_function_may_give_a_message_when_asked_as_long_as_it_likes() -> None:
    host = filling(b"", b"x" * 600)
    assert [host.submit(IN, 512)[0].actual_length for _ in range(4)] == [512, 88, 512, 88]


@pytest.mark.parametrize("filled", [b"then", b""])
def test_what_a_function_says_while_asked_goes_before_what_it_gives(filled: bytes) -> None:
    host = filling(b"first", filled)
    assert [host.submit(IN, 512)[0].data for _ in range(4)] == [b"first", filled] * 2


def test_a_zero_length_message_is_a_zero_length_packet(host: Host) -> None:
    host.device.local(Say(b""))
    assert host.submit(IN, 512) == [Completion(host.number, 0, 0, b"")]


def test_a_transfer_that_ends_within_a_packet_babbles(host: Host) -> None:
    host.device.local(Say(bytes(600)))
    assert host.submit(IN, 100) == [Completion(host.number, Status.OVERFLOW, 100, bytes(100))]
    assert host.submit(IN, 512)[0].actual_length == 88


def test_a_short_answer_is_an_error_only_where_the_host_says_so(host: Host) -> None:
    host.device.local(Say(b"ab"))
    host.device.local(Say(b"ab"))
    assert host.submit(IN, 2, flags=SHORT_NOT_OK)[0].status == 0
    assert host.submit(IN, 3, flags=SHORT_NOT_OK) == [Completion(host.number, Status.REMOTEIO, 2, b"ab")]


def test_an_unlinked_transfer_never_completes(host: Host) -> None:
    host.submit(IN, 512)
    first = host.number
    host.submit(IN, 512)
    assert host.device.unlink(first)
    assert not host.device.unlink(first)
    assert host.device.local(Say(b"x")) == [Completion(host.number, 0, 1, b"x")]


def test_what_has_completed_cannot_be_unlinked(host: Host) -> None:
    host.device.local(Say(b"x"))
    host.submit(IN, 512)
    assert not host.device.unlink(host.number)


def test_a_halt_ends_what_is_parked_and_keeps_what_is_queued(host: Host) -> None:
    host.submit(IN, 512)
    parked = host.number
    done = host.submit(0x00, setup=setup_of(f"02 03 0000 {IN:04x} 0000"))
    assert [(c.number, c.status) for c in done] == [(parked, Status.PIPE), (host.number, 0)]
    assert host.device.local(Say(b"kept")) == []
    assert host.submit(IN, 512)[0].status == Status.PIPE
    host.control(f"02 01 0000 {IN:04x} 0000")
    assert host.submit(IN, 512)[0].data == b"kept"


def test_parked_transfers_are_bounded(host: Host) -> None:
    for _ in range(MAX_PARKED):
        assert host.submit(IN, 8) == []
    assert host.submit(IN, 8)[0].status == Status.PROTO


# OUT


def test_an_out_transfer_counts_what_was_taken_and_carries_nothing_back(host: Host) -> None:
    assert host.submit(OUT, data=b"hello") == [Completion(host.number, 0, 5, b"")]
    assert heard(host) == [b"hello"]


def test_an_out_transfer_the_function_cannot_take_waits_in_order(host: Host) -> None:
    host.device.local(Take(False))
    assert host.submit(OUT, data=b"a") == host.submit(OUT, data=b"b") == []
    done = host.device.local(Take(True))
    assert [c.number for c in done] == [host.number - 1, host.number]
    assert heard(host) == [b"a", b"b"]


def test_a_function_may_halt_after_what_it_took_or_instead_of_taking_it(host: Host) -> None:
    assert host.submit(OUT, data=b"halt")[0].status == 0
    assert host.submit(OUT, data=b"x")[0].status == Status.PIPE
    host.control(f"02 01 0000 {OUT:04x} 0000")
    assert host.submit(OUT, data=b"refuse") == [Completion(host.number, Status.PIPE)]
    assert heard(host) == [b"halt"]


def test_zero_packet_ends_a_full_transfer_with_an_empty_one(host: Host) -> None:
    host.submit(OUT, data=bytes(512), flags=ZERO_PACKET)
    host.submit(OUT, data=bytes(100), flags=ZERO_PACKET)
    assert [len(data) for data in heard(host)] == [512, 0, 100]


def test_a_wedge_outlasts_clear_halt_until_the_function_releases_it() -> None:
    device, function = bench()
    host = Host(device)
    function.halt(IN, wedge=True)
    host.control(f"02 01 0000 {IN:04x} 0000")
    assert host.submit(IN, 8)[0].status == Status.PIPE
    function.release(IN)
    assert host.submit(IN, 8) == []


# Isochronous


def test_isochronous_in_takes_a_message_for_each_packet_and_leaves_no_gaps(host: Host) -> None:
    host.device.local(Say(b"bulk"))
    host.control("01 0b 0001 0000 0000")
    function = host.device.functions[0]
    for data in (b"abc", b"", b"0123456789"):
        function.send(ISO_IN, data)
    (done,) = host.submit(ISO_IN, 32, packets=iso(8, 8, 8, 8), start_frame=7)
    assert (done.data, done.actual_length, done.error_count, done.start_frame) == (b"abc01234567", 11, 1, 7)
    assert done.packets == (
        IsoPacket(0, 8, 3),
        IsoPacket(8, 8, 0),
        IsoPacket(16, 8, 8, Status.OVERFLOW),
        IsoPacket(24, 8, 0),
    )


def test_isochronous_out_gives_each_packet_from_its_place(host: Host) -> None:
    host.control("01 0b 0001 0000 0000")
    packets = (IsoPacket(0, 2), IsoPacket(4, 3))
    (done,) = host.submit(ISO_OUT, data=b"ab__cde", packets=packets)
    assert heard(host) == [b"ab", b"cde"]
    assert (done.actual_length, done.data) == (5, b"")
    assert [packet.actual_length for packet in done.packets] == [2, 3]


def test_an_isochronous_transfer_without_packets_completes(host: Host) -> None:
    host.control("01 0b 0001 0000 0000")
    assert host.submit(ISO_IN, 0) == [Completion(host.number)]


# Endpoints and bus


def test_the_transfer_type_is_that_of_the_current_setting_and_known_in_others(host: Host) -> None:
    types = {a: host.device.transfer_type(a) for a in (0x00, 0x80, IN, OUT, ISO_IN, 0x8F)}
    assert types == {
        0x00: TransferType.CONTROL,
        0x80: TransferType.CONTROL,
        IN: TransferType.BULK,
        OUT: TransferType.BULK,
        ISO_IN: TransferType.ISOCHRONOUS,
        0x8F: None,
    }


def test_an_endpoint_that_is_not_there_stalls(host: Host) -> None:
    assert host.submit(0x8F, 8)[0].status == Status.PIPE
    assert host.submit(0x0F, data=b"x")[0].status == Status.PIPE


def test_to_act_on_an_endpoint_that_is_not_in_use_is_an_error_the_user_understands() -> None:
    device, _ = bench()
    with pytest.raises(Unavailable, match="no host has configured"):
        device.local(Say(b"x"))


def test_an_attach_sweeps_away_what_an_earlier_host_left(host: Host) -> None:
    host.device.local(Say(b"old"))
    host.control(f"02 03 0000 {OUT:04x} 0000")
    host.device.bus(BusEvent.ATTACH)
    again = Host(host.device)
    assert again.submit(OUT, data=b"x")[0].status == 0
    assert again.submit(IN, 8) == []
    assert again.device.bus(BusEvent.ATTACH) == []
    assert not again.device.unlink(again.number)


@pytest.mark.parametrize("event", [BusEvent.RESET, BusEvent.DETACH])
def test_a_reset_or_detach_ends_what_is_in_flight(host: Host, event: BusEvent) -> None:
    host.submit(IN, 8)
    assert host.device.bus(event) == [Completion(host.number, Status.SHUTDOWN)]
    assert host.device.configuration_value == 0


def test_a_detached_device_is_gone_until_it_is_attached(host: Host) -> None:
    host.device.bus(BusEvent.DETACH)
    assert host.submit(0x80, 18)[0].status == Status.NODEV
    host.device.bus(BusEvent.ATTACH)
    assert host.control("80 08 0000 0000 0001") == b"\x00"


def test_a_suspended_device_wakes_the_host_if_it_may(host: Host) -> None:
    host.device.take_events()
    host.device.bus(BusEvent.SUSPEND)
    host.device.local(Say(b"a"))
    host.control("00 03 0001 0000 0000")
    host.device.local(Say(b"b"))
    host.device.bus(BusEvent.RESUME)
    host.device.local(Say(b"c"))
    assert host.device.take_events() == [Told("", WakeUp())]


# Composites


def test_functions_hear_of_configuration_and_settings(host: Host) -> None:
    host.control("01 0b 0001 0000 0000")
    host.control("00 09 0000 0000 0000")
    function = host.device.functions[0]
    assert isinstance(function, Bench)
    assert function.told == ["reset", "configured", "alternate 0.1", "reset"]
    assert host.device.take_events() == [Told("", Configured(1)), Told("", Configured(0))]


def test_composites_number_interfaces_and_endpoints_through() -> None:
    first, second = Bench(), Bench()
    host = Host(compose(IDENTITY, [first, second]))
    assert (second.interface, second.source, second.sink) == (1, 0x83, 0x03)
    host.submit(0x03, data=b"for the second")
    assert (first.heard, second.heard) == ([], [b"for the second"])


def test_a_local_input_nobody_takes_is_refused_by_name(host: Host) -> None:
    with pytest.raises(UsageError, match=r"does not take str; it takes Say, Take"):
        host.device.local("text")


def test_events_nobody_fetches_are_bounded(host: Host) -> None:
    for _ in range(MAX_EVENTS + 10):
        host.control("00 09 0001 0000 0000")
    assert len(host.device.take_events()) == MAX_EVENTS


def test_what_cannot_be_composed_is_refused() -> None:
    with pytest.raises(UsageError, match="15 endpoints"):
        compose(IDENTITY, [Bench() for _ in range(8)])
    with pytest.raises(UsageError, match="low-speed"):
        compose(IDENTITY, [Bench()], speed=Speed.LOW)
    with pytest.raises(UsageError, match="wireless"):
        compose(IDENTITY, [Bench()], speed=Speed.WIRELESS)


def test_a_snapshot_of_another_device_is_refused(host: Host) -> None:
    with pytest.raises(UsageError, match="other descriptors"):
        host.device.restore(bench(Speed.SUPER)[0].snapshot())


def test_each_function_has_a_label_of_its_own_by_which_it_is_told_from_its_like() -> None:
    first, second = Bench(), Bench()
    host = Host(compose(IDENTITY, [first, second]))
    assert (first.label, second.label) == ("bench", "bench-2")
    host.submit(second.source, 8)
    done = host.device.local(To("bench-2", Say(b"b")))
    assert [completion.data for completion in done] == [b"b"]
    with pytest.raises(UsageError, match="no function 'bench-3'; it has bench, bench-2"):
        host.device.local(To("bench-3", Say(b"c")))
