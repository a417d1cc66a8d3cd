"""What a worker waits for: readiness of descriptors and one timer. asyncio would double the cost of a URB."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Final, NoReturn

IN, OUT, HANGUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLRDHUP
BATCH: Final = 8
"""Ready descriptors that are handled between two looks at the timer."""
LONGEST: Final = 86400.0
"""Seconds waited at once; epoll_wait(2) counts its milliseconds in an int."""


class Ended(Exception):
    """The session is over; the message is the reason, for the log and for people."""


class Loop:
    """Calls the handler of each ready descriptor with epoll's events, until a handler raises."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.wanted: dict[int, int] = {}
        self.alarm: Callable[[], None] | None = None
        self.due = 0

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        self.handlers[fd] = handler
        self.want(fd, events)

    def want(self, fd: int, events: int) -> None:
        """Watch a known descriptor for `events` from now on; 0: not even for a hang-up."""
        before = self.wanted.get(fd, 0)
        if not before and events:
            self.epoll.register(fd, events)
        elif before and not events:
            self.epoll.unregister(fd)
        elif before != events:
            self.epoll.modify(fd, events)
        self.wanted[fd] = events

    def forget(self, fd: int) -> None:
        self.want(fd, 0)
        del self.wanted[fd], self.handlers[fd]

    def at(self, due: int, alarm: Callable[[], None] | None) -> None:
        """Call `alarm` once at monotonic `due` ns, in place of any earlier alarm."""
        self.due, self.alarm = due, alarm

    def run(self) -> NoReturn:
        poll, handlers = self.epoll.poll, self.handlers
        while True:
            wait = -1.0
            if self.alarm is not None:
                wait = min(max((self.due - time.monotonic_ns()) / 1e9, 0), LONGEST)
            for fd, events in poll(wait, BATCH):
                if handler := handlers.get(fd):
                    handler(events)
            if self.alarm is not None and time.monotonic_ns() >= self.due:
                alarm, self.alarm = self.alarm, None
                alarm()

    def close(self) -> None:
        self.epoll.close()
