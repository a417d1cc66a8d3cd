"""A serial port tied to a pseudo-terminal, for any program that knows how to open a serial line."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import termios
import tty
from collections.abc import Callable
from pathlib import Path

from appliance.errors import Unavailable
from appliance.loop import IN
from gadgets.serial.companions.stream import Stream
from gadgets.usb.companion import Reactor

IN_OPEN = 0x20
"""Of inotify(7). A pty's master hears of the last one that closes it (EIO), but not of one that opens it."""
_libc = ctypes.CDLL(None, use_errno=True)


class Pty(Stream):
    """Raw, until a program says otherwise. Whoever comes and goes, the path stays; `link` becomes a symlink
    to it, in the place of an earlier symlink."""

    def __init__(self, link: Path | None) -> None:
        super().__init__()
        self.link = link
        self.path = ""
        self._master = self._opened = -1

    def start(self, reactor: Reactor, give: Callable[[object], None]) -> None:
        super().start(reactor, give)
        try:
            self._open()
        except OSError as error:
            self.close()
            raise Unavailable(f"cannot open a pty: {error}") from None

    def _open(self) -> None:
        self._master, slave = os.openpty()
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._make_raw()
        self._opened = watch_opening(self.path)
        self.reactor.watch(self._opened, IN, self._on_open)
        if self.link:
            if self.link.exists() and not self.link.is_symlink():
                raise FileExistsError(errno.EEXIST, "something else is there", str(self.link))
            fresh = self.link.with_name(f".{self.link.name}.{os.getpid()}")
            fresh.symlink_to(self.path)
            fresh.replace(self.link)

    def _make_raw(self) -> None:
        """The next one shall find neither what the last one left unread nor its settings."""
        termios.tcflush(self._master, termios.TCOFLUSH)
        slave = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(slave)
        os.close(slave)

    def _on_open(self, events: int) -> None:
        """Somebody came, and may have left data and gone; or it was ourselves, in `_make_raw`."""
        os.read(self._opened, 4096)
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        state = poll.poll(0)
        alone = state and state[0][1] & (select.POLLIN | select.POLLHUP) == select.POLLHUP
        if self.fd < 0 and not alone:
            self.connect(self._master)

    def on_disconnect(self) -> None:
        self._make_raw()

    def stats(self) -> dict[str, object]:
        return {"pty": self.path, "link": str(self.link or ""), "opened": self.fd >= 0, **super().stats()}

    def close(self) -> None:
        self.disconnect()
        if self._opened >= 0:
            self.reactor.forget(self._opened)
        for fd in (self._opened, self._master):
            if fd >= 0:
                os.close(fd)
        self._opened = self._master = -1
        if self.link and self.link.is_symlink() and os.readlink(self.link) == self.path:
            self.link.unlink()


def watch_opening(path: str) -> int:
    """A descriptor that is readable when somebody opened the file. Raises OSError."""
    fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if fd < 0 or _libc.inotify_add_watch(fd, path.encode(), IN_OPEN) < 0:
        number = ctypes.get_errno()
        if fd >= 0:
            os.close(fd)
        raise OSError(number, os.strerror(number), path)
    return fd
