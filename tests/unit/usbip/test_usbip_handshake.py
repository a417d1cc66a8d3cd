"""Both handshakes, glued together by bytes in memory."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import (
    Busy,
    DeviceFailed,
    NotFound,
    PeerError,
    ProtocolError,
    Refused,
    TwinhubError,
    Unavailable,
    UsageError,
)
from appliance.usbip import handshake
from appliance.usbip.handshake import Devlist, Handshake, Import, T, complete
from appliance.usbip.wire import DeviceRecord
from gadgets.usb.urb import Speed
from tests.unit.usbip.doubles import KEYBOARD


def hear(steps: Handshake[T], data: bytes) -> tuple[T, bytes]:
    """What the handshake makes of these bytes, and what it leaves of them."""
    stream = BytesIO(data)

    def read(count: int) -> bytes:
        if len(part := stream.read(count)) < count:
            raise EOFError
        return part

    return complete(steps, read), stream.read()


def test_the_requests_are_the_bytes_of_the_stock_client() -> None:
    assert handshake.list_request() == bytes.fromhex("0111 8005 00000000")
    assert handshake.import_request("1-1.2") == bytes.fromhex("0111 8003 00000000") + b"1-1.2".ljust(
        32, b"\0"
    )


def test_a_server_hears_a_list_request() -> None:
    assert hear(handshake.request(), handshake.list_request()) == (Devlist(), b"")


@given(st.binary())
def test_urbs_right_behind_an_import_request_are_left_for_the_session(urbs: bytes) -> None:
    assert hear(handshake.request(), handshake.import_request("1-1") + urbs) == (Import("1-1"), urbs)


def test_a_name_of_32_bytes_without_an_end_is_taken_as_it_is() -> None:
    request = handshake.list_request().replace(b"\x80\x05", b"\x80\x03") + b"x" * 32
    assert hear(handshake.request(), request) == (Import("x" * 32), b"")


@pytest.mark.parametrize("request_", ["0110 8005 00000000", "0111 8004 00000000", "0111 0005 00000000"])
def test_another_version_or_operation_is_a_protocol_error(request_: str) -> None:
    with pytest.raises(ProtocolError):
        hear(handshake.request(), bytes.fromhex(request_))


@given(st.binary(max_size=80))
def test_any_bytes_are_a_request_or_too_few_or_a_protocol_error(data: bytes) -> None:
    try:
        asked, rest = hear(handshake.request(), data)
    except (EOFError, ProtocolError):
        return
    assert isinstance(asked, Devlist | Import)
    assert data.endswith(rest)


def test_a_list_reply_is_the_bytes_of_usbipd() -> None:
    reply = handshake.list_reply([KEYBOARD, replace(KEYBOARD, interfaces=())])
    assert reply[:12] == bytes.fromhex("0111 0005 00000000 00000002")
    assert reply[12:] == KEYBOARD.pack() + b"\x03\x01\x01\x00" + replace(KEYBOARD, interfaces=()).pack()


def test_an_import_reply_is_320_bytes_and_a_failure_8() -> None:
    assert handshake.import_reply(KEYBOARD) == bytes.fromhex("0111 0003 00000000") + KEYBOARD.pack()
    assert handshake.failure(Import("x"), Busy("")) == bytes.fromhex("0111 0003 00000002")
    assert handshake.failure(Devlist(), Refused("")) == bytes.fromhex("0111 0005 00000001")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_client_hears_the_list_that_a_server_tells(count: int) -> None:
    records = [replace(KEYBOARD, busid=f"1-{n}", interfaces=KEYBOARD.interfaces * n) for n in range(count)]
    assert hear(handshake.listing(), handshake.list_reply(records) + b"more") == (records, b"more")


def test_a_client_hears_the_import_that_a_server_grants() -> None:
    granted, rest = hear(handshake.importing("keyboard"), handshake.import_reply(KEYBOARD) + b"urbs")
    assert granted == replace(KEYBOARD, interfaces=())
    assert rest == b"urbs"


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        (Refused, Refused),
        (Unavailable, Refused),
        (Busy, Busy),
        (DeviceFailed, DeviceFailed),
        (NotFound, NotFound),
        (TwinhubError, PeerError),
    ],
)
def test_a_failed_import_reaches_the_client_as_what_it_was(
    told: type[TwinhubError], heard: type[TwinhubError]
) -> None:
    with pytest.raises(heard, match="'keyboard'") as raised:
        hear(handshake.importing("keyboard"), handshake.failure(Import("keyboard"), told()))
    assert type(raised.value) is heard


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (bytes.fromhex("0100 0003 00000000"), "speaks USB/IP 0x0100"),
        (bytes.fromhex("0111 0005 00000000"), "operation 0x0005; expected was 0x0003"),
        (bytes.fromhex("0111 0003 00000063"), "unknown status 99"),
        (handshake.import_reply(replace(KEYBOARD, busid="mouse")), "'mouse'; asked for was 'keyboard'"),
        (handshake.import_reply(KEYBOARD).replace(bytes([0, 0, 0, 2, 6, 0x27]), bytes([0, 0, 0, 9, 6, 0x27])),
         "speed 9"),
    ],
    ids=["version", "operation", "status", "another device", "speed"],
)  # fmt: skip
def test_a_hostile_import_reply_is_a_protocol_error_that_says_why(reply: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        hear(handshake.importing("keyboard"), reply)


def test_a_server_that_claims_to_share_millions_is_not_believed() -> None:
    with pytest.raises(ProtocolError, match="claims to share 4294967295 devices"):
        hear(handshake.listing(), bytes.fromhex("0111 0005 00000000 ffffffff"))


def test_a_client_does_not_ask_for_a_name_that_cannot_be() -> None:
    with pytest.raises(UsageError):
        handshake.import_request("x" * 32)


@given(st.sampled_from([handshake.listing, lambda: handshake.importing("a")]), st.binary(max_size=800))
def test_any_reply_is_understood_or_too_short_or_raises_an_error_of_ours(
    client: type[Handshake[DeviceRecord]], data: bytes
) -> None:
    for reply in (
        data,
        bytes.fromhex("0111 0003 00000000") + data,
        bytes.fromhex("0111 0005 00000000") + data,
    ):
        try:
            hear(client(), reply)
        except (EOFError, TwinhubError):
            continue


def test_an_old_client_gets_speed_5_for_a_superspeed_plus_device() -> None:
    reply = handshake.import_reply(replace(KEYBOARD, speed=Speed.SUPER_PLUS))
    assert reply[304:308] == bytes([0, 0, 0, 5])
