"""URBs and their completions: the one interface through which every USB device is reached.

A device turns a numbered stream of `Urb`s into `Completion`s. These types are shared by all that moves
URBs: software gadgets, the USB/IP stream, the relay, the capture. Field names and values are the kernel's
(include/linux/usb.h, include/uapi/asm-generic/errno.h), so nothing is translated on the way.

Who may change what: `Urb`, `Completion` and `IsoPacket` are on a hot path and therefore not frozen.
Whoever makes one may fill it in until it is handed on (`Device.submit`, a return value); from then on
everybody only reads it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final

SHORT_NOT_OK: Final = 0x0001
"""transfer_flags: an IN transfer that brings less than `length` completes with REMOTEIO."""
ISO_ASAP: Final = 0x0002
"""transfer_flags: isochronous, the device chooses the start frame."""
ZERO_PACKET: Final = 0x0040
"""transfer_flags: bulk OUT whose length is a multiple of the packet size ends with an empty packet."""
DIR_IN: Final = 0x0200
"""transfer_flags: the transfer goes to the host."""

ENDPOINT_IN: Final = 0x80
"""The direction bit of an endpoint address, and of bmRequestType. USB 2.0 §9.3, §9.6.6."""


class Speed(IntEnum):
    """Device speeds, with the codes of the kernel's `enum usb_device_speed` and of USB/IP."""

    LOW = 1
    FULL = 2
    HIGH = 3
    WIRELESS = 4
    SUPER = 5
    SUPER_PLUS = 6


class Direction(IntEnum):
    """As seen from the host; also USB/IP's `direction`."""

    OUT = 0
    IN = 1


class TransferType(IntEnum):
    """bmAttributes bits 1..0 of an endpoint descriptor. USB 2.0 §9.6.6."""

    CONTROL = 0
    ISOCHRONOUS = 1
    BULK = 2
    INTERRUPT = 3


class Status(IntEnum):
    """How a transfer ended: 0 or a negative Linux errno (Documentation/driver-api/usb/error-codes.rst)."""

    OK = 0
    NOENT = -2
    """unlinked, as told to a synchronous caller"""
    XDEV = -18
    """isochronous transfer only partially done"""
    NODEV = -19
    """the device is gone"""
    PIPE = -32
    """stall"""
    TIME = -62
    """no answer within the bus turn-around time"""
    PROTO = -71
    """bit stuffing error, or no answer"""
    OVERFLOW = -75
    """babble: the device sent more than was asked for"""
    ILSEQ = -84
    """CRC mismatch"""
    CONNRESET = -104
    """unlinked"""
    SHUTDOWN = -108
    """the device or its host controller was disabled"""
    TIMEDOUT = -110
    REMOTEIO = -121
    """short IN transfer although SHORT_NOT_OK was set"""


class RequestKind(IntEnum):
    """bmRequestType bits 6..5: who defined the request. USB 2.0 table 9-2."""

    STANDARD = 0
    CLASS = 1
    VENDOR = 2
    RESERVED = 3


class Recipient(IntEnum):
    """bmRequestType bits 4..0: what the request is about. USB 2.0 table 9-2; all above 3 is reserved."""

    DEVICE = 0
    INTERFACE = 1
    ENDPOINT = 2
    OTHER = 3
    RESERVED = 4


_SETUP = struct.Struct("<BBHHH")


@dataclass(frozen=True, slots=True)
class SetupPacket:
    """The eight bytes that open a control transfer, little-endian. USB 2.0 §9.3."""

    request_type: int
    request: int
    value: int = 0
    index: int = 0
    length: int = 0

    SIZE: ClassVar[int] = 8

    @classmethod
    def parse(cls, data: bytes) -> SetupPacket:
        """Exactly 8 bytes; any 8 bytes are a setup packet. Raises struct.error for another count."""
        return cls(*_SETUP.unpack(data))

    def emit(self) -> bytes:
        return _SETUP.pack(self.request_type, self.request, self.value, self.index, self.length)

    @property
    def direction(self) -> Direction:
        return Direction(self.request_type >> 7)

    @property
    def kind(self) -> RequestKind:
        return RequestKind(self.request_type >> 5 & 3)

    @property
    def recipient(self) -> Recipient:
        return Recipient(min(self.request_type & 0x1F, Recipient.RESERVED))

    def __str__(self) -> str:
        return (
            f"{self.request_type:02x} {self.request:02x} {self.value:04x} {self.index:04x} {self.length:04x}"
        )


@dataclass(slots=True)
class IsoPacket:
    """One packet of an isochronous transfer: where it lies in the transfer's buffer, and how it went."""

    offset: int
    length: int
    actual_length: int = 0
    status: int = 0


@dataclass(slots=True)
class Urb:
    """One transfer asked of a device.

    `number` is the submitter's own and unique among those in flight (USB/IP: seqnum). `endpoint` carries the
    direction bit (0x81 = IN 1); for control transfers it is the data stage's direction: 0x80 or 0x00.
    `data` is what goes out: exactly `length` bytes for OUT, empty for IN. `setup` is there for control
    transfers only, `packets` for isochronous ones only.
    """

    number: int
    endpoint: int
    length: int = 0
    data: bytes = b""
    setup: SetupPacket | None = None
    flags: int = 0
    packets: tuple[IsoPacket, ...] = ()
    interval: int = 0
    start_frame: int = 0

    @property
    def is_in(self) -> bool:
        return self.endpoint & ENDPOINT_IN != 0


@dataclass(slots=True)
class Completion:
    """How the URB of the same `number` ended.

    `status` is 0 or a negative errno (`Status`, or another one that a real device's kernel gave). IN: `data`
    is what came and `actual_length` its size; OUT: `data` is empty and `actual_length` counts the bytes the
    device accepted. Isochronous: `packets` are the URB's, filled in; for IN, `data` is their actual bytes
    joined without gaps.
    """

    number: int
    status: int = 0
    actual_length: int = 0
    data: bytes = b""
    packets: tuple[IsoPacket, ...] = ()
    start_frame: int = 0
    error_count: int = 0
