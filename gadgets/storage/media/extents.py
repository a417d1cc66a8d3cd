"""Which parts of a range of bytes have a property: sorted, disjoint, merged where they touch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Extents:
    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def __len__(self) -> int:
        return len(self.starts)

    def add(self, start: int, end: int) -> None:
        """From now on `start` up to, not including, `end` has it."""
        first, last = bisect_left(self.ends, start), bisect_right(self.starts, end)
        if first < last:
            start, end = min(start, self.starts[first]), max(end, self.ends[last - 1])
        self.starts[first:last], self.ends[first:last] = [start], [end]

    def parts(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """The range in order, cut where the property changes: start, end, has it."""
        index = bisect_right(self.ends, start)
        while start < end:
            edge = self.starts[index] if index < len(self) else end
            has = edge <= start
            stop = min(self.ends[index] if has else edge, end)
            yield start, stop, has
            index += has
            start = stop
