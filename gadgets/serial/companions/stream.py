"""A serial port tied to a file descriptor that bytes stream through: a pty, a TCP connection."""

from __future__ import annotations

import os
from select import EPOLLERR, EPOLLHUP

from appliance.loop import IN, OUT
from gadgets.serial.companions.link import Link
from gadgets.serial.line import SetLines

CHUNK = 16 << 10


class Stream(Link):
    """DCD and DSR are on while somebody is at the other end. What the host sends meanwhile waits for them to
    take it; what it sends to nobody is dropped. What they send waits for the host."""

    def __init__(self) -> None:
        super().__init__()
        self.fd = -1
        """of the other end; −1: nobody is there"""
        self._unsent = b""
        """read from there when the host went"""

    def connect(self, fd: int) -> None:
        """Somebody is there, at this non-blocking descriptor, which stays the caller's."""
        self.fd = fd
        self.reactor.watch(fd, IN, self._on_ready)
        self.give(SetLines(dcd=True, dsr=True))
        self.moved()

    def disconnect(self) -> None:
        """They are gone."""
        if self.fd < 0:
            return
        self.reactor.forget(self.fd)
        self.fd = -1
        self.on_disconnect()
        self.give(SetLines(dcd=False, dsr=False))
        self.moved()

    def on_disconnect(self) -> None:
        """The descriptor is no longer used."""

    def moved(self) -> None:
        if self.fd < 0:
            self._drop()
            return
        if self._unsent and self.room >= len(self._unsent):
            unsent, self._unsent = self._unsent, b""
            self._pass_on(unsent)
        reads = self.room and not self._unsent
        self.reactor.want(self.fd, (IN if reads else 0) | (OUT if self.heard else 0))

    def _drop(self) -> None:
        count = len(self.heard)
        self.dropped += count
        self.consume(count)

    def _on_ready(self, events: int) -> None:
        try:
            if events & (EPOLLHUP | EPOLLERR):
                self._drop()
            elif events & OUT and self.heard:
                self.consume(os.write(self.fd, self.heard))
            if events & ~OUT and not self._read():
                self.disconnect()
                return
        except BlockingIOError:
            pass
        except OSError:  # EIO: the last one has closed the pty; ECONNRESET and the like
            self.disconnect()
            return
        if self.fd >= 0:
            self.moved()

    def _read(self) -> bool:
        """False: nobody is there any more."""
        wanted = min(self.room, CHUNK)
        if not wanted or self._unsent:
            return True
        data = os.read(self.fd, wanted)
        self._pass_on(data)
        return bool(data)

    def _pass_on(self, data: bytes) -> None:
        if data and not self.send(data):
            self._unsent = data
