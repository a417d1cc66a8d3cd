"""A recording of a gadget on its way to who asked for it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final

from appliance.loop import Loop
from appliance.sessions.outlet import Outlet
from gadgets.definition import Definition
from gadgets.replay.recorder import Recorder
from gadgets.usb.device import Device
from gadgets.usb.records import to_plain

BACKLOG_LIMIT: Final = 16 << 20


class Recording:
    """`recorder` is the device to drive from now on; what it writes goes to `fd`, with nothing left out: one
    whose reader is too slow ends. `unread` is called when the reader has gone."""

    def __init__(
        self, loop: Loop, device: Device, definition: Definition, fd: int, unread: Callable[[], None]
    ) -> None:
        self.outlet: Outlet | None = Outlet(loop, fd, BACKLOG_LIMIT, unread, "a recording")
        self.recorder = Recorder(device, self, to_plain(definition))

    def write(self, data: bytes) -> None:
        if self.outlet and not self.outlet.put(data):
            self.outlet.close()
            self.outlet = None
        if not self.outlet:
            raise OSError(errno.EPIPE, "its reader is too slow")

    def flush(self) -> None:
        """The outlet does so by itself."""

    def end(self, reason: str) -> None:
        """The rest goes out as its reader takes it."""
        self.recorder.close(reason)
        if self.outlet:
            self.outlet.finish()

    def drain(self) -> None:
        """Wait for that, when nobody runs the loop any more."""
        if self.outlet and self.outlet.backlog:
            self.outlet.drain()

    def stats(self) -> dict[str, Any]:
        return {
            "inputs": self.recorder.inputs_recorded,
            "bytes": self.recorder.size,
            "ended": self.recorder.ended or None,
        }
