"""Captures of URBs that Wireshark opens: pcapng with the header of Linux' usbmon. No I/O: bytes out.

Formats: draft-ietf-opsawg-pcapng; link type 220, LINKTYPE_USB_LINUX_MMAPPED: the 64 bytes of
`struct usbmon_packet` (Documentation/usb/usbmon.rst), isochronous descriptors, data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gadgets.usb.urb import Completion, IsoPacket, SetupPacket, TransferType, Urb

LINK_TYPE = 220
_BLOCK_END = struct.Struct("<I")
_SECTION = struct.Struct("<IIIHHq")
_INTERFACE = struct.Struct("<IIHHI")
_PACKET = struct.Struct("<IIIIIII")
_USBMON = struct.Struct("<QBBBBHBBqiiII8siiII")
_ISO_HEAD = struct.Struct("<ii")
_ISO_PACKET = struct.Struct("<iIII")

_NANOSECONDS = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)
"""Option if_tsresol = 10^-9 and the end of options."""
_IN_PROGRESS = -115
_SUBMIT, _COMPLETE = ord("S"), ord("C")
_PRESENT = 0
_NO_SETUP = ord("-")
_NO_DATA_TO_DEVICE, _NO_DATA_TO_HOST = ord("<"), ord(">")

_USBMON_TYPE = {
    TransferType.ISOCHRONOUS: 0,
    TransferType.INTERRUPT: 1,
    TransferType.CONTROL: 2,
    TransferType.BULK: 3,
}
"""usbmon counts transfer types in its own way."""

MAX_ISO_PACKETS = 128
"""Isochronous descriptors kept of a URB, as usbmon does (ISODESC_MAX in drivers/usb/mon/mon_bin.c)."""


def header(snaplen: int = 65535) -> bytes:
    """Begins a file: section header and interface description."""
    section = _SECTION.pack(0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1) + _BLOCK_END.pack(28)
    size = _INTERFACE.size + len(_NANOSECONDS) + _BLOCK_END.size
    return section + _INTERFACE.pack(1, size, LINK_TYPE, 0, snaplen) + _NANOSECONDS + _BLOCK_END.pack(size)


class _Event(NamedTuple):
    """What differs between a submission and a completion."""

    kind: int
    status: int
    length: int
    data_flag: int
    data: bytes
    setup: SetupPacket | None
    packets: Sequence[tuple[int, int, int]]
    """isochronous: status, offset, length of each"""
    error_count: int


@dataclass(frozen=True, slots=True)
class Capture:
    """Writes the URBs of the device `busnum`:`devnum`; what a URB holds beyond `snaplen` is cut.

    Times are ns since the epoch. `snaplen` is that of `header`, and holds the headers at least: 64 bytes and
    16 for each isochronous packet, of which 128 are kept.
    """

    busnum: int
    devnum: int
    snaplen: int = 65535

    def submit(self, urb: Urb, transfer: TransferType, at_ns: int) -> bytes:
        """`urb` was handed to the device."""
        flag, data = (_NO_DATA_TO_DEVICE, b"") if urb.is_in else (_PRESENT, urb.data)
        packets = [(_IN_PROGRESS, packet.offset, packet.length) for packet in urb.packets]
        event = _Event(_SUBMIT, _IN_PROGRESS, urb.length, flag, data, urb.setup, packets, 0)
        return self._packet(urb, transfer, at_ns, event)

    def complete(self, urb: Urb, completion: Completion, transfer: TransferType, at_ns: int) -> bytes:
        """`completion` ended `urb`. Of an unlinked one the status is ENOENT or ECONNRESET."""
        flag, data = (_PRESENT, completion.data) if urb.is_in else (_NO_DATA_TO_HOST, b"")
        event = _Event(
            _COMPLETE,
            completion.status,
            completion.actual_length,
            flag,
            data,
            None,
            list(_places(completion.packets, joined=urb.is_in)),
            completion.error_count,
        )
        return self._packet(urb, transfer, at_ns, event)

    def _packet(self, urb: Urb, transfer: TransferType, at_ns: int, event: _Event) -> bytes:
        isochronous = transfer is TransferType.ISOCHRONOUS
        kept = event.packets[:MAX_ISO_PACKETS] if isochronous else ()
        descriptors = b"".join(_ISO_PACKET.pack(*packet, 0) for packet in kept)
        if event.setup:
            union = event.setup.emit()
        else:
            union = _ISO_HEAD.pack(event.error_count, len(event.packets) if isochronous else 0)
        payload = descriptors + event.data[: max(self.snaplen - _USBMON.size - len(descriptors), 0)]
        seconds, nanoseconds = divmod(at_ns, 1_000_000_000)
        usbmon = _USBMON.pack(
            urb.number,
            event.kind,
            _USBMON_TYPE[transfer],
            urb.endpoint,
            self.devnum & 0xFF,
            self.busnum & 0xFFFF,
            _PRESENT if event.setup else _NO_SETUP,
            event.data_flag,
            seconds,
            nanoseconds // 1000,
            event.status,
            event.length,
            len(payload),
            union,
            urb.interval,
            urb.start_frame,
            urb.flags,
            len(kept),
        )
        return _block(usbmon + payload, _USBMON.size + len(descriptors) + len(event.data), at_ns)


def _block(packet: bytes, whole: int, at_ns: int) -> bytes:
    """Enhanced packet block; `whole` is the size before it was cut."""
    padding = bytes(-len(packet) % 4)
    size = _PACKET.size + len(packet) + len(padding) + _BLOCK_END.size
    high, low = divmod(at_ns, 1 << 32)
    head = _PACKET.pack(6, size, 0, high & 0xFFFFFFFF, low, len(packet), whole)
    return head + packet + padding + _BLOCK_END.pack(size)


def _places(packets: Sequence[IsoPacket], *, joined: bool) -> Iterator[tuple[int, int, int]]:
    """Status, offset, actual length of each; `joined`: offsets into data without gaps, as IN brings it."""
    at = 0
    for packet in packets:
        yield packet.status, at if joined else packet.offset, packet.actual_length
        at += packet.actual_length
