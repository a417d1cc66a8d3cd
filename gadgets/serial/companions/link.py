"""What all companions of a serial port share: the credit for data, the counters."""

from __future__ import annotations

from collections.abc import Callable

from appliance.errors import Unavailable
from gadgets.serial.line import WINDOW, Consumed, ControlLines, LineCoding, Online, Received, Send, Sent
from gadgets.usb.companion import Reactor


class Link:
    """Knows how much may go to the host (`room`) and what came from it (`heard`, at most `WINDOW` bytes).

    A class on top of it acts on `moved`: either has changed.
    """

    reactor: Reactor

    def __init__(self) -> None:
        self.heard = bytearray()
        self.online = False
        self.lines = ControlLines(dtr=False, rts=False)
        self.coding = LineCoding()
        self.from_host = self.to_host = self.dropped = 0
        self._free = WINDOW

    def start(self, reactor: Reactor, give: Callable[[object], None]) -> None:
        self.reactor, self.give = reactor, give

    @property
    def room(self) -> int:
        """Bytes that `send` takes now; none while there is no host."""
        return self._free if self.online else 0

    def send(self, data: bytes) -> bool:
        """Of at most `room` bytes. False: the host has just gone, and nothing was sent."""
        self._free -= len(data)
        try:
            self.give(Send(data=data))
        except Unavailable:
            self._free += len(data)
            return False
        self.to_host += len(data)
        return True

    def consume(self, count: int) -> None:
        """The first `count` bytes that were heard are done with."""
        del self.heard[:count]
        if count:
            self.give(Consumed(count))

    def hear(self, event: object) -> None:
        match event:
            case Received(data):
                self.heard += data
                self.from_host += len(data)
            case Sent(count):
                self._free += count
            case Online(online):
                self.online = online
            case ControlLines():
                self.lines = event
            case LineCoding():
                self.coding = event
                return
            case _:
                return
        self.moved()

    def moved(self) -> None:
        raise NotImplementedError

    def stats(self) -> dict[str, object]:
        return {
            "from_host": self.from_host,
            "to_host": self.to_host,
            "dropped": self.dropped,
            "dtr": self.lines.dtr,
            "rts": self.lines.rts,
            "baud": self.coding.baud,
        }
