"""WebUSB: a browser may talk to the device, and is told its page. https://wicg.github.io/webusb/ §4."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from uuid import UUID

from appliance.errors import ProtocolError, UsageError
from gadgets.usb.capabilities import Capability, platform
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.function import Answer, Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.shape import with_header
from gadgets.usb.urb import SetupPacket

WEBUSB = UUID("3408b638-09a9-47a0-8bfd-a0768815b665")
"""Of the platform capability that announces it."""
URL_DESCRIPTOR = 0x03
GET_URL = 2
"""wIndex of the vendor request; wValue is the page's number."""
LANDING_PAGE = 1

SCHEMES = {0: "http://", 1: "https://", 255: ""}


def emit_url(url: str) -> bytes:
    """A URL descriptor; its scheme is one byte where it has a code. Raises UsageError for one too long."""
    code, scheme = next((code, scheme) for code, scheme in SCHEMES.items() if url.startswith(scheme))
    return with_header(URL_DESCRIPTOR, bytes((code,)) + url.removeprefix(scheme).encode())


def parse_url(data: bytes) -> str:
    """The inverse; broken UTF-8 comes out as U+FFFD. Raises ProtocolError."""
    if len(data) < 3 or (data[0], data[1]) != (len(data), URL_DESCRIPTOR) or data[2] not in SCHEMES:
        raise ProtocolError(f"not a WebUSB URL descriptor: {data[:8].hex()}")
    return SCHEMES[data[2]] + data[3:].decode(errors="replace")


class WebUsb(Function):
    """Lets web pages ask for the device, and has the browser offer `url` when it is plugged in.

    `vendor_code` is the request (bRequest) by which the browser asks for the URL. It is no interface itself.
    """

    def __init__(self, *, url: str = "", vendor_code: int = 0x57) -> None:
        if not 0 <= vendor_code <= 0xFF:
            raise UsageError(f"vendor_code: found {vendor_code}, wanted 0 to 255")
        self.url = url
        self.vendor_code = vendor_code
        self._answer = emit_url(url)

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        return ()

    def capabilities(self, settings: Sequence[AlternateSetting]) -> Sequence[Capability]:
        page = LANDING_PAGE if self.url else 0
        return [platform(WEBUSB, struct.pack("<HBB", 0x0100, self.vendor_code, page))]

    def setup(self, setup: SetupPacket, data: bytes) -> Answer:
        asked = (setup.request_type, setup.request, setup.value, setup.index)
        known = (0xC0, self.vendor_code, LANDING_PAGE, GET_URL)
        return self._answer if self.url and asked == known else None
