"""In a machine: passes random bytes both ways at once between a tty and the pty behind it, and compares.

    python3 -I -S serial_stream.py TTY PTY BYTES

Who reads the pty is slow at first, a few bytes at a time, so that the host has to wait for it.
Prints a line of JSON: the seconds that each way took, and where it was wrong (−1: nowhere).
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import sys
import termios
import time
import tty
from contextlib import suppress

PORTION, SLOW_PORTION = 16384, 50


class End:
    """One end: what it has yet to send, what it has received."""

    def __init__(self, path: str, outgoing: bytes) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)
        self.outgoing, self.received = memoryview(outgoing), bytearray()
        self.slow_until = 0

    def move(self, events: int) -> None:
        with suppress(BlockingIOError):
            if events & select.EPOLLIN:
                slow = len(self.received) < self.slow_until
                self.received += os.read(self.fd, SLOW_PORTION if slow else PORTION)
            if events & select.EPOLLOUT and self.outgoing:
                self.outgoing = self.outgoing[os.write(self.fd, self.outgoing[:PORTION]) :]

    def wanted(self) -> int:
        return select.EPOLLIN | (select.EPOLLOUT if self.outgoing else 0)


def first_difference(one: bytes, other: bytes) -> int:
    if one == other:
        return -1
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), -1)


def main(tty_path: str, pty_path: str, size: int) -> None:
    there, back = random.Random(1).randbytes(size), random.Random(2).randbytes(size)
    pty, host = End(pty_path, back), End(tty_path, there)
    pty.slow_until = size // 40
    lines_up(host.fd)
    ends = {end.fd: (end, wanted) for end, wanted in ((pty, back), (host, there))}
    poll, took = select.epoll(), dict[str, float]()
    for fd, (end, _) in ends.items():
        poll.register(fd, end.wanted())
    began = time.monotonic()
    while len(took) < 2:
        for fd, events in poll.poll():
            end = ends[fd][0]
            end.move(events)
            poll.modify(fd, end.wanted())
        for name, end in (("from_host", pty), ("to_host", host)):
            if len(end.received) == size:
                took.setdefault(name, time.monotonic() - began)
    wrong = {
        "from_host": first_difference(pty.received, there),
        "to_host": first_difference(host.received, back),
    }
    print(json.dumps({"bytes": size, "seconds": took, "wrong": wrong}))


def lines_up(fd: int) -> None:
    """The other end's DCD says that it is there: before, what is sent goes to nobody."""
    while not int.from_bytes(fcntl.ioctl(fd, termios.TIOCMGET, bytes(4)), sys.byteorder) & termios.TIOCM_CD:
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
