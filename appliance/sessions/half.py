"""One byte direction of a relay: a buffer whose first `ready` bytes may be sent. Sans-IO.

The shell receives into `space()`, tells `received()`, sends `outgoing()`, tells `sent()`, and receives again
only when nothing is outgoing. A subclass's `received` judges what came; payloads pass as they arrive, and at
most an incomplete header stays behind.
"""

from __future__ import annotations

from mmap import mmap
from typing import Final

from appliance.sessions.state import HalfState

SIZE: Final = (1 << 20) + 4096
"""Bytes received at once: the largest transfer of usb-storage (2048 sectors) and its header."""
RESERVE: Final = 85 * 48
"""Room behind them for answers of the relay's own."""


class Half:
    """One byte direction; its fields are HalfState's, `end` the number of bytes held."""

    __slots__ = ("buffer", "due", "end", "owed", "ready", "view", "whole")

    def __init__(self, state: HalfState) -> None:
        self.buffer = mmap(-1, SIZE + RESERVE)  # costs memory only where bytes have been
        self.view = memoryview(self.buffer)
        self.whole = self.view[:SIZE]
        self.end = len(state.held)
        self.buffer[: self.end] = state.held
        self.ready, self.due, self.owed = state.ready, state.due, state.owed

    def space(self) -> memoryview:
        """Where to receive; only while nothing is outgoing."""
        return self.view[self.end : SIZE] if self.end else self.whole

    def received(self, count: int, now: int) -> None:
        """`count` bytes came into `space()` at monotonic `now` ns. Raises ProtocolError: end the session.

        Judges every whole header, and leaves `ready` and `due` right.
        """
        raise NotImplementedError

    def outgoing(self) -> memoryview:
        return self.view[: self.ready]

    def sent(self, count: int) -> None:
        """The first `count` outgoing bytes are on their way."""
        if count == self.end:
            self.end = self.ready = 0
            return
        rest = self.end - count
        self.view[:rest] = self.view[count : self.end]
        self.end = rest
        self.ready -= count

    def drop(self, at: int, size: int) -> None:
        """Cut `size` bytes from `at` out of the stream, now and, as far as they have yet to come, then."""
        stop = min(at + size, self.end)
        rest = self.end - stop
        self.view[at : at + rest] = self.view[stop : self.end]
        self.end = at + rest
        self.owed = size - (stop - at)

    def freeze(self) -> HalfState:
        return HalfState(bytes(self.view[: self.end]), self.ready, self.due, self.owed)
