"""The tree of a configuration: round trips, captures of real devices, hostile bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError, UsageError
from gadgets.usb.configuration import AlternateSetting, Configuration, emit, parse_configuration
from gadgets.usb.descriptors import Association, Endpoint
from gadgets.usb.urb import TransferType

byte = st.integers(0, 255)
blobs = st.lists(
    st.builds(
        lambda kind, body: bytes((len(body) + 2, kind)) + body,
        st.sampled_from([0x21, 0x24, 0x25, 0x30]),
        st.binary(max_size=12),
    ),
    max_size=2,
).map(tuple)
endpoints = st.builds(Endpoint, byte, byte, st.integers(0, 0xFFFF), byte, st.binary(max_size=2), blobs)
associations = st.none() | st.builds(Association, byte, byte, byte, byte, byte, byte)
settings = st.builds(
    AlternateSetting,
    byte,
    byte,
    byte,
    byte,
    byte,
    byte,
    blobs,
    st.lists(endpoints, max_size=3).map(tuple),
    associations,
    st.binary(max_size=2),
)
configurations = st.builds(
    Configuration,
    byte,
    st.lists(settings, max_size=4).map(tuple),
    byte,
    byte,
    byte,
    blobs,
    st.binary(max_size=2),
)

HEADSET = bytes.fromhex(
    "09 02 6400 02 01 00 80 32"
    "09 04 00 00 00 01 01 00 00  09 24 01 00 01 0900 01 01"  # audio control, header unit
    "09 04 01 00 00 01 02 00 00"  # streaming, no bandwidth
    "09 04 01 01 01 01 02 00 00  07 24 01 01 01 01 00  0b 24 02 01 02 02 10 01 80bb 00"
    "09 05 01 09 c800 01 00 00  07 25 01 01 00 0000"  # nine-byte endpoint and its class-specific part
    "05 21 01 02 03"
)
HEADSET = HEADSET[:2] + len(HEADSET).to_bytes(2, "little") + HEADSET[4:]


@given(configurations)
def test_a_tree_comes_back_from_its_bytes(configuration: Configuration) -> None:
    data = emit(configuration)
    assert int.from_bytes(data[2:4], "little") == len(data)
    assert parse_configuration(data) == configuration


@given(configurations, st.binary(max_size=30))
def test_what_lies_behind_the_total_length_is_not_looked_at(
    configuration: Configuration, more: bytes
) -> None:
    assert parse_configuration(emit(configuration) + more) == configuration


@given(configurations, st.data())
def test_bytes_flipped_or_cut_are_a_tree_or_refused(
    configuration: Configuration, data: st.DataObject
) -> None:
    raw = bytearray(emit(configuration))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(byte)
    with contextlib.suppress(ProtocolError):
        parse_configuration(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_tree_or_refused(data: bytes) -> None:
    for raw in (data, b"\x09\x02" + (len(data) + 9).to_bytes(2, "little") + bytes(5) + data):
        with contextlib.suppress(ProtocolError):
            parse_configuration(raw)


def test_a_captured_headset_comes_back_byte_for_byte() -> None:
    tree = parse_configuration(HEADSET)
    assert emit(tree) == HEADSET
    assert [[s.alternate for s in interface] for interface in tree.interfaces] == [[0], [0, 1]]
    streaming = tree.setting(1, 1)
    assert streaming is not None
    assert [len(blob) for blob in streaming.extra] == [7, 11]
    (endpoint,) = streaming.endpoints
    assert endpoint.transfer_type is TransferType.ISOCHRONOUS
    assert [blob[1] for blob in endpoint.extra] == [0x25, 0x21]


def test_an_association_belongs_to_the_interface_that_follows_it() -> None:
    iad = Association(0, 2, 2, 2, 1)
    tree = Configuration(1, (AlternateSetting(0, association=iad), AlternateSetting(1)))
    first, second = parse_configuration(emit(tree)).settings
    assert (first.association, second.association) == (iad, None)


def test_counts_are_computed_not_believed() -> None:
    data = bytearray(emit(Configuration(1, (AlternateSetting(0, endpoints=(Endpoint(0x81, 2, 64),)),))))
    data[4], data[13] = 9, 9
    mended = emit(parse_configuration(bytes(data)))
    assert (mended[4], mended[13]) == (1, 1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "not a configuration"),
        ("09 02 0800 00 01 00 80 32", "claims"),
        ("09 02 2000 00 01 00 80 32", "claims"),
        ("09 02 0b00 00 01 00 80 32 00 04", "claims"),
        ("09 02 0d00 00 01 00 80 32 04 04 00 00", "InterfaceHeader"),
    ],
)
def test_what_is_wrong_is_said(data: str, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        parse_configuration(bytes.fromhex(data))


def test_more_than_64_kib_cannot_be_emitted() -> None:
    with pytest.raises(UsageError, match="65535"):
        emit(Configuration(1, extra=(b"\xff\x24" + bytes(253),) * 300))
