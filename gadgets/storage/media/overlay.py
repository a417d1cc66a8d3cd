"""Copy-on-write in memory: a disk that is written, over a medium that is not."""

from __future__ import annotations

from appliance.errors import MediumError
from gadgets.storage.media.contract import Medium
from gadgets.storage.media.extents import Extents
from gadgets.storage.media.memory import MemoryMedium

MOST_PIECES = 1 << 20
"""How scattered an overlay may be: one piece costs about a hundred bytes."""


class Overlay:
    """What is written and discarded goes to `top`, which takes at most `room` bytes of memory; `base`, which
    it owns, is only read."""

    read_only = False

    def __init__(self, base: Medium, *, room: int) -> None:
        self.base, self.size = base, base.size
        self.top = MemoryMedium(base.size, room=room)
        self.changed = Extents()

    def read(self, offset: int, length: int) -> bytes:
        parts = self.changed.parts(offset, offset + length)
        return b"".join((self.top if new else self.base).read(at, end - at) for at, end, new in parts)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self.ensure_not_scattered()
        self.top.write(offset, data)
        self.changed.add(offset, offset + len(data))

    def flush(self) -> None:
        """Memory is as durable as it gets."""

    def discard(self, offset: int, length: int) -> None:
        self.ensure_not_scattered()
        self.top.discard(offset, length)
        self.changed.add(offset, offset + length)

    def ensure_not_scattered(self) -> None:
        if len(self.changed) >= MOST_PIECES:
            raise MediumError(f"the overlay is full: it holds {MOST_PIECES} separate pieces")

    def close(self) -> None:
        self.top.close()
        self.base.close()
