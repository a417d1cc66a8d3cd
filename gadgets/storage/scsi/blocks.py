"""Reading and writing: the block commands of SBC-3 §5."""

from __future__ import annotations

import struct
from collections.abc import Callable

from gadgets.storage.events import Flushed
from gadgets.storage.scsi import sense as senses
from gadgets.storage.scsi.command import Handler, Outcome, collect, reply
from gadgets.storage.scsi.sense import CheckCondition
from gadgets.storage.scsi.task import CompareBlocks, ReadBlocks, WriteBlocks, action
from gadgets.storage.scsi.unit import Unit

MAX_WRITE_SAME = 32 << 20
"""Bytes that one WRITE SAME may write; more makes the host wait too long."""
MAX_UNMAP_DESCRIPTORS = 256
PATTERN = 1 << 20

_Place = Callable[[bytes], tuple[int, int]]

_CAPACITY_10 = struct.Struct(">II")
_CAPACITY_16 = struct.Struct(">QIBBBB16x")
_UNMAP = struct.Struct(">QI4x")
_MAX_32 = 0xFFFFFFFF

_BLOCKS_10: _Place = struct.Struct(">2xIxH7x").unpack
_BLOCKS_12: _Place = struct.Struct(">2xII6x").unpack
_BLOCKS_16: _Place = struct.Struct(">2xQI2x").unpack
FUA, IMMEDIATE, UNMAP_BIT, NO_DATA = 0x08, 0x02, 0x08, 0x01


def _blocks_6(block: bytes) -> tuple[int, int]:
    """21 bits of LBA; no blocks means 256."""
    return int.from_bytes(block[1:4], "big") & 0x1FFFFF, block[4] or 256


_PLACES: dict[int, _Place] = {6: _blocks_6, 10: _BLOCKS_10, 12: _BLOCKS_12, 16: _BLOCKS_16}
"""Where a command block of so many bytes has its LBA and its number of blocks."""
_COUNT_AT = {10: 7, 16: 10}


def _check_range(unit: Unit, lba: int, count: int) -> None:
    if lba + count > unit.blocks:
        raise CheckCondition(senses.OUT_OF_RANGE.about(lba))


def read(size: int) -> Handler:
    """READ of `size` bytes. RDPROTECT is not looked at: there is no protection, and hosts that count on
    SCSI-2 put the LUN there. The cache holds nothing that is not on the medium: FUA is nothing special."""
    place = _PLACES[size]

    def handler(unit: Unit, block: bytes) -> Outcome:
        lba, count = place(block)
        _check_range(unit, lba, count)
        if not count:
            return None
        shift = unit.shift
        return ReadBlocks(unit, unit.medium_number, lba << shift, count << shift)

    return handler


def write(size: int, *, verify: bool = False) -> Handler:
    """WRITE of `size` bytes; with FUA, or WRITE AND VERIFY, durable before the answer."""
    place = _PLACES[size]

    def handler(unit: Unit, block: bytes) -> Outcome:
        lba, count = place(block)
        _check_range(unit, lba, count)
        if not count:
            return None
        flush = verify or unit.write_through or (size > 6 and block[1] & FUA != 0)
        shift = unit.shift
        return WriteBlocks(unit, unit.medium_number, lba << shift, count << shift, flush)

    return handler


def verify(size: int) -> Handler:
    """VERIFY: against the data sent (BYTCHK 01b), or that no block is known to fail. SBC-3 §5.33."""
    place = _PLACES[size]

    def handler(unit: Unit, block: bytes) -> Outcome:
        lba, count = place(block)
        _check_range(unit, lba, count)
        check = block[1] >> 1 & 3
        if check > 1:
            raise CheckCondition(senses.INVALID_FIELD.at(1))
        at, length = lba << unit.shift, count << unit.shift
        if check and count:
            return CompareBlocks(unit, unit.medium_number, at, length, False)
        unit.verify(at, length)
        return None

    return handler


def synchronize_cache(size: int) -> Handler:
    """All of the cache, whatever the range. With IMMED a failure is told with a later command."""
    place = _PLACES[size]

    def handler(unit: Unit, block: bytes) -> Outcome:
        _check_range(unit, *place(block))
        try:
            unit.flush(unit.medium_number)
        except CheckCondition as check:
            if not block[1] & IMMEDIATE:
                raise
            unit.deferred = check.sense.later()
        else:
            unit.tell(Flushed(unit.nature.index))
        return None

    return handler


def seek(unit: Unit, block: bytes) -> Outcome:
    _check_range(unit, _BLOCKS_10(block)[0], 1)
    return None


# Capacity


def read_capacity_10(unit: Unit, block: bytes) -> Outcome:
    """SBC-3 §5.15: a disk with more blocks than fit says so by the largest number."""
    if not block[8] & 1 and any(block[2:6]):
        raise CheckCondition(senses.INVALID_FIELD.at(2))
    return reply(_CAPACITY_10.pack(min(unit.blocks - 1, _MAX_32), unit.block_size), 8)


def read_capacity_16(unit: Unit, block: bytes) -> Outcome:
    """SBC-3 §5.16: thinly provisioned, and what was discarded reads as zeros (LBPME, LBPRZ)."""
    thin = 0 if unit.nature.cdrom else 0xC0
    data = _CAPACITY_16.pack(unit.blocks - 1, unit.block_size, 0, 0, thin, 0)
    return reply(data, int.from_bytes(block[10:14], "big"))


def read_format_capacities(unit: Unit, block: bytes) -> Outcome:
    """MMC-6 §6.23: the list with the one capacity that there is; without a medium, the largest possible."""
    blocks, kind = (unit.blocks, 2) if unit.medium else (_MAX_32, 3)
    capacity = struct.pack(">3xBII", 8, min(blocks, _MAX_32), kind << 24 | unit.block_size)
    return reply(capacity, int.from_bytes(block[7:9], "big"))


# Discarding


def unmap(unit: Unit, block: bytes) -> Outcome:
    if block[1] & 1:
        raise CheckCondition(senses.INVALID_FIELD.at(1))
    return collect(unit, "unmap_list", block, int.from_bytes(block[7:9], "big"))


@action
def unmap_list(unit: Unit, block: bytes, data: bytes) -> None:
    """SBC-3 §5.28: all descriptors are looked at before one is acted on."""
    if len(data) < 8:
        raise CheckCondition(senses.PARAMETER_LIST_LENGTH)
    length = int.from_bytes(data[2:4], "big") // _UNMAP.size * _UNMAP.size
    if length > MAX_UNMAP_DESCRIPTORS * _UNMAP.size:
        raise CheckCondition(senses.INVALID_PARAMETER.at(2))
    whole = data[8 : 8 + length]
    ranges = list(_UNMAP.iter_unpack(whole[: len(whole) // _UNMAP.size * _UNMAP.size]))
    for lba, count in ranges:
        _check_range(unit, lba, count)
    for lba, count in ranges:
        unit.discard(lba << unit.shift, count << unit.shift)
    unit.settle()


def write_same(size: int) -> Handler:
    """WRITE SAME: one block, many times. Zeros, sent or (16-byte NDOB) meant, are discarded instead. SBC-3
    §5.44; WSNZ: no number of blocks is not the whole disk."""
    place = _PLACES[size]

    def handler(unit: Unit, block: bytes) -> Outcome:
        lba, count = place(block)
        _check_range(unit, lba, count)
        if not count:
            raise CheckCondition(senses.INVALID_FIELD.at(_COUNT_AT[size]))
        if size == 16 and block[1] & NO_DATA:
            unit.discard(lba << unit.shift, count << unit.shift)
            unit.settle()
            return None
        return collect(unit, "write_pattern", block, unit.block_size)

    return handler


@action
def write_pattern(unit: Unit, block: bytes, data: bytes) -> None:
    size = 16 if block[0] == 0x93 else 10
    lba, count = _PLACES[size](block)
    _check_range(unit, lba, count)
    at, length = lba << unit.shift, count << unit.shift
    if not any(data):
        unit.discard(at, length)
    elif length > MAX_WRITE_SAME:
        raise CheckCondition(senses.INVALID_FIELD.at(_COUNT_AT[size]))
    else:
        pattern = memoryview(data * (PATTERN // len(data)))
        for start in range(0, length, PATTERN):
            unit.write(unit.medium_number, at + start, pattern[: length - start])
    unit.settle()
