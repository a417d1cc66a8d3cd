"""What a fresh device must be told to be as the client left its predecessor: the requests that left a mark.

Successful OUT requests on endpoint 0, each kept until a later one takes its place, in the order of last use.
SET_CONFIGURATION takes the place of all. Which bits of wValue and wIndex name what is set, and which are the
value it is set to, depends on the request: a table says so. Two entries for what is really one thing do no
harm, since the later one is repeated later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from appliance.sessions.endpoints import SET_CONFIGURATION, SET_INTERFACE
from gadgets.usb.urb import ENDPOINT_IN

LIMIT: Final = 128
"""Requests that are kept."""
LONGEST: Final = 4096
"""Bytes of data of one that is kept."""
SETUP: Final = 8
CLASS: Final = 0x20
VENDOR: Final = 0x40
TYPE: Final = 0x60
"""Of bmRequestType; TYPE is the mask."""

BY_INDEX: Final = (0, 0xFFFF)
"""Masks of wValue and wIndex: the usual case."""
OF_CLASS: Final[Mapping[int, tuple[int, int]]] = {
    0x01: (0xFFFF, 0xFFFF),  # SET_CUR of audio and video: wValue is the control
    0x09: (0xFFFF, 0xFFFF),  # SET_REPORT: wValue is the report
    0x0A: (0x00FF, 0xFFFF),  # SET_IDLE: wValue is the duration and the report
}
OF_VENDOR: Final[Mapping[tuple[int, int], tuple[int, int]]] = {
    (0x0403, 0x01): (0xFF00, 0xFFFF),  # FTDI's modem lines: a mask and their state
    (0x0403, 0x03): (0x0000, 0x00FF),  # FTDI's baud rate: wIndex has bits of the divisor
    (0x10C4, 0x07): (0xFF00, 0xFFFF),  # CP210x' modem lines
    (0x1A86, 0x9A): (0xFFFF, 0x0000),  # CH34x' registers: wIndex is what they become
    (0x067B, 0x01): (0xFFFF, 0x0000),  # PL2303's registers
}
MOMENTARY: Final = frozenset({(0x21, 0x23), (0x21, 0xFF)})
"""What is over when it is done: SEND_BREAK of CDC, the reset of Bulk-Only Transport."""

Key = tuple[int, ...]


class History:
    """`complete` until something had to be forgotten: then no device can be made like its predecessor."""

    def __init__(self, descriptors: bytes, requests: Iterable[bytes] = (), complete: bool = True) -> None:
        self.vendor = int.from_bytes(descriptors[8:10], "little")
        self.requests: dict[Key, bytes] = {}
        for request in requests:
            self.note(request)
        self.complete = complete

    def note(self, request: bytes) -> None:
        """The device has done this: eight setup bytes and the data behind them, if all of it is known."""
        if (key := self.key(request)) is None:
            return
        if key[:2] == SET_CONFIGURATION:
            self.requests.clear()
            self.complete = True
        self.requests.pop(key, None)
        size = int.from_bytes(request[6:SETUP], "little")
        if len(request) - SETUP != size or size > LONGEST:
            self.complete = False
            return
        self.requests[key] = bytes(request)
        if len(self.requests) > LIMIT:
            del self.requests[next(iter(self.requests))]
            self.complete = False

    def key(self, request: bytes) -> Key | None:
        """What is set by it; None: nothing that lasts."""
        kind, number = request[0], request[1]
        value, index = request[2] | request[3] << 8, request[4] | request[5] << 8
        if kind & ENDPOINT_IN or (kind, number) in MOMENTARY:
            return None
        if (kind, number) == SET_CONFIGURATION:
            return kind, number
        if (kind, number) == SET_INTERFACE:
            return kind, number, index
        if kind & TYPE == CLASS:
            masks = OF_CLASS.get(number, BY_INDEX)
        elif kind & TYPE == VENDOR:
            masks = OF_VENDOR.get((self.vendor, number), BY_INDEX)
        else:
            return None
        return kind, number, value & masks[0], index & masks[1]

    def freeze(self) -> tuple[bytes, ...]:
        return tuple(self.requests.values())
