"""INQUIRY: who a unit is, and its vital product data. SPC-4 §6.4, §7.8; SBC-3 §6.6."""

from __future__ import annotations

import struct
from collections.abc import Callable

from gadgets.storage.scsi import sense as senses
from gadgets.storage.scsi.blocks import MAX_UNMAP_DESCRIPTORS, MAX_WRITE_SAME
from gadgets.storage.scsi.command import Outcome, reply
from gadgets.storage.scsi.sense import CheckCondition
from gadgets.storage.scsi.unit import Nature, Unit

SPC_4 = 0x06
DISK, CDROM, NOTHING = 0x00, 0x05, 0x7F
_VERSIONS = {False: (0x1730, 0x0460, 0x04C0), True: (0x1730, 0x0460, 0x04E0)}
"""Version descriptors: Bulk-Only Transport 1.0, SPC-4, and SBC-3 or MMC-6."""
_HEAD = struct.Struct(">BBBBBxxx8s16s4s22x")
_LENGTH = 96
_BEST_BLOCKS = 1 << 20
"""Bytes that one command moves best."""
_NO_LIMIT = 0xFFFFFFFF


def inquiry(unit: Unit, block: bytes) -> Outcome:
    allocation = int.from_bytes(block[3:5], "big")
    if block[1] & 1:
        make = _pages(unit.nature).get(block[2])
        if make is None:
            raise CheckCondition(senses.INVALID_FIELD.at(2))
        body = make(unit.nature)
        header = struct.pack(">BBH", _kind(unit.nature), block[2], len(body))
        return reply(header + body, allocation)
    if block[2]:
        raise CheckCondition(senses.INVALID_FIELD.at(2))
    return reply(_standard(unit.nature), allocation)


def nobody(block: bytes) -> Outcome:
    """Of a LUN behind which there is nothing: it could not be anything. SPC-4 §6.4.2."""
    data = bytes((NOTHING, 0, SPC_4, 2, 31)) + bytes(31)
    return reply(data, int.from_bytes(block[3:5], "big"))


def _standard(nature: Nature) -> bytes:
    head = _HEAD.pack(
        _kind(nature),
        nature.removable << 7,
        SPC_4,
        2,
        _LENGTH - 5,
        text(nature.vendor, 8),
        text(nature.product, 16),
        text(nature.revision, 4),
    )
    return (head + struct.pack(">3H", *_VERSIONS[nature.cdrom])).ljust(_LENGTH, b"\0")


def text(value: str, size: int) -> bytes:
    """ASCII, left-aligned, padded with spaces. SPC-4 §4.4.1."""
    return value.encode("ascii", "replace")[:size].ljust(size)


def _kind(nature: Nature) -> int:
    return CDROM if nature.cdrom else DISK


def _supported_pages(nature: Nature) -> bytes:
    return bytes(_pages(nature))


def _serial(nature: Nature) -> bytes:
    return nature.serial.encode("ascii", "replace")


def _identification(nature: Nature) -> bytes:
    """One designator: T10 vendor identification, in ASCII, of the unit. SPC-4 §7.8.5.4."""
    name = text(nature.vendor, 8) + text(nature.product, 16) + _serial(nature)
    return bytes((0x02, 0x01, 0, len(name))) + name


def _limits(nature: Nature) -> bytes:
    """WSNZ; as much as you like at once, best 1 MiB; how much to discard. SBC-3 §6.6.3."""
    size = nature.block_size
    granularity = max(4096 // size, 1)
    return struct.pack(
        ">BBHIIIIIIIQ20x",
        1,
        0,
        granularity,
        0,
        _BEST_BLOCKS // size,
        0,
        _NO_LIMIT,
        MAX_UNMAP_DESCRIPTORS,
        granularity,
        0x80000000,
        MAX_WRITE_SAME // size,
    )


def _characteristics(nature: Nature) -> bytes:
    """It does not rotate. SBC-3 §6.6.2."""
    return struct.pack(">H58x", 1)


def _provisioning(nature: Nature) -> bytes:
    """Thin: UNMAP and both WRITE SAMEs discard, and then blocks read as zeros. SBC-3 §6.6.4."""
    return bytes((0, 0xE4, 0x02, 0))


_Page = Callable[[Nature], bytes]
_EVERYWHERE: dict[int, _Page] = {0x00: _supported_pages, 0x80: _serial, 0x83: _identification}
_ON_DISKS: dict[int, _Page] = {
    **_EVERYWHERE,
    0xB0: _limits,
    0xB1: _characteristics,
    0xB2: _provisioning,
}


def _pages(nature: Nature) -> dict[int, _Page]:
    return _EVERYWHERE if nature.cdrom else _ON_DISKS
