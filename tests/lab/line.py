"""A serial line between two ends that come and go: what goes in at one comes out at the other, or is lost."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress

LIMIT = 1 << 16
"""Bytes that wait for an end that does not take them; no more are read until it does."""
PORTION = 4096


class Line:
    """Ends 0 and 1. What an end that is not there should hear waits for it, unless that way is cut."""

    def __init__(self) -> None:
        self._ends: list[socket.socket | None] = [None, None]
        self._waiting = bytearray(), bytearray()
        self._cut: set[int] = set()
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="serial line", daemon=True)
        self._thread.start()

    def plug(self, end: int, sock: socket.socket | None) -> None:
        """From now on `sock`, which is the line's, is this end; what was there before hangs up at once."""
        with self._lock:
            if before := self._ends[end]:
                hang_up(before)
            if sock:
                sock.setblocking(False)
            self._ends[end] = sock
        self._wake.send(b"!")

    def cut(self, end: int) -> None:
        """What this end says from now on is lost."""
        with self._lock:
            self._cut.add(end)

    def heal(self) -> None:
        with self._lock:
            self._cut.clear()

    def close(self) -> None:
        self._wake.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            with self._lock:
                ends = list(enumerate(self._ends))
            reading = [sock for end, sock in ends if sock and len(self._waiting[1 - end]) < LIMIT]
            writing = [sock for end, sock in ends if sock and self._waiting[end]]
            readable, writable, _ = select.select([self._woken, *reading], writing, [])
            if self._woken in readable and not self._woken.recv(64):
                break
            with self._lock:
                for end, sock in ends:
                    if sock and sock is self._ends[end]:
                        self._move(end, sock, sock in readable, sock in writable)
        self._woken.close()
        for end in (0, 1):
            if sock := self._ends[end]:
                hang_up(sock)

    def _move(self, end: int, sock: socket.socket, readable: bool, writable: bool) -> None:
        try:
            if writable:
                del self._waiting[end][: sock.send(self._waiting[end])]
            if readable:
                data = sock.recv(PORTION)
                if end not in self._cut:
                    self._waiting[1 - end].extend(data)
                if not data:
                    raise ConnectionError
        except BlockingIOError:
            pass
        except OSError:
            sock.close()
            self._ends[end] = None


def hang_up(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
