"""A browser is told that it may talk to a gadget, and of which page."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError, UsageError
from gadgets.usb.compose import compose
from gadgets.usb.microsoft import WinUsb
from gadgets.usb.webusb import WEBUSB, WebUsb, emit_url, parse_url
from tests.unit.gadgets.host import IDENTITY, Bench, Host


def test_the_bos_announces_webusb_with_its_landing_page() -> None:
    host = Host(compose(IDENTITY, [Bench(), WebUsb(url="https://example.com/x")]))
    bos = host.control("80 06 0f00 0000 ffff")
    assert bos == bytes.fromhex("050f1d0001 18100500") + WEBUSB.bytes_le + bytes.fromhex("0001 57 01")
    assert host.control("c0 57 0001 0002 00ff") == bytes.fromhex("10 03 01") + b"example.com/x"


def test_without_a_page_there_is_none() -> None:
    host = Host(compose(IDENTITY, [Bench(), WebUsb()]))
    bos = host.control("80 06 0f00 0000 ffff")
    assert bos is not None
    assert bos.endswith(bytes.fromhex("0001 57 00"))
    assert host.control("c0 57 0001 0002 00ff") is None


def test_webusb_and_winusb_live_in_one_device() -> None:
    host = Host(compose(IDENTITY, [Bench(), WebUsb(url="http://a"), WinUsb()]))
    bos = host.control("80 06 0f00 0000 ffff")
    assert bos is not None
    assert bos[4] == 2
    assert host.control("c0 57 0001 0002 00ff") == b"\x04\x03\x00a"


@given(st.text(max_size=60))
def test_every_url_comes_back(url: str) -> None:
    with suppress(UnicodeEncodeError):
        assert parse_url(emit_url(url)) == url


@given(st.binary(max_size=20) | st.binary(min_size=256, max_size=300).map(lambda tail: b"\xff\x03" + tail))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    with suppress(ProtocolError):
        parse_url(data)


@pytest.mark.parametrize("options", [{"vendor_code": -1}, {"url": "https://" + "x" * 253}])
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        WebUsb(**options)  # type: ignore[arg-type]
