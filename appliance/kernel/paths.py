"""Where the kernel keeps what we read and write, below one injected root."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import Busy, DeviceFailed, NotFound, NotPermitted, TwinhubError, Unavailable, UsageError

PORT = "[1-9][0-9]{0,2}"
BUSID = re.compile(rf"{PORT}-{PORT}(\.{PORT}){{0,5}}")
"""Bus, then the ports of up to six hubs in a chain (USB 2.0 §4.1.1: seven tiers); 27 characters at most."""

KINDS: dict[int | None, type[TwinhubError]] = {
    errno.EACCES: NotPermitted,
    errno.EPERM: NotPermitted,
    errno.EROFS: NotPermitted,
    errno.ENOENT: NotFound,
    errno.ENODEV: NotFound,
    errno.ENXIO: NotFound,
    errno.EBUSY: Busy,
    errno.ENOMEM: Unavailable,
}


@contextmanager
def explained(wish: str) -> Iterator[None]:
    """An OSError inside becomes the TwinhubError of its errno: "cannot <wish>: <reason>"."""
    try:
        yield
    except OSError as error:
        raise KINDS.get(error.errno, DeviceFailed)(f"cannot {wish}: {error.strerror}") from error


def checked_busid(busid: str) -> str:
    """`busid` itself; UsageError when it is not of the form 1-1.4."""
    if not BUSID.fullmatch(busid):
        raise UsageError(f"{busid[:40]!r} is not a busid; one looks like 1-1.4")
    return busid


@dataclass(frozen=True, slots=True)
class Kernel:
    """The running kernel's files below `root`."""

    root: Path = Path("/")

    def bus(self, *names: str) -> Path:
        return self.root.joinpath("sys/bus/usb", *names)

    def driver(self, name: str, attribute: str) -> Path:
        return self.bus("drivers", name, attribute)

    def vhci(self, attribute: str) -> Path:
        """All controllers are spoken to through the first one (drivers/usb/usbip/vhci_sysfs.c)."""
        return self.root.joinpath("sys/devices/platform/vhci_hcd.0", attribute)

    def module(self, name: str) -> Path:
        return self.root.joinpath("sys/module", name.replace("-", "_"))

    def module_list(self, name: str) -> Path:
        """`modules.dep` or `modules.builtin` of the running release."""
        return self.root.joinpath("lib/modules", os.uname().release, name)

    def port_record(self, port: int) -> Path:
        """Where the `usbip` command, and we, remember whom a vhci port is connected to."""
        return self.root.joinpath("var/run/vhci_hcd", f"port{port}")

    def device(self, busid: str) -> Path:
        """The device's folder; UsageError for a busid that is none, NotFound when nothing is plugged in."""
        path = self.bus("devices", checked_busid(busid))
        if not path.exists():
            raise NotFound(f"no device is plugged in at {busid}; `twinhub devices` shows what there is")
        return path

    def driver_of(self, busid: str) -> str | None:
        """The driver of the device itself (not of its interfaces): usually "usb"."""
        try:
            return (self.device(busid) / "driver").readlink().name
        except OSError:
            return None

    def read(self, path: Path) -> str:
        return path.read_text()

    def write(self, path: Path, text: str) -> None:
        """One write(2), as an attribute wants it; never creates a file."""
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
