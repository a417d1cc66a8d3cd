"""The setup packet on the wire."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadgets.usb.urb import Direction, Recipient, RequestKind, SetupPacket


@given(st.binary(min_size=8, max_size=8))
def test_any_eight_bytes_are_a_setup_packet_and_come_back(data: bytes) -> None:
    setup = SetupPacket.parse(data)
    assert setup.emit() == data
    assert setup.direction in Direction
    assert setup.kind in RequestKind
    assert setup.recipient in Recipient


@given(st.binary(max_size=20).filter(lambda data: len(data) != 8))
def test_another_number_of_bytes_is_none(data: bytes) -> None:
    with pytest.raises(struct.error):
        SetupPacket.parse(data)


def test_a_hid_set_report_reads_as_a_class_request_to_an_interface() -> None:
    setup = SetupPacket.parse(bytes.fromhex("2109 0002 0100 0800"))
    assert setup == SetupPacket(0x21, 0x09, 0x0200, 1, 8)
    assert (setup.direction, setup.kind, setup.recipient) == (
        Direction.OUT,
        RequestKind.CLASS,
        Recipient.INTERFACE,
    )
    assert str(setup) == "21 09 0200 0001 0008"
