"""Loopback: what the host sends comes back. drivers/usb/gadget/function/f_loopback.c"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from gadgets.testdevice.sourcesink import Burst
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.function import Function
from gadgets.usb.numbering import Numbering

MAX_HELD = 1 << 20
"""Bytes on their way back; from there on the host's transfers wait."""
MAX_MESSAGES = 1024


class Loopback(Function):
    """Interface FF/00/00 with bulk both ways. Each OUT transfer, an empty one too, comes back as one message;
    an empty packet behind full ones only ends theirs."""

    def __init__(self, *, burst: Burst = 0) -> None:
        self._burst = burst
        self._forget()

    def _forget(self) -> None:
        self._held: deque[bytes] = deque()
        self._size = 0
        self._full = False
        """the last message ended with a full packet"""

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        back, there = take.bulk_in(self._burst), take.bulk_out(self._burst)
        self._back, self._there, self._packet_size = back.address, there.address, there.packet_size
        name = take.string("loop input to output")
        return [AlternateSetting(take.interface(), string_index=name, endpoints=(back, there))]

    def out(self, endpoint: int, data: bytes) -> bool:
        if self._full and not data:
            self._full = False
            return True
        if (self._size + len(data) > MAX_HELD and self._held) or len(self._held) == MAX_MESSAGES:
            return False
        self._full = bool(data) and len(data) % self._packet_size == 0
        self._held.append(data)
        self._size += len(data)
        self.ready(self._back)
        return True

    def fill(self, endpoint: int, length: int) -> bytes | None:
        if not self._held:
            return None
        data = self._held.popleft()
        self._size -= len(data)
        self.ready(self._there)
        return data

    def on_alternate(self, interface: int, alternate: int) -> None:
        self._forget()

    def on_reset(self) -> None:
        self._forget()

    def snapshot(self) -> dict[str, Any]:
        return {"held": list(self._held), "full": self._full}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._held, self._full = deque(state["held"]), state["full"]
        self._size = sum(map(len, self._held))
