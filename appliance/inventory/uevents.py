"""Plug and unplug events, through pyudev; a thin shell that only says that something happened."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Final, Protocol

import pyudev

log = logging.getLogger(__name__)

SUBSYSTEMS: Final = ("usb", "block", "tty", "input", "hidraw")
"""usb, and those whose /dev names an interface's driver makes some time after it was bound."""
RECEIVE_BUFFER: Final = 8 << 20
"""Bytes; a hub with many devices is a burst of hundreds of events of up to 8 KiB."""
DRAIN_AT_ONCE: Final = 4096
"""Events read in one go, so that an endless stream of them cannot hold the event loop."""


class Events(Protocol):
    """A readable descriptor that says: look again."""

    def fileno(self) -> int: ...

    def drain(self) -> None:
        """Empties it. Raises OSError when it will never speak again."""
        ...

    def close(self) -> None: ...


class Uevents:
    """pyudev's monitor. What an event says is not used: whoever hears it reads sysfs afresh."""

    def __init__(self, monitor: pyudev.Monitor) -> None:
        self._monitor = monitor

    def fileno(self) -> int:
        return int(self._monitor.fileno())

    def drain(self) -> None:
        for _ in range(DRAIN_AT_ONCE):
            try:
                if self._monitor.poll(0) is None:
                    return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # that one: events were lost, which a fresh look makes good
                    raise

    def close(self) -> None:
        del self._monitor  # libudev closes the socket with the last reference


def listen(root: str | Path = "/") -> Uevents | None:
    """The events about `root`, or None where there are none to be had; then says so.

    udev's own events come when it is through with a device; where no udevd runs, the kernel's do.
    """
    if Path(root) != Path("/"):
        return None  # another root is a test's, and this kernel's events are not about it
    source = "udev" if Path(root, "run/udev/control").exists() else "kernel"
    try:
        monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source=source)
        for subsystem in SUBSYSTEMS:
            monitor.filter_by(subsystem)
        monitor.start()
    except (OSError, ImportError) as error:
        log.warning(
            "no plug events from the kernel (%s): looking for devices every few seconds instead", error
        )
        return None
    try:
        monitor.set_receive_buffer_size(RECEIVE_BUFFER)
    except OSError:
        pass  # needs CAP_NET_ADMIN; the default buffer overflows sooner, and overflow costs a fresh look
    return Uevents(monitor)
