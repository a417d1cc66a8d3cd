"""Names in a FAT file system: long ones, short ones (8.3) beside them. fatgen 1.03; pure."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Final

LONG_ENTRY: Final = struct.Struct("<B10sBBB12sH4s")
LONG_ATTRIBUTE, LAST = 0x0F, 0x40
LONGEST: Final = 255
"""UTF-16 units of a name."""

FORBIDDEN = re.compile(r'[\x00-\x1f\x7f"*/:<>?\\|\ud800-\udfff]')
SHORT = re.compile(r"([A-Z0-9!#$%&'()@^_`{}~-]{1,8})(?:\.([A-Z0-9!#$%&'()@^_`{}~-]{1,3}))?", re.ASCII)
NOT_SHORT = re.compile(r"[^A-Z0-9_-]", re.ASCII)


def legal(names: Iterable[str]) -> list[str]:
    """The names to have in a folder instead: none empty or too long, no two alike but for case."""
    taken: set[str] = set()
    return [distinct(FORBIDDEN.sub("_", name).rstrip(". ") or "_", taken) for name in names]


def distinct(name: str, taken: set[str]) -> str:
    """`name`, or the first of name~2, name~3 … that is not taken, case aside; takes it."""
    stem, dot, extension = name.rpartition(".")
    if not stem:
        stem, dot, extension = name, "", ""
    chosen, number = fitting(stem, dot + extension), 1
    while chosen.upper() in taken:
        number += 1
        chosen = fitting(stem, f"~{number}{dot}{extension}")
    taken.add(chosen.upper())
    return chosen


def fitting(stem: str, rest: str) -> str:
    """Both, the stem cut where they would be too long together."""
    while units(stem + rest) > LONGEST:
        stem, rest = (stem[:-1], rest) if stem else ("", rest[:-1])
    return stem + rest


def units(name: str) -> int:
    return len(name.encode("utf-16-le")) // 2


def short_names(names: Iterable[str]) -> list[bytes]:
    """The 11 bytes beside each name of a folder: the name itself where that will do, else LIKE~1.TXT."""
    names = list(names)
    taken = {padded(*found.groups("")) for name in names if (found := SHORT.fullmatch(name))}
    numbers: dict[tuple[str, str], Iterator[int]] = {}
    return [
        padded(*found.groups("")) if (found := SHORT.fullmatch(name)) else alias(name, taken, numbers)
        for name in names
    ]


def alias(name: str, taken: set[bytes], numbers: dict[tuple[str, str], Iterator[int]]) -> bytes:
    """The next free short name like `name`; takes it."""
    stem, _, extension = name.upper().strip(".").rpartition(".")
    if not stem:
        stem, extension = extension, ""
    stem, extension = NOT_SHORT.sub("_", stem)[:6], NOT_SHORT.sub("_", extension)[:3]
    for number in numbers.setdefault((stem, extension), count(1)):
        tail = f"~{number}"
        short = padded(stem[: 8 - len(tail)] + tail, extension)
        if short not in taken:
            break
    taken.add(short)
    return short


def padded(stem: str, extension: str) -> bytes:
    return f"{stem:8}{extension:3}".encode("ascii")


def long_entries(name: str, short: bytes) -> bytes:
    """The directory entries that go before the short one, last part first; none where both are the same."""
    if (found := SHORT.fullmatch(name)) and padded(*found.groups("")) == short:
        return b""
    text = name.encode("utf-16-le")
    text += b"\0\0" * (len(text) % 26 != 0)
    text += b"\xff" * (-len(text) % 26)
    parts = [text[at : at + 26] for at in range(0, len(text), 26)]
    entries = [
        LONG_ENTRY.pack(order, part[:10], LONG_ATTRIBUTE, 0, checksum(short), part[10:22], 0, part[22:])
        for order, part in enumerate(parts, start=1)
    ]
    return b"".join([bytes([len(parts) | LAST]) + entries[-1][1:], *reversed(entries[:-1])])


def checksum(short: bytes) -> int:
    total = 0
    for byte in short:
        total = ((total << 7 & 0x80) + (total >> 1) + byte) & 0xFF
    return total
