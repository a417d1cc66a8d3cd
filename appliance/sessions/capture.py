"""A session's URBs as a pcapng file; what a slow reader does not take in time is dropped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final

from appliance.errors import UsageError
from appliance.loop import HANGUP, OUT, Loop
from gadgets.usb import pcapng
from gadgets.usb.urb import Completion, TransferType, Urb

BACKLOG_LIMIT: Final = 4 << 20


class Capture:
    """Writes to `fd`, a pipe or socket that is ours now. `hung_up` is called when its reader has gone."""

    def __init__(self, loop: Loop, fd: int, devid: int, hung_up: Callable[[], None]) -> None:
        self.loop, self.fd, self.hung_up = loop, fd, hung_up
        self.packets = pcapng.Capture(devid >> 16, devid & 0xFFFF)
        self.backlog = bytearray()
        self.written = self.dropped = 0
        os.set_blocking(fd, False)
        try:
            loop.watch(fd, HANGUP, self.on_ready)
        except PermissionError:
            raise UsageError("a capture goes to a pipe or a socket, not to a file") from None
        self.write(pcapng.header())

    def submit(self, urb: Urb, kind: TransferType) -> None:
        self.write(self.packets.submit(urb, kind, time.time_ns()))

    def complete(self, urb: Urb, completion: Completion, kind: TransferType) -> None:
        self.write(self.packets.complete(urb, completion, kind, time.time_ns()))

    def stats(self) -> dict[str, Any]:
        """Blocks (an URB's submit or its completion) that were written and that were dropped."""
        return {"written": self.written, "dropped": self.dropped}

    def write(self, block: bytes) -> None:
        """A whole block or nothing of it."""
        if len(self.backlog) + len(block) > BACKLOG_LIMIT:
            self.dropped += 1
            return
        self.written += 1
        self.backlog += block
        if len(self.backlog) == len(block):
            self.flush()

    def flush(self) -> None:
        try:
            del self.backlog[: os.write(self.fd, self.backlog)]
        except BlockingIOError:
            pass
        except OSError:
            self.backlog.clear()  # its hang-up comes by the loop
        self.loop.want(self.fd, HANGUP | (OUT if self.backlog else 0))

    def on_ready(self, events: int) -> None:
        if events & ~OUT:
            self.hung_up()
        else:
            self.flush()

    def close(self) -> None:
        self.loop.forget(self.fd)
        os.close(self.fd)
