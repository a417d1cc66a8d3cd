"""python-functionfs, as far as it goes without a kernel: what it is given, and what ep0 is told."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadgets.hid.keyboard import keyboard
from gadgets.udc.descriptors import shown

try:
    from gadgets.udc.functionfs import FunctionFs, strings_block, structure, winusb
except (ImportError, OSError) as error:
    pytest.skip(f"python-functionfs wants libaio1: {error}", allow_module_level=True)

EVENTFD, ALL_RECIPIENTS, BEFORE_CONFIGURATION, FULL_SPEED = 32, 64, 128, 1


def test_ep0_is_told_descriptors_and_strings_and_endpoints_are_opened(tmp_path: Path) -> None:
    device = keyboard()
    for name in ("ep0", "ep1"):
        (tmp_path / name).touch()
    with FunctionFs(tmp_path, device, shown(device.descriptors)):
        written = (tmp_path / "ep0").read_bytes()
    magic, length, flags = struct.unpack_from("<III", written)
    assert (magic, flags) == (3, EVENTFD | ALL_RECIPIENTS | BEFORE_CONFIGURATION | FULL_SPEED)
    descriptors = written[20:length]
    assert descriptors == bytes.fromhex("09 04 00 00 01 03 01 01 01 09 21 11 01 00 01 22") + descriptors[16:]
    assert descriptors.endswith(bytes.fromhex("07 05 81 03 08 00 0a"))
    assert written[length:].endswith(b"\x09\x04Keyboard\0")


def test_all_strings_are_told_in_all_languages() -> None:
    block = strings_block({0x0409: ["Keyboard", "Maus"], 0x0407: ["", "Mäuse"]})
    tables = b"\x09\x04Keyboard\0Maus\0" + b"\x07\x04\0M\xc3\xa4use\0"
    assert block == struct.pack("<IIII", 2, 16 + len(tables), 2, 2) + tables
    assert strings_block({}) == struct.pack("<IIII", 2, 16, 0, 0)


def test_an_interface_is_announced_to_windows_with_driver_and_guid() -> None:
    driver, guid = (
        ctypes.string_at(ctypes.addressof(each), ctypes.sizeof(each)) for each in winusb(2, "{x}")
    )
    assert driver == bytes.fromhex("02 23000000 0100 0400 01 00 02 01") + b"WINUSB".ljust(22, b"\0")
    name, value = b"DeviceInterfaceGUID\0", b"{x}\0"
    sizes = struct.pack("<IIH", 14 + len(name) + len(value), 1, len(name))
    assert guid[11:] == sizes + name + struct.pack("<I", len(value)) + value


def test_endpoints_are_given_to_python_functionfs_with_their_fields() -> None:
    endpoint = structure(bytes.fromhex("07 05 81 03 08 00 0a"))
    assert (endpoint.bEndpointAddress, endpoint.wMaxPacketSize) == (0x81, 8)
    audio = structure(bytes.fromhex("09 05 81 05 c0 00 01 00 02"))
    assert audio.bSynchAddress == 2


@given(st.binary(max_size=253), st.integers(0x20, 0xFF))
def test_every_other_descriptor_is_given_byte_for_byte(body: bytes, kind: int) -> None:
    whole = bytes((len(body) + 2, kind)) + body
    given_on = structure(whole)
    assert (given_on.bLength, given_on.bDescriptorType) == (len(whole), kind)
    assert ctypes.string_at(ctypes.addressof(given_on), ctypes.sizeof(given_on)) == whole
