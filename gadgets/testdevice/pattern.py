"""The data patterns that Linux' usbtest sends and expects. drivers/usb/misc/usbtest.c, simple_fill_buf."""

from __future__ import annotations

from bisect import bisect_left
from enum import Enum
from functools import lru_cache

BLOCK = 64 << 10
"""Bytes of a pattern that are kept ready."""


class Pattern(Enum):
    ZEROS = "zeros"
    MOD63 = "mod63"
    """each packet counts 0 to 62 and begins again; usbtest's pattern=1"""
    ANY = "any"
    """zeros to the host, and what comes from it is not looked at"""


def patterned(pattern: Pattern, packet_size: int, length: int) -> bytes:
    """A transfer of `length` bytes, which begins with a packet."""
    block = _block(pattern, packet_size)
    return block[:length] if length <= len(block) else (block * (length // len(block) + 1))[:length]


def first_mismatch(pattern: Pattern, packet_size: int, data: bytes) -> int | None:
    """Where a transfer leaves the pattern; None: nowhere."""
    if pattern is Pattern.ANY:
        return None
    wanted = patterned(pattern, packet_size, len(data))
    if data == wanted:
        return None
    return bisect_left(range(len(data)), True, key=lambda at: data[: at + 1] != wanted[: at + 1])


@lru_cache(maxsize=16)
def _block(pattern: Pattern, packet_size: int) -> bytes:
    """Whole packets."""
    packet = bytes(at % 63 for at in range(packet_size)) if pattern is Pattern.MOD63 else bytes(packet_size)
    return packet * (BLOCK // packet_size)
