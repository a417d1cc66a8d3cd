"""Descriptors emit and parse, and nothing hostile gets further than a ProtocolError."""

from __future__ import annotations

import contextlib
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError, UsageError
from gadgets.usb import capabilities, class_descriptors, descriptors
from gadgets.usb.capabilities import (
    ContainerId,
    OtherCapability,
    PlatformCapability,
    SuperSpeedCapability,
    Usb2Extension,
    emit_bos,
    parse_bos,
)
from gadgets.usb.class_descriptors import CDC_UNION, HID, CdcUnion, HidDescriptor
from gadgets.usb.descriptors import DEVICE, ENDPOINT, DeviceDescriptor, Endpoint
from gadgets.usb.shape import Shape, split
from gadgets.usb.strings import Strings, emit_string, parse_languages, parse_string

SHAPES = [
    shape
    for module in (descriptors, class_descriptors)
    for shape in vars(module).values()
    if isinstance(shape, Shape)
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.record.__name__)
@given(body=st.binary(max_size=40))
def test_what_a_shape_parses_it_emits_again(shape: Shape[Any], body: bytes) -> None:
    data = bytes((len(body) + 2, shape.kind)) + body
    with contextlib.suppress(ProtocolError):
        assert shape.emit(shape.parse(data)) == data


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.record.__name__)
@given(data=st.binary(max_size=40))
def test_any_bytes_parse_or_are_refused_with_a_sentence(shape: Shape[Any], data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        shape.parse(data)


def test_a_device_descriptor_is_the_eighteen_bytes_of_the_specification() -> None:
    device = DeviceDescriptor(0x0200, 0xEF, 2, 1, 64, 0x1209, 0x0001, 0x0123, 1, 2, 3, 1)
    assert DEVICE.emit(device).hex(" ") == "12 01 00 02 ef 02 01 40 09 12 01 00 23 01 01 02 03 01"


def test_an_audio_endpoint_keeps_its_two_extra_bytes() -> None:
    data = bytes.fromhex("09 05 01 09 c800 04 0a 83")
    endpoint = ENDPOINT.parse(data)
    assert (endpoint.address, endpoint.tail) == (0x01, b"\x0a\x83")
    assert ENDPOINT.emit(endpoint) == data


def test_an_endpoint_tells_its_packet_size_without_the_high_bandwidth_bits() -> None:
    assert Endpoint(0x81, 5, 0x1400).packet_size == 1024


def test_hid_and_cdc_look_as_their_documents_say() -> None:
    assert HID.emit(HidDescriptor(63)).hex(" ") == "09 21 11 01 00 01 22 3f 00"
    assert CDC_UNION.emit(CdcUnion(0, b"\x01\x02")).hex(" ") == "06 24 06 00 01 02"


def test_a_value_that_does_not_fit_is_refused_when_emitted() -> None:
    with pytest.raises(UsageError, match="DeviceDescriptor"):
        DEVICE.emit(DeviceDescriptor(vendor_id=0x10000))
    with pytest.raises(UsageError, match="255"):
        CDC_UNION.emit(CdcUnion(0, bytes(300)))


@given(st.binary(max_size=200))
def test_split_loses_nothing_and_ends(data: bytes) -> None:
    try:
        parts = list(split(data))
    except ProtocolError:
        return
    assert b"".join(parts) == data


@pytest.mark.parametrize("data", [b"\x00\x05", b"\x01\x05", b"\x03\x05", b"\x02"])
def test_a_length_that_lies_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="claims"):
        list(split(data))


WEBUSB = UUID("3408b638-09a9-47a0-8bfd-a0768815b665")
CAPABILITIES = (
    Usb2Extension(0x06),
    SuperSpeedCapability(),
    ContainerId(bytes(range(16))),
    capabilities.platform(WEBUSB, b"\x00\x01\x01\x00"),
    OtherCapability(0x0A, b"\x01\x00"),
)


def test_a_bos_counts_its_capabilities_and_comes_back() -> None:
    data = emit_bos(CAPABILITIES)
    assert data[:5] == bytes((5, 0x0F, len(data) & 0xFF, len(data) >> 8, 5))
    assert parse_bos(data) == CAPABILITIES


def test_a_platform_is_a_uuid_in_its_order_on_the_wire() -> None:
    assert isinstance(CAPABILITIES[3], PlatformCapability)
    assert CAPABILITIES[3].platform.hex() == "38b60834a909a0478bfda0768815b665"


@given(st.binary(max_size=80))
def test_any_bytes_are_a_bos_or_refused(body: bytes) -> None:
    for data in (body, b"\x05\x0f" + bytes((len(body) + 5, 0, 1)) + body):
        with contextlib.suppress(ProtocolError):
            assert parse_bos(emit_bos(parse_bos(data))) == parse_bos(data)


@given(st.text(max_size=60))
def test_a_string_comes_back(text: str) -> None:
    assert parse_string(emit_string(text)) == text


@given(st.binary(max_size=40))
def test_a_hostile_string_is_text_or_refused(data: bytes) -> None:
    for parse in (parse_string, parse_languages):
        with contextlib.suppress(ProtocolError):
            parse(data)


def test_a_string_holds_126_characters() -> None:
    assert len(emit_string("x" * 126)) == 254
    with pytest.raises(UsageError, match="126"):
        emit_string("x" * 127)


def test_strings_are_numbered_from_one_and_once_each() -> None:
    strings = Strings()
    assert [strings.add(text) for text in ("Maker", "", "Thing", "Maker")] == [1, 0, 2, 1]
    assert (strings.text(2), strings.text(0), strings.text(9)) == ("Thing", "", "")


def test_a_language_without_a_string_gives_the_one_there_is() -> None:
    found = Strings("Maker", {0x0409: "Bench", 0x0407: "Prüfstand"}).descriptors()
    assert parse_languages(found[0, 0]) == [0x0409, 0x0407]
    assert parse_string(found[2, 0x0407]) == "Prüfstand"
    assert parse_string(found[1, 0x0407]) == "Maker"


def test_a_device_without_strings_has_no_list_of_languages() -> None:
    assert Strings().descriptors() == {}
