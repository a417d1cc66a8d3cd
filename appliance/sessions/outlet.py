"""Bytes out of a worker to a pipe or socket, without ever waiting for its reader."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Final

from appliance.errors import UsageError
from appliance.loop import HANGUP, OUT, Loop

PATIENCE: Final = 5
"""Seconds."""


class Outlet:
    """Writes to `fd`, which is ours now; at most `limit` bytes wait. `hung_up` is called when its reader has
    gone."""

    def __init__(self, loop: Loop, fd: int, limit: int, hung_up: Callable[[], None], what: str) -> None:
        self.loop, self.fd, self.limit, self.hung_up = loop, fd, limit, hung_up
        self.backlog = bytearray()
        self.finishing = False
        os.set_blocking(fd, False)
        try:
            loop.watch(fd, HANGUP, self.on_ready)
        except PermissionError:
            raise UsageError(f"{what} goes to a pipe or a socket, not to a file") from None

    def put(self, block: bytes) -> bool:
        """A whole block or, False, nothing of it."""
        if len(self.backlog) + len(block) > self.limit:
            return False
        self.backlog += block
        if len(self.backlog) == len(block):
            self.flush()
        return True

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
            return
        self.flush()
        if self.finishing and not self.backlog:
            self.close()

    def finish(self) -> None:
        """Close when all is written."""
        self.finishing, self.hung_up = True, self.close
        if not self.backlog:
            self.close()

    def drain(self) -> None:
        """Nobody runs the loop any more: wait for the reader, as long as it takes something."""
        writable = select.poll()
        writable.register(self.fd, select.POLLOUT)
        while self.backlog and writable.poll(PATIENCE * 1000):
            self.flush()
        self.close()

    def close(self) -> None:
        """At once."""
        self.loop.forget(self.fd)
        os.close(self.fd)
