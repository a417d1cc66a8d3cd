"""What of a medium there is to compare and to copy, without reading where nothing is."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from hashlib import blake2b

from gadgets.storage.media.contract import Medium, using
from gadgets.storage.media.overlay import Overlay
from gadgets.storage.media.raw import RawMedium

DIGEST = 16


def digest_of(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST).digest()


def pieces(medium: Medium, longest: int) -> Iterator[tuple[int, int, bool]]:
    """The whole medium in order: offset, length, and whether something may be there. What may be something
    comes in pieces of at most `longest`. It is looked for as it is asked for, so the medium may change."""
    at = 0
    while at < medium.size:
        start, end = next_data(medium, at)
        if start > at:
            yield at, start - at, False
        for offset in range(start, end, longest):
            yield offset, min(longest, end - offset), True
        at = end


def next_data(medium: Medium, at: int) -> tuple[int, int]:
    """Where, from `at` on, something may be: start and end, both the medium's end if nothing is."""
    if isinstance(medium, Overlay):
        return min(next_data(medium.base, at), next_data(medium.top, at))
    if not isinstance(medium, RawMedium):
        return at, medium.size
    with using(medium.name):
        try:
            start = os.lseek(medium.fd, at, os.SEEK_DATA)
            return start, os.lseek(medium.fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return medium.size, medium.size
            if error.errno == errno.EINVAL:  # a block device does not tell
                return at, medium.size
            raise


def clear(medium: Medium, offset: int, length: int, longest: int) -> Iterator[tuple[int, int]]:
    """Where something other than zeros is in this range: what to discard to have nothing there."""
    at, stop = offset, offset + length
    while at < stop:
        start, end = next_data(medium, at)
        end = min(end, stop)
        for piece in range(start, end, longest):
            size = min(longest, end - piece)
            if any(medium.read(piece, size)):
                yield piece, size
        at = max(end, start)
