"""Loopback: what goes out comes back, message for message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadgets.testdevice.loopback import MAX_HELD
from gadgets.testdevice.zero import loopback
from gadgets.usb.urb import ZERO_PACKET, Speed
from tests.unit.gadgets.host import Host


@pytest.mark.parametrize("speed", [Speed.FULL, Speed.HIGH, Speed.SUPER])
def test_each_message_comes_back_by_itself(speed: Speed) -> None:
    host = Host(loopback(speed=speed))
    for message in (b"one", b"", b"three"):
        host.submit(0x01, data=message)
    assert [host.submit(0x81, 100)[0].data for _ in range(3)] == [b"one", b"", b"three"]
    assert host.submit(0x81, 100) == [], "and then the host waits"


def test_who_waits_gets_what_is_sent_next() -> None:
    host = Host(loopback())
    assert host.submit(0x81, 100) == []
    waiting = host.number
    assert {done.number: done.data for done in host.submit(0x01, data=b"now")}[waiting] == b"now"


def test_the_empty_packet_that_ends_a_message_is_none_itself() -> None:
    host = Host(loopback())
    host.submit(0x01, data=bytes(512), flags=ZERO_PACKET)
    host.submit(0x01, data=b"next")
    assert [host.submit(0x81, 1024)[0].actual_length for _ in range(2)] == [512, 4]


def test_it_holds_no_more_than_its_bound_and_the_host_waits() -> None:
    host, chunk = Host(loopback()), bytes(MAX_HELD // 4)
    accepted = [bool(host.submit(0x01, data=chunk)) for _ in range(5)]
    assert accepted == [True] * 4 + [False]
    done = host.submit(0x81, len(chunk))
    assert [each.number for each in done] == [host.number, host.number - 1], "room lets the next one in"


def test_a_transfer_above_the_bound_passes_alone() -> None:
    host = Host(loopback())
    assert host.submit(0x01, data=bytes(2 * MAX_HELD))[0].status == 0
    assert host.submit(0x01, data=b"x") == []
    assert host.submit(0x81, 2 * MAX_HELD)[0].actual_length == 2 * MAX_HELD


def test_set_interface_begins_anew() -> None:
    host = Host(loopback())
    host.submit(0x01, data=b"old")
    host.control("01 0b 0000 0000 0000")
    assert host.submit(0x81, 100) == []


@given(st.lists(st.binary(min_size=1, max_size=1500), max_size=10), st.integers(0, 10))
def test_nothing_is_lost_or_changed_even_over_a_restore(messages: list[bytes], cut: int) -> None:
    device = loopback(speed=Speed.FULL)
    host = Host(device)
    for at, message in enumerate(messages):
        if at == cut:
            again = loopback(speed=Speed.FULL)
            again.restore(host.device.snapshot())
            host.device = again
        host.submit(0x01, data=message)
    assert [host.submit(0x81, 4096)[0].data for _ in messages] == messages
