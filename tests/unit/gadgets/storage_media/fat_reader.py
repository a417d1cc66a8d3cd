"""Reads a FAT32 image back, by the book and not by our writer: the judge of our images where fsck.vfat has no
eye, on names and contents."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

Tree = dict[str, "bytes | Tree"]


def read_tree(read: Callable[[int, int], bytes]) -> Tree:
    """Of a function that reads the image: folders as dicts, files as bytes."""
    sector, per_cluster, reserved, tables = struct.unpack_from("<HBHB", read(0, 512), 11)
    table_sectors, root = struct.unpack_from("<I4xI", read(0, 512), 36)
    table = struct.unpack(f"<{table_sectors * sector // 4}I", read(reserved * sector, table_sectors * sector))
    data, size = (reserved + tables * table_sectors) * sector, per_cluster * sector

    def content(cluster: int) -> bytes:
        pieces = []
        while cluster < 0x0FFFFFF8:
            pieces.append(read(data + (cluster - 2) * size, size))
            cluster = table[cluster]
        return b"".join(pieces)

    def folder(cluster: int) -> Tree:
        found: Tree = {}
        for name, attributes, first, length in entries(content(cluster)):
            if attributes & 0x10:
                found[name] = folder(first)
            else:
                found[name] = content(first)[:length] if first else b""
        return found

    return folder(root)


def entries(directory: bytes) -> Iterator[tuple[str, int, int, int]]:
    """Name, attributes, first cluster, length."""
    long: list[bytes] = []
    for at in range(0, len(directory), 32):
        entry = directory[at : at + 32]
        if entry[0] == 0:
            return
        if entry[11] == 0x0F:
            long = [] if entry[0] & 0x40 else long
            long.insert(0, entry[1:11] + entry[14:26] + entry[28:32])
            order, check = entry[0] & 0x3F, entry[13]
            continue
        short = entry[:8].rstrip(), entry[8:11].rstrip()
        name = b".".join(part for part in short if part).decode("ascii")
        if long:
            total = 0
            for byte in entry[:11]:
                total = ((total >> 1) | (total << 7 & 0x80)) + byte & 0xFF
            assert (check, order) == (total, 1)
            name = b"".join(long).decode("utf-16-le").rstrip("\uffff").removesuffix("\0")
        long = []
        if not entry[11] & 0x08 and name not in (".", ".."):
            high, low, length = struct.unpack_from("<H4xHI", entry, 20)
            yield name, entry[11], high << 16 | low, length
