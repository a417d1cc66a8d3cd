"""What a CD-ROM or DVD-ROM drive adds, as hosts ask it of a data disc of one track. MMC-6 §6."""

from __future__ import annotations

import struct

from gadgets.storage.scsi import sense as senses
from gadgets.storage.scsi.command import Outcome, reply
from gadgets.storage.scsi.sense import CheckCondition
from gadgets.storage.scsi.unit import MediumEvent, Unit

CD_BLOCKS = 450_000
"""What has more than 100 minutes of blocks is a DVD."""
CD, DVD = 0x0008, 0x0010
DATA_TRACK = 0x14
LEAD_OUT = 0xAA
MEDIA_CLASS = 4


def _allocation(block: bytes) -> int:
    return int.from_bytes(block[7:9], "big")


def _address(lba: int, msf: bool) -> bytes:
    """An LBA, or minutes, seconds and frames, of which 2 s lie before LBA 0."""
    if not msf:
        return lba.to_bytes(4, "big")
    seconds, frames = divmod(lba + 150, 75)
    minutes, seconds = divmod(seconds, 60)
    return bytes((0, min(minutes, 255), seconds, frames))


# READ TOC/PMA/ATIP


def read_toc(unit: Unit, block: bytes) -> Outcome:
    """Tracks, sessions or the raw table. MMC-6 §6.25. Some hosts put the format into byte 9, as SFF-8020."""
    form = block[2] & 0x0F or block[9] >> 6
    msf = block[1] & 2 != 0
    if form == 0:
        return reply(_tracks(unit.blocks, block[6], msf), _allocation(block))
    if form == 1:
        track = bytes((0, DATA_TRACK, 1, 0)) + _address(0, msf)
        return reply(_toc(track), _allocation(block))
    if form == 2:
        return reply(_toc(_raw_toc(unit.blocks)), _allocation(block))
    raise CheckCondition(senses.INVALID_FIELD.at(2))


def _toc(body: bytes) -> bytes:
    """First and last track, or session, are 1."""
    return struct.pack(">HBB", len(body) + 2, 1, 1) + body


def _tracks(blocks: int, start: int, msf: bool) -> bytes:
    if start > 1 and start != LEAD_OUT:
        raise CheckCondition(senses.INVALID_FIELD.at(6))
    track = bytes((0, DATA_TRACK, 1, 0)) + _address(0, msf)
    lead_out = bytes((0, DATA_TRACK, LEAD_OUT, 0)) + _address(blocks, msf)
    return _toc((b"" if start == LEAD_OUT else track) + lead_out)


def _raw_toc(blocks: int) -> bytes:
    """First track, last track, lead-out and the track, each of session 1."""
    places = (
        (0xA0, bytes((0, 1, 0, 0))),
        (0xA1, bytes((0, 1, 0, 0))),
        (0xA2, _address(blocks, True)),
        (0x01, _address(0, True)),
    )
    return b"".join(bytes((1, DATA_TRACK, 0, point, 0, 0, 0)) + place for point, place in places)


# GET CONFIGURATION


def _profile(unit: Unit) -> int:
    if unit.medium is None:
        return 0
    return DVD if unit.blocks > CD_BLOCKS else CD


def _features(unit: Unit) -> tuple[tuple[int, int, bool, bytes], ...]:
    """Number, version << 2 | persistent << 1, whether current, data. MMC-6 §5.3."""
    profile = _profile(unit)
    profiles = b"".join(struct.pack(">HBx", each, each == profile) for each in (DVD, CD))
    readable = struct.pack(">IHBx", 2048, 1, 0)
    return (
        (0x0000, 0x02, True, profiles),
        (0x0001, 0x0A, True, bytes((0, 0, 0, 8, 1, 0, 0, 0))),
        (0x0002, 0x06, True, bytes(4)),
        (0x0003, 0x02, True, bytes((0x29, 0, 0, 0))),
        (0x0010, 0x00, profile != 0, readable),
        (0x001E, 0x08, profile == CD, bytes(4)),
        (0x001F, 0x04, profile == DVD, bytes(4)),
    )


def get_configuration(unit: Unit, block: bytes) -> Outcome:
    """From a feature on: all (RT 0), the current ones (1), or only this (2). MMC-6 §6.6."""
    which, start = block[1] & 3, int.from_bytes(block[2:4], "big")
    if which == 3:
        raise CheckCondition(senses.INVALID_FIELD.at(1))
    body = b"".join(
        struct.pack(">HBB", number, version | current, len(data)) + data
        for number, version, current, data in _features(unit)
        if (number == start if which == 2 else number >= start and (current or which == 0))
    )
    return reply(struct.pack(">IHH", len(body) + 4, 0, _profile(unit)) + body, _allocation(block))


# The rest


def get_event_status(unit: Unit, block: bytes) -> Outcome:
    """Polled, and of the media class only: what happened since it was last asked. MMC-6 §6.7."""
    if not block[1] & 1:
        raise CheckCondition(senses.INVALID_FIELD.at(1))
    if not block[4] & 1 << MEDIA_CLASS:
        return reply(struct.pack(">HBB", 2, 0x80, 1 << MEDIA_CLASS), _allocation(block))
    event = bytes((unit.medium_event, 2 * (unit.medium is not None), 0, 0))
    if _allocation(block) > 4:
        unit.medium_event = MediumEvent.NONE
    return reply(struct.pack(">HBB", 6, MEDIA_CLASS, 1 << MEDIA_CLASS) + event, _allocation(block))


def read_disc_information(unit: Unit, block: bytes) -> Outcome:
    """A complete disc of one session and one track. MMC-6 §6.21."""
    if block[1] & 7:
        raise CheckCondition(senses.INVALID_FIELD.at(1))
    head = struct.pack(">HBBBBBB", 32, 0x0E, 1, 1, 1, 1, 0x20)
    return reply(head.ljust(34, b"\0"), _allocation(block))


def read_track_information(unit: Unit, block: bytes) -> Outcome:
    """By LBA, track or session: it is always track 1. MMC-6 §6.26."""
    by, number = block[1] & 3, int.from_bytes(block[2:6], "big")
    if by == 3 or (number >= unit.blocks if by == 0 else number != 1):
        raise CheckCondition(senses.INVALID_FIELD.at(2))
    head = struct.pack(">HBBBBBBIIII", 34, 1, 1, 0, 4, 1, 0, 0, 0, 0, 0)
    return reply((head + struct.pack(">I", unit.blocks)).ljust(36, b"\0"), _allocation(block))


def mechanism_status(unit: Unit, block: bytes) -> Outcome:
    """Idle, closed, no changer. MMC-6 §6.14."""
    return reply(bytes((0, 0, 0, 0, 0, 1, 0, 0)), int.from_bytes(block[8:10], "big"))


def read_disc_structure(unit: Unit, block: bytes) -> Outcome:
    """The physical format of a DVD (0), and that it has no copyright (1). MMC-6 §6.22.2."""
    if _profile(unit) != DVD or block[7] not in (0, 1) or block[6]:
        raise CheckCondition(senses.INVALID_FIELD.at(7))
    last = 0x30000 + unit.blocks - 1
    layer = bytes((0x01, 0x0F, 0x01, 0x00)) + struct.pack(">III", 0x30000, min(last, 0xFFFFFF), 0)
    body = layer.ljust(2048, b"\0") if block[7] == 0 else bytes(4)
    return reply(struct.pack(">Hxx", len(body) + 2) + body, int.from_bytes(block[8:10], "big"))
