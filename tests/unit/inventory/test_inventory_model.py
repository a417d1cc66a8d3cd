"""Identity, order and JSON form of devices."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.inventory.model import (
    UsbDevice,
    UsbEndpoint,
    UsbInterface,
    device_from_json,
    has_serial_of_its_own,
    identified,
    parent_of,
    position,
)
from gadgets.usb.urb import Speed, TransferType

KEY = UsbDevice(
    busid="1-1.2", busnum=1, devnum=5, speed=Speed.FULL, vendor_id=0x0627, product_id=0x0001,
    serial="ABC123", place="0000:00:14.0/1.2", parent_busid="1-1", port=2,
)  # fmt: skip


def identity(*devices: UsbDevice) -> str:
    return identified(devices)[devices[0].busid].identity


def test_a_serial_number_identifies_a_device_wherever_it_is_plugged_in() -> None:
    moved = replace(KEY, busid="2-3", place="0000:01:00.0/3")
    assert identity(KEY) == identity(moved) == "0627:0001:ABC123"


@pytest.mark.parametrize(
    "serial", [None, "000000", "FFFFFFFF", "00:00:00", "0", "0001", "0123456789ABCDEF", "None"]
)
def test_without_a_serial_of_its_own_a_device_is_identified_by_its_place(serial: str | None) -> None:
    assert identity(replace(KEY, serial=serial)) == "0627:0001@0000:00:14.0/1.2"


@pytest.mark.parametrize("serial", ["ABC123", "10", "00000001", "68284-0000:00:09.0-1.1", "ÄÖ"])
def test_a_plausible_serial_is_taken(serial: str) -> None:
    assert has_serial_of_its_own(serial)


def test_two_devices_that_claim_the_same_serial_are_told_apart_by_their_place() -> None:
    twin = replace(KEY, busid="1-1.3", place="0000:00:14.0/1.3")
    assert identity(KEY, twin) == "0627:0001:ABC123@0000:00:14.0/1.2"
    assert identity(twin, KEY) == "0627:0001:ABC123@0000:00:14.0/1.3"


def test_another_product_with_the_same_serial_is_no_twin() -> None:
    assert identity(KEY, replace(KEY, busid="1-1.3", product_id=2)) == "0627:0001:ABC123"


def test_devices_are_ordered_as_the_tree_is_walked_and_ports_by_number() -> None:
    busids = ["2-1", "1-1.10", "usb1", "1-2", "1-1.2", "usb2", "1-1", "1-1.2.1"]
    assert sorted(busids, key=position) == [
        "usb1", "1-1", "1-1.2", "1-1.2.1", "1-1.10", "1-2", "usb2", "2-1",
    ]  # fmt: skip


@pytest.mark.parametrize(("busid", "parent"), [("1-1.2.3", "1-1.2"), ("1-1", "usb1"), ("usb1", None)])
def test_the_parent_is_told_by_the_busid(busid: str, parent: str | None) -> None:
    assert parent_of(busid) == parent


@pytest.mark.parametrize(
    ("manufacturer", "product", "vendor_name", "label"),
    [
        ("QEMU", "QEMU USB Keyboard", None, "QEMU USB Keyboard"),
        ("FTDI", "FT232R", "Future Technology", "FTDI FT232R"),
        (None, None, "Future Technology", "Future Technology"),
        (None, None, None, "0627:0001"),
    ],
)
def test_a_device_is_called_by_its_own_words_first(
    manufacturer: str | None, product: str | None, vendor_name: str | None, label: str
) -> None:
    assert replace(KEY, manufacturer=manufacturer, product=product, vendor_name=vendor_name).label == label


def test_json_spells_ids_in_hex_and_speeds_and_types_by_name() -> None:
    endpoint = UsbEndpoint(0x81, TransferType.INTERRUPT, 8, 10)
    told = replace(KEY, interfaces=(UsbInterface(0, 3, 1, 1, endpoints=(endpoint,)),)).to_json()
    assert (told["vendor_id"], told["device_class"], told["speed"]) == ("0627", "00", "full")
    assert (told["is_hub"], told["label"]) == (False, "0627:0001")
    assert told["interfaces"][0]["interface_class"] == "03"
    assert told["interfaces"][0]["endpoints"] == [
        {"address": "81", "type": "interrupt", "max_packet_size": 8, "interval": 10}
    ]


BYTE = st.integers(0, 0xFF)
WORD = st.integers(0, 0xFFFF)
TEXT = st.none() | st.text(max_size=20)
ENDPOINTS = st.builds(UsbEndpoint, BYTE, st.sampled_from(TransferType), st.integers(0, 0x7FF), BYTE)
INTERFACES = st.builds(
    UsbInterface, BYTE, BYTE, BYTE, BYTE, BYTE, TEXT, TEXT, TEXT,
    st.lists(ENDPOINTS, max_size=3).map(tuple), st.lists(st.text(max_size=8), max_size=3).map(tuple),
)  # fmt: skip
DEVICES = st.builds(
    UsbDevice,
    busid=st.sampled_from(["usb1", "1-1", "1-1.2"]),
    busnum=BYTE,
    devnum=BYTE,
    speed=st.sampled_from(Speed),
    vendor_id=WORD,
    product_id=WORD,
    bcd_device=WORD,
    device_class=BYTE,
    interfaces=st.lists(INTERFACES, max_size=3).map(tuple),
    serial=TEXT,
    removable=st.none() | st.booleans(),
    usbip_status=st.none() | BYTE,
)


@given(DEVICES)
def test_json_and_back_is_the_same_device(device: UsbDevice) -> None:
    told = json.loads(json.dumps(device.to_json()))
    assert device_from_json(told | {"share": None, "why_not": "a hub"}) == device
