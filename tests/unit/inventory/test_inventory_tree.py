"""Golden pictures of the hub tree."""

from __future__ import annotations

from dataclasses import replace
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.inventory.model import UsbDevice, UsbInterface
from appliance.inventory.tree import cells_of, render
from gadgets.usb.urb import Speed

ROOT = UsbDevice(
    busid="usb1", busnum=1, devnum=1, speed=Speed.HIGH, vendor_id=0x1D6B, product_id=2, device_class=9,
    product="xHCI Host Controller", serial="0000:00:14.0", driver="usb", ports=4,
    interfaces=(UsbInterface(0, 9, class_name="Hub", driver="hub"),),
)  # fmt: skip
HUB = replace(
    ROOT, busid="1-1", devnum=2, vendor_id=0x0409, product_id=0x55AA, product="USB2.0 Hub", serial=None,
    parent_busid="usb1", max_power_ma=2,
)  # fmt: skip
KEYBOARD = UsbDevice(
    busid="1-1.2", busnum=1, devnum=3, speed=Speed.FULL, vendor_id=0x0627, product_id=1, parent_busid="1-1",
    product="QEMU USB Keyboard", serial="ABC123", driver="usb", max_power_ma=100,
    interfaces=(
        UsbInterface(0, 3, class_name="Human Interface Device", driver="usbhid", nodes=("input/event3",)),
    ),
)  # fmt: skip
DONGLE = replace(
    KEYBOARD, busid="1-1.10", devnum=4, product="License Dongle", serial=None, driver="usbip-host",
    interfaces=(),
)  # fmt: skip
DISK = UsbDevice(
    busid="1-2", busnum=1, devnum=5, speed=Speed.HIGH, vendor_id=0x0951, product_id=0x1666,
    parent_busid="usb1", product="ディスク", serial="0123456789ABC", driver="usb", max_power_ma=500,
    interfaces=(UsbInterface(0, 8, driver="usb-storage"), UsbInterface(1, 0xFF)),
)  # fmt: skip
ALL = [DISK, DONGLE, KEYBOARD, HUB, ROOT]
SHARED = {"1-1.10": "license"}


def golden(picture: str) -> str:
    return dedent(picture).removeprefix("\n")


def test_the_tree_shows_every_device_below_its_hub() -> None:
    assert render(ALL, SHARED.get) == golden("""
        DEVICE        ID         NAME                  SERIAL         SPEED  POWER  DRIVER         SHARED
        usb1          1d6b:0002  xHCI Host Controller  0000:00:14.0   480M          hub (4 ports)
        ├─ 1-1        0409:55aa  USB2.0 Hub                           480M   2mA    hub (4 ports)
        │  ├─ 1-1.2   0627:0001  QEMU USB Keyboard     ABC123         12M    100mA  usbhid
        │  └─ 1-1.10  0627:0001  License Dongle                       12M    100mA  usbip-host     license
        └─ 1-2        0951:1666  ディスク              0123456789ABC  480M   500mA  usb-storage
        """)


def test_details_tell_of_the_interfaces() -> None:
    assert render(ALL, details=True) == golden("""
        DEVICE        ID         NAME                  SERIAL         SPEED  POWER  DRIVER
        usb1          1d6b:0002  xHCI Host Controller  0000:00:14.0   480M          hub (4 ports)
        │  0: Hub  hub
        ├─ 1-1        0409:55aa  USB2.0 Hub                           480M   2mA    hub (4 ports)
        │  │  0: Hub  hub
        │  ├─ 1-1.2   0627:0001  QEMU USB Keyboard     ABC123         12M    100mA  usbhid
        │  │     0: Human Interface Device  usbhid  input/event3
        │  └─ 1-1.10  0627:0001  License Dongle                       12M    100mA  usbip-host
        └─ 1-2        0951:1666  ディスク              0123456789ABC  480M   500mA  usb-storage
              0: class 08  usb-storage
              1: class ff
        """)


def test_a_narrow_terminal_takes_from_the_names_first() -> None:
    assert render([KEYBOARD, replace(DISK, product="A disk with a very long name")], width=62) == golden("""
        DEVICE  ID         NAME                  SERIAL    DRIVER
        1-1.2   0627:0001  QEMU USB Keyboard     ABC123    usbhid
        1-2     0951:1666  A disk with a very …  0123456…  usb-storage
        """)


def test_what_is_shared_stays_in_sight_longest() -> None:
    assert render(ALL, SHARED.get, width=50) == golden("""
        DEVICE        ID         NAME        SHARED
        usb1          1d6b:0002  xHCI Host…
        ├─ 1-1        0409:55aa  USB2.0 Hub
        │  ├─ 1-1.2   0627:0001  QEMU USB …
        │  └─ 1-1.10  0627:0001  License D…  license
        └─ 1-2        0951:1666  ディスク
        """)


def test_a_device_whose_hub_is_not_shown_stands_at_the_edge() -> None:
    assert [line.split()[0] for line in render([DONGLE, DISK]).splitlines()] == ["DEVICE", "1-1.10", "1-2"]


def test_no_devices_are_no_text() -> None:
    assert render([]) == ""


def test_colors_come_only_when_asked_for() -> None:
    assert "\x1b" not in render(ALL)
    lines = render([ROOT, KEYBOARD], color=True).splitlines()
    assert lines[0].startswith("\x1b[1mDEVICE")
    assert lines[1].startswith("\x1b[2musb1")
    assert "\x1b" not in lines[2]


@pytest.mark.parametrize(("text", "cells"), [("abc", 3), ("ディスク", 8), ("é", 1), ("e\u0301", 1)])
def test_width_is_counted_in_cells_of_the_terminal(text: str, cells: int) -> None:
    assert cells_of(text) == cells


@given(
    st.integers(20, 200), st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=40)
)
def test_no_line_is_wider_than_the_terminal(width: int, name: str) -> None:
    text = render([*ALL[:-1], replace(ROOT, product=name)], SHARED.get, width=width, details=True)
    assert all(cells_of(line) <= width for line in text.splitlines())
