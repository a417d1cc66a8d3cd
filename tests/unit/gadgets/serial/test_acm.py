"""CDC-ACM as hosts use it. CDC 1.2, PSTN 1.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError, Unavailable, UsageError
from gadgets.serial.acm import MAX_NOTICES, Serial
from gadgets.serial.line import (
    WINDOW,
    Break,
    BreakSent,
    Command,
    Consumed,
    ControlLines,
    LineCoding,
    LineErrors,
    Online,
    Parity,
    Received,
    Respond,
    Send,
    Sent,
    SetLines,
    StopBits,
)
from gadgets.usb.class_descriptors import CDC_ACM, CDC_CALL_MANAGEMENT, CDC_HEADER, CDC_UNION
from gadgets.usb.compose import compose
from gadgets.usb.urb import Speed, TransferType
from tests.unit.gadgets.host import Host
from tests.unit.gadgets.serial.desk import IDENTITY, NOTIFY, SINK, SOURCE, Desk

STATE = "a1 20 00 00 00 00 02 00"
"""The header of a SERIAL_STATE notification."""


@pytest.fixture
def desk() -> Desk:
    """Configured, and the host knows the lines' first state."""
    desk = Desk()
    assert notices(desk) == [f"{STATE} 03 00"]
    desk.take_heard()
    return desk


def notices(desk: Desk) -> list[str]:
    """What the host's transfers bring until one has to wait; that one is unlinked."""
    told = []
    while desk.done(number := desk.ask(16, NOTIFY)):
        told.append(desk.data_of(number).hex(" "))
    desk.device.unlink(number)
    return told


# What it says it is


def test_it_is_two_associated_interfaces(desk: Desk) -> None:
    control, data = desk.device.configurations[0].settings
    descriptor = desk.device.device_descriptor
    assert (descriptor.device_class, descriptor.subclass, descriptor.protocol) == (0xEF, 2, 1)
    assert (control.interface_class, control.subclass, control.protocol) == (2, 2, 1)
    assert (data.interface_class, data.subclass, data.protocol) == (10, 0, 0)
    assert control.association
    assert (control.association.first_interface, control.association.interface_count) == (0, 2)
    assert [e.transfer_type for e in control.endpoints] == [TransferType.INTERRUPT]
    assert [(e.address, e.transfer_type) for e in data.endpoints] == [
        (SOURCE, TransferType.BULK),
        (SINK, TransferType.BULK),
    ]


def test_its_functional_descriptors_name_its_interfaces_and_abilities(desk: Desk) -> None:
    header, call, acm, union = desk.device.configurations[0].settings[0].extra
    assert CDC_HEADER.parse(header).bcd_cdc == 0x0110
    assert CDC_CALL_MANAGEMENT.parse(call).data_interface == 1
    assert CDC_ACM.parse(acm).capabilities == 0x06
    assert (CDC_UNION.parse(union).control_interface, CDC_UNION.parse(union).subordinates) == (0, b"\1")


def test_two_ports_in_one_device_answer_each_for_itself() -> None:
    host = Host(compose(IDENTITY, [Serial(), Serial()]))
    coding = LineCoding(115200).emit()
    assert host.control("21 20 0000 0002 0007", coding) == b""
    assert host.control("a1 21 0000 0002 0007") == coding
    assert host.control("a1 21 0000 0000 0007") == LineCoding().emit()


@pytest.mark.parametrize("speed", [Speed.FULL, Speed.HIGH, Speed.SUPER])
def test_it_works_at_every_speed(speed: Speed) -> None:
    device = compose(IDENTITY, [Serial()], speed=speed)
    host = Host(device)
    device.local(Send("hello"))
    assert host.submit(SOURCE, 64)[0].data == b"hello"


# Line coding, lines, breaks from the host


def test_the_host_sets_the_line_coding_and_reads_it_back(desk: Desk) -> None:
    coding = LineCoding(115200, 7, Parity.EVEN, StopBits.TWO)
    assert desk.control("21 20 0000 0000 0007", bytes.fromhex("00c20100 02 02 07")) == b""
    assert desk.take_heard() == [coding]
    assert desk.control("a1 21 0000 0000 0007") == coding.emit()


@pytest.mark.parametrize(
    "coding", ["", "00c20100 02 02", "00c20100 03 00 08", "00c20100 00 05 08", "00c20100 00 00 09"]
)
def test_a_line_coding_that_cannot_be_stalls_and_changes_nothing(desk: Desk, coding: str) -> None:
    data = bytes.fromhex(coding)
    assert desk.control(f"21 20 0000 0000 {len(data):04x}", data) is None
    assert desk.control("a1 21 0000 0000 0007") == LineCoding().emit()
    assert desk.take_heard() == []


@given(st.binary(max_size=9))
def test_a_line_coding_reads_back_as_it_was_written(data: bytes) -> None:
    try:
        coding = LineCoding.parse(data)
    except ProtocolError:
        return
    assert coding.emit() == data


def test_the_hosts_lines_are_told_when_they_change(desk: Desk) -> None:
    for value in ("0003", "0003", "0001", "0000"):
        assert desk.control(f"21 22 {value} 0000 0000") == b""
    assert desk.take_heard() == [
        ControlLines(dtr=True, rts=True),
        ControlLines(dtr=True, rts=False),
        ControlLines(dtr=False, rts=False),
    ]


def test_a_host_that_goes_away_lets_its_lines_go(desk: Desk) -> None:
    desk.control("21 22 0003 0000 0000")
    desk.take_heard()
    desk.unplug()
    assert desk.take_heard() == [ControlLines(dtr=False, rts=False), Online(False)]


def test_breaks_from_the_host_are_told(desk: Desk) -> None:
    assert desk.control("21 23 ffff 0000 0000") == b""
    assert desk.control("21 23 0000 0000 0000") == b""
    assert desk.take_heard() == [BreakSent(0xFFFF), BreakSent(0)]


@pytest.mark.parametrize("request_", ["21 22 0003 0001 0000", "21 24 0000 0000 0000", "a1 22 0000 0000 0001"])
def test_other_requests_stall(desk: Desk, request_: str) -> None:
    assert desk.control(request_) is None


# What the host is notified of


def test_a_change_of_our_lines_reaches_the_host(desk: Desk) -> None:
    desk.give(SetLines(ri=True))
    assert notices(desk) == [f"{STATE} 0b 00"]
    desk.give(SetLines(dcd=False, ri=False))
    assert notices(desk) == [f"{STATE} 02 00"]
    desk.give(SetLines(dcd=False))
    assert notices(desk) == []


def test_a_host_that_was_not_listening_hears_of_the_state_as_it_is(desk: Desk) -> None:
    for on in (False, True, False):
        desk.give(SetLines(dsr=on))
    assert notices(desk) == [f"{STATE} 01 00"]


def test_lines_that_were_set_before_there_was_a_host_are_told_to_the_next_one() -> None:
    desk = Desk(configured=False)
    desk.give(SetLines(dsr=False))
    desk.configure()
    assert notices(desk) == [f"{STATE} 01 00"]


def test_breaks_and_errors_are_told_once_each(desk: Desk) -> None:
    desk.give(Break(2))
    desk.give(LineErrors(overrun=True, parity=True))
    desk.give(LineErrors())
    assert notices(desk) == [f"{STATE} {state} 00" for state in ("07", "07", "63")]


def test_a_command_is_told_and_its_response_announced(desk: Desk) -> None:
    assert desk.control("21 00 0000 0000 0003", b"ATI") == b""
    assert desk.take_heard() == [Command(b"ATI")]
    assert desk.control("a1 01 0000 0000 0100") == b""
    desk.give(Respond(b"OK"))
    assert notices(desk) == ["a1 01 00 00 00 00 00 00"]
    assert desk.control("a1 01 0000 0000 0100") == b"OK"


def test_notices_are_bounded(desk: Desk) -> None:
    desk.give(Break(MAX_NOTICES))
    with pytest.raises(UsageError, match="at most 64"):
        desk.give(Break())
    with pytest.raises(UsageError, match="at most 64"):
        Desk().give(Break(10**9))
    for _ in range(MAX_NOTICES):
        desk.give(Respond(b"x"))
    with pytest.raises(UsageError, match="at most 64"):
        desk.give(Respond(b"x"))
    assert len(notices(desk)) == 2 * MAX_NOTICES


@pytest.mark.parametrize("input", [Send("x"), Break(), LineErrors(overrun=True), Respond(b"x")])
def test_without_a_host_there_is_nobody_to_tell(input: object) -> None:
    with pytest.raises(Unavailable, match="attach it first"):
        Desk(configured=False).give(input)


# Data


def test_data_for_the_host_fills_its_transfers(desk: Desk) -> None:
    desk.give(Send("héllo", b"\xff" * 600))
    first, second = desk.ask(512), desk.ask(512)
    assert desk.data_of(first) + desk.data_of(second) == "héllo".encode() + b"\xff" * 600
    assert len(desk.data_of(first)) == 512
    assert desk.take_heard() == [Sent(606)]


def test_a_text_that_is_none_is_refused(desk: Desk) -> None:
    with pytest.raises(UsageError, match="half a surrogate pair"):
        desk.give(Send("\ud800"))


def test_a_transfer_that_waits_gets_what_is_sent_next(desk: Desk) -> None:
    number = desk.ask()
    desk.give(Send("now"))
    assert desk.data_of(number) == b"now"


def test_data_for_the_host_is_bounded(desk: Desk) -> None:
    desk.give(Send(data=bytes(WINDOW)))
    with pytest.raises(UsageError, match="wait for the host already"):
        desk.give(Send("x"))
    desk.ask(WINDOW)
    desk.give(Send("x"))


def test_what_a_host_never_fetched_is_lost_with_it_and_told_as_sent(desk: Desk) -> None:
    desk.give(Send("stale"))
    desk.unplug()
    assert desk.take_heard() == [Sent(5), Online(False)]
    desk.configure()
    number = desk.ask()
    assert not desk.done(number)


def test_data_from_the_host_is_told(desk: Desk) -> None:
    for data in (b"one", b"", b"two"):
        assert desk.done(desk.send(data))
    assert desk.take_heard() == [Received(b"one"), Received(b"two")]


class Slow:
    """A companion that consumes only when the test does."""

    def start(self, *_: object) -> None: ...
    def hear(self, event: object) -> None: ...
    def close(self) -> None: ...
    def stats(self) -> dict[str, object]:
        return {}


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("gadgets.serial.acm.companion_for", lambda connect: Slow())
    return Desk()


def test_the_host_waits_while_the_other_end_holds_a_window_full(slow: Desk) -> None:
    half = bytes(WINDOW // 2)
    assert [slow.done(slow.send(half)) for _ in range(3)] == [True, True, False]
    slow.give(Consumed(10))
    assert not slow.done(slow.host.number)
    slow.give(Consumed(WINDOW // 2 - 10))
    assert slow.done(slow.host.number)


def test_many_small_transfers_wait_as_well(slow: Desk) -> None:
    accepted = [slow.done(slow.send(b"x")) for _ in range(65)]
    assert accepted == [True] * 64 + [False]
    slow.give(Consumed(1))
    assert slow.done(slow.host.number)


def test_a_transfer_larger_than_the_window_passes_alone(slow: Desk) -> None:
    assert slow.done(slow.send(bytes(2 * WINDOW)))
    assert not slow.done(slow.send(b"x"))


def test_credit_outlives_the_host(slow: Desk) -> None:
    slow.send(bytes(WINDOW))
    slow.unplug()
    slow.give(Consumed(WINDOW))
    slow.configure()
    assert slow.done(slow.send(bytes(WINDOW)))


@pytest.mark.parametrize("count", [-1, 4])
def test_nobody_consumes_what_was_not_received(slow: Desk, count: int) -> None:
    slow.send(b"abc")
    with pytest.raises(UsageError, match="3 are outstanding"):
        slow.give(Consumed(count))


# Written down


def test_a_restored_port_goes_on_where_it_was(slow: Desk) -> None:
    slow.control("21 22 0003 0000 0000")
    slow.control("21 20 0000 0000 0007", LineCoding(57600).emit())
    slow.give(Send("abc"))
    slow.give(Break())
    slow.give(Respond(b"r"))
    slow.send(b"xyz")
    again = Desk(configured=False)
    again.device.restore(slow.device.snapshot())
    assert again.device.snapshot() == slow.device.snapshot()
    assert again.data_of(again.ask()) == b"abc"
    assert again.control("a1 21 0000 0000 0007") == LineCoding(57600).emit()
    assert len(notices(again)) == 2
    again.give(Consumed(3))
