"""A session's URBs as a pcapng file; what a slow reader does not take in time is dropped."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from appliance.loop import Loop
from appliance.sessions.outlet import Outlet
from gadgets.usb import pcapng
from gadgets.usb.urb import Completion, TransferType, Urb

BACKLOG_LIMIT: Final = 4 << 20


class Capture:
    """Writes to `fd`, a pipe or socket that is ours now. `hung_up` is called when its reader has gone."""

    def __init__(self, loop: Loop, fd: int, devid: int, hung_up: Callable[[], None]) -> None:
        self.outlet = Outlet(loop, fd, BACKLOG_LIMIT, hung_up, "a capture")
        self.packets = pcapng.Capture(devid >> 16, devid & 0xFFFF)
        self.written = self.dropped = 0
        self.write(pcapng.header())

    def submit(self, urb: Urb, kind: TransferType) -> None:
        self.write(self.packets.submit(urb, kind, time.time_ns()))

    def complete(self, urb: Urb, completion: Completion, kind: TransferType) -> None:
        self.write(self.packets.complete(urb, completion, kind, time.time_ns()))

    def stats(self) -> dict[str, Any]:
        """Blocks (an URB's submit or its completion) that were written and that were dropped."""
        return {"written": self.written, "dropped": self.dropped}

    def write(self, block: bytes) -> None:
        if self.outlet.put(block):
            self.written += 1
        else:
            self.dropped += 1

    def close(self) -> None:
        self.outlet.close()
