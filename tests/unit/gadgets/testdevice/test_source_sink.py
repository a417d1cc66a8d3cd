"""Gadget zero as usbtest's cases use it, and as its descriptors say it is."""

from __future__ import annotations

from typing import Any

import pytest

from gadgets.testdevice.pattern import Pattern
from gadgets.testdevice.sourcesink import Mismatch
from gadgets.testdevice.zero import bulk_only, gadget_zero
from gadgets.usb.descriptors import COMPANION, SuperSpeedCompanion
from gadgets.usb.device import Told
from gadgets.usb.urb import Speed, Status, TransferType
from tests.unit.gadgets.host import Host, iso

SPEEDS = [Speed.FULL, Speed.HIGH, Speed.SUPER]
MOD63 = bytes(at % 63 for at in range(512))


def zero(**options: Any) -> Host:
    host = Host(gadget_zero(**options))
    host.device.take_events()
    return host


# What it says it is


@pytest.mark.parametrize("speed", SPEEDS)
def test_it_has_bulk_always_and_isochronous_or_interrupt_in_other_settings(speed: Speed) -> None:
    device = gadget_zero(speed=speed)
    assert (device.device_descriptor.vendor_id, device.device_descriptor.product_id) == (0x0525, 0xA4A0)
    kinds = [[e.transfer_type for e in s.endpoints] for s in device.configurations[0].settings]
    bulk = [TransferType.BULK] * 2
    assert kinds == [bulk, bulk + [TransferType.ISOCHRONOUS] * 2, bulk + [TransferType.INTERRUPT] * 2]
    for setting in device.configurations[0].settings:
        assert (setting.interface, setting.interface_class, setting.protocol) == (0, 0xFF, 0)
        assert [e.address & 0x80 for e in setting.endpoints] == [0x80, 0] * (len(setting.endpoints) // 2)


def test_the_user_mode_variant_has_two_endpoints_and_no_other_setting() -> None:
    device = bulk_only()
    assert device.device_descriptor.product_id == 0xA4A4
    (setting,) = device.configurations[0].settings
    assert [e.address for e in setting.endpoints] == [0x81, 0x01]


def test_at_superspeed_it_can_burst() -> None:
    device = gadget_zero(speed=Speed.SUPER, burst=15, iso_burst=3, iso_transactions=2)
    endpoints = device.configurations[0].settings[1].endpoints
    companions = [COMPANION.parse(e.extra[0]) for e in endpoints]
    assert companions == [SuperSpeedCompanion(15)] * 2 + [SuperSpeedCompanion(3, 1, 8192)] * 2


# Source and sink


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("pattern", list(Pattern))
def test_the_source_fills_every_transfer_to_the_last_byte(speed: Speed, pattern: Pattern) -> None:
    host = zero(speed=speed, pattern=pattern)
    size = host.device.configurations[0].settings[0].endpoints[0].packet_size
    for length in (1, size - 1, size, size + 1, 3 * size, 100_000):
        (done,) = host.submit(0x81, length)
        counted = (at % size % 63 for at in range(length))
        assert done.data == (bytes(counted) if pattern is Pattern.MOD63 else bytes(length))
        assert (done.status, done.actual_length) == (0, length)


def test_the_sink_takes_what_keeps_to_the_pattern() -> None:
    host = zero(pattern=Pattern.MOD63)
    (done,) = host.submit(0x01, data=MOD63 + MOD63[:100])
    assert (done.status, done.actual_length) == (0, 612)
    assert host.device.take_events() == []


def test_the_sink_halts_where_data_leaves_the_pattern_and_tells_where() -> None:
    host = zero(pattern=Pattern.MOD63)
    (done,) = host.submit(0x01, data=MOD63[:100] + b"x" + MOD63[101:])
    assert done.status == 0, "as with a real controller, it was received before it was looked at"
    assert host.device.take_events() == [Told("sourcesink", Mismatch(0x01, 100))]
    assert host.submit(0x01, data=MOD63)[0].status == Status.PIPE
    host.control("02 01 0000 0001 0000")
    assert host.submit(0x01, data=MOD63)[0].status == 0


def test_whoever_does_not_care_sends_what_they_like() -> None:
    host = zero(pattern=Pattern.ANY)
    assert host.submit(0x01, data=b"whatever")[0].status == 0
    assert host.device.take_events() == []


def test_interrupt_endpoints_source_and_sink_as_well() -> None:
    host = zero(pattern=Pattern.MOD63)
    host.control("01 0b 0002 0000 0000")
    (done,) = host.submit(0x83, 64)
    assert done.data == MOD63[:63] + b"\0"
    assert host.submit(0x03, data=done.data)[0].status == 0
    host.submit(0x03, data=b"x")
    assert host.device.take_events() == [Told("sourcesink", Mismatch(0x03, 0))]


def test_isochronous_packets_are_full_and_never_wait() -> None:
    host = zero()
    host.control("01 0b 0001 0000 0000")
    (done,) = host.submit(0x82, 2148, packets=iso(1024, 1024, 100))
    assert done.data == bytes(2148)
    assert [(p.actual_length, p.status) for p in done.packets] == [(1024, 0), (1024, 0), (100, 0)]
    (done,) = host.submit(0x02, data=b"x" * 1034, packets=iso(1024, 10))
    assert (done.status, done.error_count) == (0, 0)
    assert host.device.take_events() == [], "nobody looks at isochronous data"


def test_the_endpoints_of_another_setting_are_not_there() -> None:
    host = zero()
    assert host.submit(0x83, 64)[0].status == Status.PIPE
    assert host.submit(0x82, 64, packets=iso(64))[0].status == Status.PIPE


# Control


@pytest.mark.parametrize("length", [1, 63, 64, 512, 0xFFFF])
def test_control_data_written_is_read_back(length: int) -> None:
    host = zero()
    data = bytes(at & 0xFF for at in range(length))
    assert host.control(f"40 5b 0000 0000 {length:04x}", data) == b""
    assert host.control(f"c0 5c 0000 0000 {length:04x}") == data
    assert host.control("c0 5c 0000 0000 0001") == data[:1]


@pytest.mark.parametrize("request_", ["40 5b 0001 0000 0001", "c0 5c 0000 0001 0001", "40 5d 0000 0000 0001"])
def test_other_vendor_requests_stall(request_: str) -> None:
    assert zero().control(request_, b"x") is None


def test_a_reset_forgets_what_was_written() -> None:
    host = zero()
    host.control("40 5b 0000 0000 0001", b"x")
    host.control("00 09 0001 0000 0000")
    assert host.control("c0 5c 0000 0000 0001") == b""


def test_a_restored_device_remembers_what_was_written() -> None:
    host, again = zero(), gadget_zero()
    host.control("40 5b 0000 0000 0001", b"x")
    again.restore(host.device.snapshot())
    assert Host(again, configured=False).control("c0 5c 0000 0000 0001") == b"x"
