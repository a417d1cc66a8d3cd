"""USB/IP 1.1.1 on the wire: operation messages and the 48-byte headers of the URB phase.

Byte for byte what Linux does (drivers/usb/usbip, tools/usb/usbip). Integers are big-endian, except the
eight setup bytes, which are raw USB. Every size that a peer can name has its bound here; whoever reads
must refuse more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from appliance.errors import ProtocolError, UsageError
from gadgets.usb.urb import IsoPacket, Speed

PORT: Final = 3240
VERSION: Final = 0x0111

NAME_SIZE: Final = 32
"""The busid field, closing NUL included: an export name has at most 31 bytes."""
PATH_SIZE: Final = 256
MAX_DEVICES: Final = 1024
"""Devices that a list reply may hold."""
MAX_TRANSFER: Final = 16 << 20
"""Bytes of one URB: what Linux's usbfs lends to a process at most."""
MAX_ISO_PACKETS: Final = 1024
"""USBIP_MAX_ISO_PACKETS of drivers/usb/usbip/usbip_common.h."""
MAX_ENDPOINT: Final = 15


class Op(IntEnum):
    REQ_IMPORT = 0x8003
    REP_IMPORT = 0x0003
    REQ_DEVLIST = 0x8005
    REP_DEVLIST = 0x0005


class OpStatus(IntEnum):
    """`status` of a reply, as `usbip_status` of the error tree (tools/usb/usbip/src/usbip_network.h)."""

    OK = 0
    NOT_AVAILABLE = 1
    BUSY = 2
    DEVICE_ERROR = 3
    NO_DEVICE = 4
    ERROR = 5


class Command(IntEnum):
    SUBMIT = 1
    UNLINK = 2
    RET_SUBMIT = 3
    RET_UNLINK = 4


OP_COMMON: Final = Struct(">HHI")
"""version code status"""
COUNT: Final = Struct(">I")
"""How many devices a list reply holds."""
DEVICE: Final = Struct(f">{PATH_SIZE}s{NAME_SIZE}sIIIHHH6B")
INTERFACE: Final = Struct(">BBBx")

SPEEDS: Final = {0: Speed.SUPER} | {int(speed): speed for speed in Speed}
"""0 is what usbipd says of a device faster than it knows (read_attr_speed, tools/usb/usbip/libsrc)."""

COMMAND: Final = Struct(">6I4i8s")
"""command seqnum devid direction ep; transfer_flags length start_frame number_of_packets interval setup.
CMD_UNLINK has unlink_seqnum for transfer_flags, and zeros behind it."""
REPLY: Final = Struct(">5I5i8x")
"""command seqnum 0 0 0; status actual_length start_frame number_of_packets error_count.
RET_UNLINK has zeros behind status."""
ISO_PACKET: Final = Struct(">IIIi")
"""offset length actual_length status"""
HEADER_SIZE: Final = 48


@dataclass(frozen=True, slots=True)
class InterfaceRecord:
    """What a list reply tells of one interface."""

    interface_class: int
    subclass: int
    protocol: int

    def pack(self) -> bytes:
        return INTERFACE.pack(self.interface_class, self.subclass, self.protocol)


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """What a list or import reply tells of one device.

    `busid` is the name to import it by. An import reply carries no interface records: there `interfaces`
    is empty after unpacking, however many the device has.
    """

    path: str
    busid: str
    busnum: int
    devnum: int
    speed: Speed
    vendor_id: int
    product_id: int
    bcd_device: int
    device_class: int
    subclass: int
    protocol: int
    configuration_value: int
    num_configurations: int
    interfaces: tuple[InterfaceRecord, ...] = ()

    @property
    def devid(self) -> int:
        """The device's number in the header of each of its URBs."""
        return self.busnum << 16 | self.devnum

    def pack(self) -> bytes:
        """312 bytes, without the interface records. UsageError if the busid does not fit its field."""
        return DEVICE.pack(
            self.path.encode()[: PATH_SIZE - 1],
            pack_name(self.busid),
            self.busnum,
            self.devnum,
            min(self.speed, Speed.SUPER),  # clients before Linux 6.12 refuse SUPER_PLUS
            self.vendor_id,
            self.product_id,
            self.bcd_device,
            self.device_class,
            self.subclass,
            self.protocol,
            self.configuration_value,
            self.num_configurations,
            len(self.interfaces),
        )


def pack_name(name: str) -> bytes:
    """An export name as its bytes on the wire, unpadded. UsageError if it is empty or over 31 bytes."""
    encoded = name.encode("utf-8", "replace")
    if not 0 < len(encoded) < NAME_SIZE:
        raise UsageError(f"{name!r} cannot be an export name: it must have 1 to {NAME_SIZE - 1} bytes")
    return encoded


def unpack_text(field: bytes) -> str:
    """A NUL-padded field of a stranger, safe to show: what is not printable text becomes U+FFFD."""
    text = field.partition(b"\0")[0].decode("utf-8", "replace")
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


def unpack_device(data: bytes) -> tuple[DeviceRecord, int]:
    """312 bytes into the record and its number of interfaces. ProtocolError for a speed there is not."""
    path, busid, busnum, devnum, speed, *rest, num_interfaces = DEVICE.unpack(data)
    name = unpack_text(busid)
    if speed not in SPEEDS:
        raise ProtocolError(f"the server says that {name!r} has speed {speed}, which does not exist")
    return DeviceRecord(unpack_text(path), name, busnum, devnum, SPEEDS[speed], *rest), num_interfaces


class Submit(NamedTuple):
    """CMD_SUBMIT. Behind it: the OUT payload, then the isochronous descriptors."""

    seqnum: int
    devid: int
    direction: int
    ep: int
    flags: int
    length: int
    start_frame: int
    packets: int
    interval: int
    setup: bytes

    def pack(self) -> bytes:
        return COMMAND.pack(Command.SUBMIT, *self)


class Unlink(NamedTuple):
    """CMD_UNLINK: cancel the URB that was submitted as `number`."""

    seqnum: int
    devid: int
    number: int

    def pack(self) -> bytes:
        return COMMAND.pack(Command.UNLINK, self.seqnum, self.devid, 0, 0, self.number, 0, 0, 0, 0, b"")


class RetSubmit(NamedTuple):
    """RET_SUBMIT. Behind it: the IN payload, then the isochronous descriptors."""

    seqnum: int
    status: int
    actual_length: int
    start_frame: int
    packets: int
    error_count: int

    def pack(self) -> bytes:
        return REPLY.pack(Command.RET_SUBMIT, self.seqnum, 0, 0, 0, *self[1:])


class RetUnlink(NamedTuple):
    """RET_UNLINK: −104 if the URB was cancelled, 0 if it had been answered before."""

    seqnum: int
    status: int

    def pack(self) -> bytes:
        return REPLY.pack(Command.RET_UNLINK, self.seqnum, 0, 0, 0, self.status, 0, 0, 0, 0)


def unpack_command(header: bytes) -> Submit | Unlink:
    """The client's 48 bytes, checked against the bounds. Raises ProtocolError."""
    command, seqnum, devid, direction, ep, flags, length, start_frame, packets, interval, setup = (
        COMMAND.unpack(header)
    )
    if command == Command.SUBMIT:
        check_submit(direction, ep, length, packets)
        return Submit(seqnum, devid, direction, ep, flags, length, start_frame, packets, interval, setup)
    if command == Command.UNLINK:
        return Unlink(seqnum, devid, flags)
    raise ProtocolError(f"the client sent URB command {command}, which does not exist")


def unpack_reply(header: bytes) -> RetSubmit | RetUnlink:
    """The server's 48 bytes, checked against the bounds. Raises ProtocolError."""
    command, seqnum, _, _, _, status, actual_length, start_frame, packets, error_count = REPLY.unpack(header)
    if command == Command.RET_UNLINK:
        return RetUnlink(seqnum, status)
    if command != Command.RET_SUBMIT:
        raise ProtocolError(f"the server sent URB reply {command}, which does not exist")
    if not 0 <= actual_length <= MAX_TRANSFER:
        raise ProtocolError(
            f"the server answers URB {seqnum} with {actual_length} bytes; {MAX_TRANSFER} are allowed"
        )
    if packets > MAX_ISO_PACKETS:
        raise ProtocolError(
            f"the server answers URB {seqnum} with {packets} packets; {MAX_ISO_PACKETS} are allowed"
        )
    return RetSubmit(seqnum, status, actual_length, start_frame, packets, error_count)


def check_submit(direction: int, ep: int, length: int, packets: int) -> None:
    """The bounds of a CMD_SUBMIT. Any negative packet count means none: usbip-win2 sends −1."""
    if 0 <= length <= MAX_TRANSFER and ep <= MAX_ENDPOINT and direction <= 1 and packets <= MAX_ISO_PACKETS:
        return
    raise ProtocolError(
        f"the client asks for a transfer of {length} bytes in {packets} packets, direction {direction}, "
        f"endpoint {ep}; allowed are {MAX_TRANSFER} bytes, {MAX_ISO_PACKETS} packets, 0 or 1, and 0 to 15"
    )


def pack_iso(packets: Iterable[IsoPacket]) -> bytes:
    return b"".join(ISO_PACKET.pack(p.offset, p.length, p.actual_length, p.status) for p in packets)


def unpack_iso(data: bytes, length: int) -> tuple[IsoPacket, ...]:
    """The packets of a transfer of `length` bytes. ProtocolError if they do not fit into it."""
    packets = tuple([IsoPacket(*fields) for fields in ISO_PACKET.iter_unpack(data)])
    total = 0
    for packet in packets:
        total += packet.length
        if packet.offset + packet.length > length or total > length:
            raise ProtocolError(
                f"an isochronous packet lies outside its transfer of {length} bytes: {packet}"
            )
    return packets
