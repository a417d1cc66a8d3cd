"""The byte directions of a relayed session that has a backup: what came is logged before it goes on."""

from __future__ import annotations

from collections import deque
from time import monotonic_ns
from typing import Protocol

from appliance.loop import Ended
from appliance.sessions.relayed import Flow, Piece


class Log(Protocol):
    """`received` and `sent` return the record's number; what is of a number up to `free` may go on."""

    free: int

    @property
    def is_full(self) -> bool: ...
    def received(self, data: bytes, came: int) -> int: ...
    def sent(self, data: bytearray) -> int: ...
    def stub_gone(self, end: Ended) -> None: ...


class LoggedFlow(Flow):
    """In the place of another; what that one had yet to send is under way as it was."""

    def __init__(self, before: Flow, log: Log) -> None:
        self.half, self.receive, self.send = before.half, before.receive, before.send
        self.eof, self.lost, self.on_stall, self.tap = before.eof, before.lost, before.on_stall, before.tap
        self.came, self.went = before.came, before.went
        self.log = log
        self.queue: deque[tuple[int, Piece]] = deque()
        self.queued = 0
        self.stalled = False
        self.reading = True
        if ready := bytes(self.half.outgoing()):
            self.half.sent(len(ready))
            self.put(0, ready)

    @property
    def reads(self) -> bool:
        return self.reading

    @property
    def waiting(self) -> int:
        return self.queued

    def put(self, index: int, data: Piece) -> None:
        if data:
            self.queue.append((index, data))
            self.queued += len(data)

    def pull(self) -> None:
        if not self.reading:  # only a hang-up is told of a source that is not read
            self.hung_up(Ended(self.eof))
            return
        if not (count := self.take(self.space())):
            return
        self.note(count)
        self.half.received(count, monotonic_ns())
        if self.tap:
            self.tap(self.half.outgoing())
        self.push()

    def hung_up(self, end: Ended) -> None:
        raise end

    def space(self) -> memoryview:
        return self.half.space()

    def note(self, count: int) -> None:
        """`count` bytes came, and are not judged yet."""

    def judged(self) -> None:
        """What the half lets out is queued."""
        raise NotImplementedError

    def push(self) -> None:
        """Send what the backup has."""
        self.judged()
        queue, stalled = self.queue, False
        while queue and queue[0][0] <= self.log.free:
            index, data = queue[0]
            count = self.give(data)
            self.queued -= count
            if stalled := count < len(data):
                queue[0] = index, memoryview(data)[count:]
                break
            queue.popleft()
        reading = not self.log.is_full
        if (stalled, reading) != (self.stalled, self.reading):
            self.stalled, self.reading = stalled, reading
            self.on_stall()

    def out(self) -> bytes:
        data = bytes(self.half.outgoing())
        self.half.sent(len(data))
        return data


class LoggedUp(LoggedFlow):
    """From the client: logged as it came."""

    index = 0

    def note(self, count: int) -> None:
        at = self.half.end
        self.index = self.log.received(bytes(self.half.view[at : at + count]), self.came)

    def judged(self) -> None:
        self.put(self.index, self.out())

    def give(self, data: Piece) -> int:
        try:
            return super().give(data)
        except Ended as end:
            self.log.stub_gone(end)
            return 0


class LoggedDown(LoggedFlow):
    """To the client: logged PDU by PDU, so that one of which only a part came was never begun."""

    def __init__(self, before: Flow, log: Log) -> None:
        super().__init__(before, log)
        self.part = bytearray()
        self.is_split = self.half.due > 0
        """of the PDU under way, some is on its way already"""

    @property
    def is_between(self) -> bool:
        """Whether all that came so far is whole PDUs and what lacks its header's end."""
        return not self.half.due and not self.part

    def take(self, space: memoryview) -> int:
        try:
            return super().take(space)
        except Ended as end:
            self.hung_up(end)
            return 0

    def hung_up(self, end: Ended) -> None:
        self.log.stub_gone(end)

    def space(self) -> memoryview:
        """No more than ends the PDU under way, so that PDUs end where bytes that came do."""
        space = self.half.space()
        return space[: self.half.due] if self.half.due else space

    def judged(self) -> None:
        data = self.out()
        if self.is_split:
            self.put(0, data)
            self.is_split = self.half.due > 0
            return
        self.part += data
        if self.part and not self.half.due:
            part, self.part = self.part, bytearray()
            self.put(self.log.sent(part), part)
