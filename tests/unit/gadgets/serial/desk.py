"""A serial port and all around it, in one process: a host, the companion, what that waits for."""

from __future__ import annotations

import select
from collections.abc import Callable

from gadgets.serial.acm import Serial
from gadgets.usb.compose import Identity, compose
from gadgets.usb.device import BusEvent
from gadgets.usb.urb import Completion, Speed
from tests.unit.gadgets.host import Host

NOTIFY, SOURCE, SINK = 0x81, 0x82, 0x01
IDENTITY = Identity(0x1209, 0x0003, "Twinhub", "Serial")
PATIENCE = 30
"""Seconds after which what a test waits for will not come."""


class Turns:
    """A Reactor that does one thing at a time."""

    def __init__(self) -> None:
        self.poll = select.poll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.wanted: dict[int, int] = {}

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        self.handlers[fd] = handler
        self.want(fd, events)

    def want(self, fd: int, events: int) -> None:
        if events:
            self.poll.register(fd, events)
        elif self.wanted.get(fd):
            self.poll.unregister(fd)
        self.wanted[fd] = events

    def forget(self, fd: int) -> None:
        self.want(fd, 0)
        del self.wanted[fd], self.handlers[fd]

    def turn(self, seconds: float) -> bool:
        """Handle what is ready; False: nothing was."""
        ready = self.poll.poll(seconds * 1000)
        for fd, events in ready:
            if fd in self.handlers:
                self.handlers[fd](events)
        return bool(ready)

    def settle(self) -> None:
        while self.turn(0):
            pass

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            assert self.turn(PATIENCE), "nothing moves any more"


class Desk:
    """`heard` is what the function told, in order; a companion hears it as it does in a running gadget."""

    def __init__(self, connect: str = "", *, configured: bool = True) -> None:
        self.port = Serial(connect=connect)
        self.device = compose(IDENTITY, [self.port], speed=Speed.HIGH)
        self.host = Host(self.device, configured=False)
        self.turns = Turns()
        self.heard: list[object] = []
        self.fetched: list[Completion] = []
        self._telling = False
        for companion in self.port.companions:
            companion.start(self.turns, self.give)
        if configured:
            self.configure()

    def configure(self) -> None:
        self.control("00 09 0001 0000 0000")

    def unplug(self) -> None:
        self.finish(self.device.bus(BusEvent.DETACH))
        self.device.bus(BusEvent.ATTACH)

    def control(self, request: str, data: bytes = b"") -> bytes | None:
        answer = self.host.control(request, data)
        self.finish([])
        return answer

    def send(self, data: bytes) -> int:
        """An OUT transfer; its number."""
        self.finish(self.host.submit(SINK, data=data))
        return self.host.number

    def ask(self, length: int = 16384, endpoint: int = SOURCE) -> int:
        """An IN transfer."""
        self.finish(self.host.submit(endpoint, length))
        return self.host.number

    def give(self, input: object) -> None:
        self.finish(self.device.local(input))

    def finish(self, done: list[Completion]) -> None:
        self.fetched += done
        if self._telling:
            return
        self._telling = True
        while events := self.device.take_events():
            for told in events:
                if told.function:
                    self.heard.append(told.event)
                    for companion in self.port.companions:
                        companion.hear(told.event)
        self._telling = False

    def take_heard(self) -> list[object]:
        heard, self.heard = self.heard, []
        return heard

    def done(self, number: int) -> bool:
        return any(each.number == number for each in self.fetched)

    def data_of(self, *numbers: int) -> bytes:
        return b"".join(each.data for each in self.fetched if each.number in numbers)

    @property
    def stats(self) -> dict[str, object]:
        (companion,) = self.port.companions
        return companion.stats()

    def close(self) -> None:
        for companion in self.port.companions:
            companion.close()
