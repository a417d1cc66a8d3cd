"""A disk in memory, of which only what was written takes room, and no more room than it may."""

from __future__ import annotations

import os

from appliance.errors import MediumError
from gadgets.storage.media.contract import opening, whole_blocks
from gadgets.storage.media.raw import RawMedium
from gadgets.storage.media.sizes import as_text

ROOM = 1 << 30
"""Bytes a sparse disk or an overlay may take where nothing else is said."""


class MemoryMedium(RawMedium):
    """An anonymous sparse file of the kernel's (memfd), gone with its last descriptor."""

    def __init__(self, size: int, *, room: int | None = None, read_only: bool = False) -> None:
        with opening("memory"):
            super().__init__(os.memfd_create("twinhub-disk"), "memory", size, read_only=read_only)
            os.truncate(self.fd, size)
        self.room = size if room is None else room

    def write(self, offset: int, data: bytes | memoryview) -> None:
        if self.room < self.size and self.taken() + len(data) > self.room and self.is_new(offset, len(data)):
            raise MediumError(f"the disk in memory is full: it may take {as_text(self.room)}")
        super().write(offset, data)

    def is_new(self, offset: int, length: int) -> bool:
        """Whether some of these bytes have no memory yet."""
        return os.lseek(self.fd, offset, os.SEEK_HOLE) < offset + length

    def taken(self) -> int:
        """Bytes of memory in use, whole pages."""
        return os.fstat(self.fd).st_blocks * 512


def open_memory(size: int, *, room: int | None = None, read_only: bool, block_size: int) -> MemoryMedium:
    return MemoryMedium(whole_blocks("memory", size, block_size), room=room, read_only=read_only)
