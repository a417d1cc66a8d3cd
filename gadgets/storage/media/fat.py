"""A FAT32 file system laid out around files: everything but their contents, as bytes and where they go.

Pure. Source: Microsoft, FAT32 File System Specification 1.03 ("fatgen"). Every file is one run of clusters,
in the order of the tree, so that the same tree gives the same bytes.

Our own, because what there is spoils names or bytes: mtools turns letters outside its code page into others
("ő" into "o") and cannot write beyond the first 65536 code points, pyfatfs writes the clock into the image
and stands on a package that is no longer kept.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from appliance.errors import UsageError
from gadgets.storage.media.fat_names import long_entries, short_names

CLUSTER: Final = 4096
RESERVED: Final = 32
"""Sectors before the first table."""
TABLES: Final = 2
ROOT_CLUSTER: Final = 2
FIRST_ENTRY, END = 0x0FFFFFF8, 0x0FFFFFFF
MOST_CLUSTERS: Final = 0x0FFFFFF0
LARGEST_FILE: Final = (1 << 32) - 1
LARGEST_FOLDER: Final = 65536 * 32
SMALLEST: Final = 512 << 20
"""Of what is there for files; FAT32 begins at 65525 clusters."""
LABEL: Final = b"TWINHUB    "

ENTRY: Final = struct.Struct("<11sBBBHHHHHHHI")
DIRECTORY, ARCHIVE, VOLUME = 0x10, 0x20, 0x08
BOOT: Final = struct.Struct("<3s8sHBHBHHBHHHIIIHHIHH12xBxBI11s8s")
EPOCH, LAST_MOMENT = datetime(1980, 1, 1, tzinfo=UTC), datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC)


@dataclass(frozen=True)
class File:
    """`name`: as `fat_names.legal` has it; `modified`: seconds since 1970; `source`: the caller's own."""

    name: str
    size: int
    modified: float
    source: str = ""


@dataclass(frozen=True)
class Folder:
    name: str
    modified: float
    children: tuple[File | Folder, ...]


@dataclass(frozen=True)
class Layout:
    """An image of `size` bytes: zeros, but for `pieces` and the contents of `files`, by their offsets."""

    size: int
    pieces: list[tuple[int, bytes]]
    files: list[tuple[int, File]]


@dataclass
class Place:
    """Where a file or folder is; `first` is 0 for an empty file, as in its directory entry."""

    node: File | Folder
    parent: Place | None
    children: list[Place]
    length: int
    first: int = 0

    @property
    def clusters(self) -> int:
        return -(-self.length // CLUSTER)


def lay_out(root: Folder, block_size: int) -> Layout:
    """The image of the tree under `root`, with a quarter of its size free, and more where it is small."""
    places = list(settle(root, None))
    table = array("I", [FIRST_ENTRY, END])
    for place in places:
        if place.clusters:
            place.first = len(table)
            table.extend([*range(place.first + 1, place.first + place.clusters), END])
    used = len(table) - ROOT_CLUSTER
    clusters = max(used + used // 4, SMALLEST // CLUSTER)
    if clusters > MOST_CLUSTERS:
        raise UsageError("the folder is too large for a FAT file system")
    if sys.byteorder == "big":
        table.byteswap()
    table_sectors = -(-(clusters + ROOT_CLUSTER) * table.itemsize // block_size)
    data = (RESERVED + TABLES * table_sectors) * block_size
    size = data + clusters * CLUSTER

    def offset(place: Place) -> int:
        return data + (place.first - ROOT_CLUSTER) * CLUSTER

    folders = [(offset(place), directory(place)) for place in places if isinstance(place.node, Folder)]
    boot = boot_sector(size, block_size, table_sectors, serial=zlib.crc32(folders[0][1]))
    info = info_sector(free=clusters - used, following=used + ROOT_CLUSTER)
    tables = [(RESERVED + number * table_sectors, table.tobytes()) for number in range(TABLES)]
    sectors = [(0, boot), (1, info), (6, boot), (7, info), *tables]
    return Layout(
        size,
        [(number * block_size, piece) for number, piece in sectors] + folders,
        [(offset(place), place.node) for place in places if isinstance(place.node, File) and place.first],
    )


def settle(node: File | Folder, parent: Place | None) -> Iterator[Place]:
    """A place for each node, in the order of the tree."""
    place = Place(node, parent, [], node.size if isinstance(node, File) else directory_length(node))
    if parent:
        parent.children.append(place)
    yield place
    if isinstance(node, Folder):
        for child in node.children:
            yield from settle(child, place)


def directory_length(folder: Folder) -> int:
    """What `directory` gives; two entries go to "." and ".." or, in the root, to the label and the end."""
    names = [child.name for child in folder.children]
    longs = sum(len(long_entries(*both)) for both in zip(names, short_names(names), strict=True))
    length = longs + ENTRY.size * (len(names) + 2)
    if length > LARGEST_FOLDER:
        raise UsageError(f"the folder {folder.name!r} has too many files for a FAT file system")
    return length


def directory(place: Place) -> bytes:
    if place.parent:
        own = entry(b".          ", place) + entry(b"..         ", place.parent)
    else:
        own = ENTRY.pack(LABEL, VOLUME, *[0] * 10)
    names = [child.node.name for child in place.children]
    return own + b"".join(
        long_entries(name, short) + entry(short, child)
        for name, short, child in zip(names, short_names(names), place.children, strict=True)
    )


def entry(short: bytes, place: Place) -> bytes:
    """The root is called 0, not by its cluster, where ".." means it."""
    first = place.first if place.parent else 0
    date, time = moment(place.node.modified)
    is_file = isinstance(place.node, File)
    return ENTRY.pack(
        short, ARCHIVE if is_file else DIRECTORY, 0, 0, time, date, date,
        first >> 16, time, date, first & 0xFFFF, place.length if is_file else 0,
    )  # fmt: skip


def moment(seconds: float) -> tuple[int, int]:
    """Date and time, UTC, to the last even second; of those that FAT can say, the nearest."""
    bounded = min(max(seconds, EPOCH.timestamp()), LAST_MOMENT.timestamp())
    at = datetime.fromtimestamp(bounded, UTC)
    return (at.year - 1980) << 9 | at.month << 5 | at.day, at.hour << 11 | at.minute << 5 | at.second // 2


def boot_sector(size: int, block_size: int, table_sectors: int, serial: int) -> bytes:
    sector = BOOT.pack(
        b"\xeb\x58\x90", b"TWINHUB ", block_size, CLUSTER // block_size, RESERVED, TABLES, 0, 0, 0xF8, 0,
        63, 255, 0, size // block_size, table_sectors, 0, 0, ROOT_CLUSTER, 1, 6, 0x80, 0x29, serial,
        LABEL, b"FAT32   ",
    )  # fmt: skip
    return sector.ljust(510, b"\0") + b"\x55\xaa"


def info_sector(free: int, following: int) -> bytes:
    """FSInfo: how many clusters are free, and where to look for them."""
    return struct.pack("<4s480x4sII12xI", b"RRaA", b"rrAa", free, following, 0xAA550000)
