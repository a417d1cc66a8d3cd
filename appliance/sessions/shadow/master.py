"""The master's side of a relayed session's log.

The client's bytes go to the stub, and the stub's to the client, when the backup has them: from `protect` on.
Until then the log is brought to the backup and nothing waits:

    snapshot, at the end of a PDU  →  caught up  →  `protect`  →  protected  →  lost  →  `sole`
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from enum import Enum
from fcntl import ioctl
from time import monotonic_ns
from typing import Final

from appliance.errors import PeerError, ProtocolError, TwinhubError, Unavailable
from appliance.loop import Ended
from appliance.sessions.relayed import Flow, Relayed
from appliance.sessions.replication.records import (
    Ack,
    End,
    Hello,
    Left,
    Reader,
    Received,
    Record,
    Seen,
    emit,
)
from appliance.sessions.shadow.flows import LoggedDown, LoggedUp
from appliance.sessions.shadow.records import BACKUPS, Sent, Snapshot

WINDOW: Final = 4 << 20
"""Bytes of the log, or to be sent, that may wait before no more is read."""
SEEN_STEP: Final = 256 << 10
"""Bytes to the client after which the backup is told how many it has."""
LOOK_AGAIN: Final = 20_000_000
"""ns until it is looked again whether the client has what no tail holds."""
SIOCOUTQ: Final = 0x5411
"""sockios(7): bytes that the peer has not acknowledged."""
EVERYTHING: Final = 1 << 64

Waiter = Callable[[str], None]
"""Hears "" when it is so, or why it never will be."""


class Phase(Enum):
    SYNCING = "syncing"
    CAUGHT_UP = "caught_up"
    PROTECTED = "protected"
    LOST = "lost"
    DEVICE_GONE = "device_gone"
    """Only told: the session waits for the sibling to have the device, or to be kicked."""


class RelayLog:
    """The log of a session, from `start` on. The backup's bytes go to `feed`, its hang-up to `lose`; `send`
    never raises; `tell` hears of each phase."""

    def __init__(
        self,
        relayed: Relayed,
        epoch: int,
        send: Callable[[bytes], None],
        tell: Callable[[Phase, str], None],
    ) -> None:
        self.relayed, self.epoch = relayed, epoch
        self.send, self.tell = send, tell
        self.gate = relayed.commit
        self.phase = Phase.SYNCING
        self.free = EVERYTHING
        """the newest record whose bytes may go on"""
        self.index = self.acked = 0
        self.size = self.acked_size = 0
        self.begun_at: int | None = None
        """the snapshot's number"""
        self.entries: deque[tuple[int, int, int]] = deque()
        """not acknowledged: index, size of the log with it, bytes of the client's with it"""
        self.waiters: list[tuple[int, Waiter]] = []
        self.covered_from = self.seen = 0
        self.reader = Reader(BACKUPS)
        self.up, self.down = LoggedUp(relayed.upward, self), LoggedDown(relayed.downward, self)

    def start(self) -> None:
        relayed = self.relayed
        relayed.upward, relayed.downward, relayed.after = self.up, self.down, self.begin
        relayed.commit, relayed.at_end = None, self.close
        relayed.watch()
        self.begin()

    def begin(self) -> None:
        """The snapshot, as soon as no PDU is under way to the client."""
        if self.begun_at is not None:
            return
        if not self.down.is_between or self.relayed.relay.answers:
            return
        self.relayed.after = None
        state = self.relayed.state(produced=self.down.went + self.down.waiting)
        self.covered_from = self.seen = state.produced
        self.append(Hello(self.epoch))
        self.append(Snapshot(state))
        self.begun_at = self.index

    # The flows' log

    @property
    def is_full(self) -> bool:
        log = self.size - self.acked_size
        return max(log, self.up.queued, self.down.queued) > WINDOW

    def received(self, data: bytes, came: int) -> int:
        index = self.append(Received(data), came)
        if self.free >= self.index:
            self.commit(came)
        return index

    def sent(self, data: bytearray) -> int:
        index = self.append(Sent(data))
        if self.down.went - self.seen >= SEEN_STEP:
            self.seen = self.down.went
            self.append(Seen(self.acknowledged()))
        return index

    def stub_gone(self, end: Ended) -> None:
        """A protected client hears nothing of it: the device may be about to come up at the sibling."""
        if not self.holding:
            raise end
        if not self.relayed.frozen:
            self.relayed.frozen = True
            self.relayed.watch()
            self.tell(Phase.DEVICE_GONE, str(end))

    def append(self, record: Record, came: int = 0) -> int:
        """Its number; 0 before the log has begun."""
        if self.phase is Phase.LOST:
            return self.index + 1
        if self.begun_at is None and not isinstance(record, Hello | Snapshot):
            return 0
        data = emit(record)
        self.index += 1
        self.size += len(data)
        self.entries.append((self.index, self.size, came))
        self.send(data)
        return self.index

    def commit(self, came: int) -> None:
        """So many of the client's bytes cannot be lost."""
        if self.gate:
            self.gate(came)

    def acknowledged(self) -> int:
        """How many bytes the client's kernel has."""
        queued = ioctl(self.relayed.client.fileno(), SIOCOUTQ, bytes(4))
        return self.down.went - int.from_bytes(queued, sys.byteorder)

    # What the backup says

    def feed(self, data: bytes) -> None:
        try:
            for record in self.reader.feed(data):
                match record:
                    case Ack(index):
                        self.on_ack(index)
                    case Left(reason):
                        raise PeerError(reason)
        except TwinhubError as error:
            self.lose(str(error))

    def on_ack(self, index: int) -> None:
        if not self.acked < index <= self.index:
            raise ProtocolError(f"the backup acknowledges record {index} of {self.index}, after {self.acked}")
        self.acked, came = index, 0
        while self.entries and self.entries[0][0] <= index:
            _, self.acked_size, here = self.entries.popleft()
            came = here or came
        if self.holding:
            self.free = index
            if came:
                self.commit(came)
        self.flow()
        self.look()
        self.answer()

    def flow(self) -> None:
        if not self.relayed.frozen:
            self.up.push()
            self.down.push()

    @property
    def holding(self) -> bool:
        """Whether bytes wait for the backup."""
        return self.free < EVERYTHING

    def look(self) -> None:
        """Caught up is a backup whose tail begins no later than what the client has yet to acknowledge."""
        if self.phase is not Phase.SYNCING or self.begun_at is None or self.acked < self.begun_at:
            return
        if self.acknowledged() < self.covered_from:
            self.relayed.look_at(monotonic_ns() + LOOK_AGAIN, self.look)
        else:
            self.turn(Phase.CAUGHT_UP)

    # What the daemon says

    def protect(self, waiter: Waiter) -> None:
        """Bytes wait from now on; `waiter` hears when the backup has those that did not."""
        if self.phase not in (Phase.CAUGHT_UP, Phase.PROTECTED):
            raise Unavailable(f"the backup is not in sync: {self.phase.value}")
        self.free = min(self.free, self.acked)

        def protected(reason: str) -> None:
            if not reason:
                self.turn(Phase.PROTECTED)
            waiter(reason)

        self.when_acked(protected)

    def when_acked(self, waiter: Waiter) -> None:
        self.waiters.append((self.index, waiter))
        self.answer()

    def answer(self, reason: str = "") -> None:
        answered = [each for each in self.waiters if reason or each[0] <= self.acked]
        self.waiters = [each for each in self.waiters if each not in answered]
        for _, waiter in answered:
            waiter(reason)

    def lose(self, reason: str) -> None:
        """The backup is gone. What waits for it waits on, until `sole`."""
        if self.phase is Phase.LOST:
            return
        self.turn(Phase.LOST, reason)
        self.answer(reason)
        if not self.holding:
            self.sole()

    def sole(self) -> None:
        """There is no backup: everything flows, as before."""
        self.phase, self.free = Phase.LOST, EVERYTHING
        self.entries.clear()
        self.size = self.acked_size
        self.commit(self.up.came)
        self.relayed.after, self.relayed.commit, self.relayed.at_end = self.leave, self.gate, None
        self.flow()
        self.leave()

    def leave(self) -> None:
        """Plain flows take over as soon as nothing is queued."""
        relayed, up, down = self.relayed, self.up, self.down
        if up.queued or down.queued or down.part or relayed.upward is not up:
            return
        relayed.after = None
        relayed.upward, relayed.downward = plain(up, relayed), plain(down, relayed)
        relayed.watch()

    def close(self) -> None:
        """The session has ended."""
        self.append(End())

    def turn(self, phase: Phase, reason: str = "") -> None:
        self.phase = phase
        self.tell(phase, reason)


def plain(flow: Flow, relayed: Relayed) -> Flow:
    """A flow without a log in the place of one with."""
    up = flow is relayed.upward
    source, sink = (relayed.client, relayed.stub) if up else (relayed.stub, relayed.client)
    new = Flow(flow.half, source, sink, flow.eof, flow.lost, flow.on_stall)
    new.tap, new.came, new.went = flow.tap, flow.came, flow.went
    return new
