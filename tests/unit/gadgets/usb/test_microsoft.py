"""Windows finds a driver for a vendor-specific gadget by itself."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError, UsageError
from gadgets.hid.keyboard import Keyboard
from gadgets.usb.capabilities import PlatformCapability, parse_bos
from gadgets.usb.compose import compose
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.descriptors import Association
from gadgets.usb.microsoft import (
    COMPATIBLE_ID,
    CONFIGURATION_SUBSET,
    FUNCTION_SUBSET,
    MS_OS_20,
    REGISTRY_PROPERTY,
    VENDOR_REVISION,
    Feature,
    MsOs20Set,
    Subset,
    WinUsb,
    compatible_id,
    emit_set,
    interface_guid,
    parse_set,
    winusb_set,
)
from tests.unit.gadgets.host import IDENTITY, Bench, Host

GUID = "{975f44d9-0d08-43fd-8b3e-127ca8afff9d}"


def wide(text: str) -> bytes:
    return text.encode("utf-16-le")


TINYUSB = (
    bytes.fromhex("0a00 0000 00000306 b200")
    + bytes.fromhex("0800 0100 00 00 a800")
    + bytes.fromhex("0800 0200 02 00 a000")
    + bytes.fromhex("1400 0300")
    + b"WINUSB\0\0"
    + bytes(8)
    + bytes.fromhex("8400 0400 0700 2a00")
    + wide("DeviceInterfaceGUIDs\0")
    + bytes.fromhex("5000")
    + wide(GUID + "\0\0")
)
"""What TinyUSB's webusb_serial example says, whose interface 2 is vendor-specific."""


def test_the_set_is_that_of_a_device_known_to_work() -> None:
    features = (compatible_id("WINUSB"), interface_guid(GUID))
    described = MsOs20Set((Subset(CONFIGURATION_SUBSET, 0, (Subset(FUNCTION_SUBSET, 2, features),)),))
    assert emit_set(described) == TINYUSB
    assert parse_set(TINYUSB) == described


features = st.builds(Feature, st.integers(COMPATIBLE_ID, VENDOR_REVISION), st.binary(max_size=40))
functions = st.builds(
    Subset, st.just(FUNCTION_SUBSET), st.integers(0, 255), st.lists(features, max_size=3).map(tuple)
)
configurations = st.builds(
    Subset,
    st.just(CONFIGURATION_SUBSET),
    st.integers(0, 255),
    st.lists(features | functions, max_size=3).map(tuple),
)


@given(st.lists(features | configurations, max_size=4).map(tuple), st.integers(0, 0xFFFFFFFF))
def test_every_set_comes_back(items: tuple[Feature | Subset, ...], version: int) -> None:
    described = MsOs20Set(items, version)
    assert parse_set(emit_set(described)) == described


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    header = bytes.fromhex("0a00 0000 00000306") + (10 + len(body)).to_bytes(2, "little")
    with suppress(ProtocolError):
        assert emit_set(parse_set(header + body)) == header + body


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_parsed_or_refused(data: bytes) -> None:
    with suppress(ProtocolError):
        parse_set(data)


def test_a_set_beyond_its_length_field_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 65535"):
        emit_set(MsOs20Set((Feature(REGISTRY_PROPERTY, bytes(40_000)), Feature(9, bytes(40_000)))))


def fetched(host: Host) -> bytes:
    """The set as Windows gets it: by the vendor code and the length that the BOS tells."""
    bos = parse_bos(host.control("80 06 0f00 0000 ffff") or b"")
    (said,) = (c for c in bos if isinstance(c, PlatformCapability) and c.platform == MS_OS_20.bytes_le)
    length, code = int.from_bytes(said.data[4:6], "little"), said.data[6]
    found = host.control(f"c0 {code:02x} 0000 0007 {length:04x}")
    assert found is not None
    assert len(found) == length
    return found


def test_a_device_of_one_interface_gets_winusb_as_a_whole() -> None:
    host = Host(compose(IDENTITY, [Bench(), WinUsb(guid=GUID)]))
    assert parse_set(fetched(host)) == MsOs20Set((compatible_id("WINUSB"), interface_guid(GUID)))


def test_in_a_composite_device_only_vendor_specific_functions_get_winusb() -> None:
    host = Host(compose(IDENTITY, [Keyboard(), Bench(), WinUsb()]))
    (configuration,) = parse_set(fetched(host)).items
    assert isinstance(configuration, Subset)
    assert [item.number for item in configuration.items if isinstance(item, Subset)] == [1]


def test_an_association_gets_winusb_once_for_its_first_interface() -> None:
    iad = Association(1, 2, 0xFF, 0, 0)
    settings = [
        AlternateSetting(0, interface_class=3),
        AlternateSetting(1, association=iad),
        AlternateSetting(1, 1),
        AlternateSetting(2),
    ]
    (configuration,) = winusb_set(settings, GUID).items
    assert isinstance(configuration, Subset)
    assert [item.number for item in configuration.items if isinstance(item, Subset)] == [1]


def test_the_device_says_usb_2_01_so_that_hosts_ask_for_the_bos() -> None:
    assert compose(IDENTITY, [Bench(), WinUsb()]).device_descriptor.bcd_usb == 0x0201


@pytest.mark.parametrize("options", [{"guid": "winusb"}, {"vendor_code": 256}])
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        WinUsb(**options)  # type: ignore[arg-type]
