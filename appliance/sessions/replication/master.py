"""The master's side of a gadget's log: each input goes to the backup before the device has it, and what the
device answers goes to the client when the backup has executed what led to it (output commit). Sans-IO.

Nothing waits but outputs: inputs are executed and sent on, up to the `WINDOW`. Before `protect` not even
outputs do. The way there: State, media, State (whole), and then both are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from time import monotonic_ns
from typing import Any, Final
from zlib import crc32

from appliance.errors import PeerError, ProtocolError, TwinhubError, Unavailable
from appliance.sessions.replication import copying
from appliance.sessions.replication.records import (
    BACKUPS,
    Ack,
    Begin,
    End,
    Hello,
    Left,
    Local,
    Place,
    Reader,
    Received,
    Record,
    Seen,
    State,
    Tick,
    Want,
    emit,
)
from appliance.sessions.running import Host, Running
from appliance.sessions.software import Software
from gadgets.usb.inputs import plain_input

WINDOW: Final = 8 << 20
"""Bytes of the log, or of outputs, that may wait for the backup before no more is read from the client."""
PIECES: Final = 4
"""Of media on their way at once; then clients have their turn."""
SEEN_STEP: Final = 256 << 10
"""Bytes after which the backup is told again how many the client has."""
LOOK_AGAIN: Final = 20_000_000
"""ns until it is looked again whether the client has what no tail holds."""

Piece = bytes | memoryview
Waiter = Callable[[str], None]
"""Told "", or why not."""


class Phase(Enum):
    SYNCING = "syncing"
    CAUGHT_UP = "caught_up"
    PROTECTED = "protected"
    LOST = "lost"
    """Protected, and the backup is gone: outputs wait until the process is told that it is alone."""


@dataclass(slots=True)
class Entry:
    """A record that the backup has not acknowledged, and what came of it."""

    index: int
    size: int
    """of the log up to its end"""
    digest: int | None = None
    """of all outputs up to its own; None: there were none"""
    held: list[Piece] = field(default_factory=list)
    bytes_in: int = 0


class Master:
    """The `Log` of a running gadget, from `start` on. `send` never raises; `tell` hears of each phase.

    The backup's bytes go to `received`, its hang-up to `lose`.
    """

    def __init__(
        self, running: Running, epoch: int, send: Callable[[bytes], None], tell: Callable[[Phase, str], None]
    ) -> None:
        self.running, self.epoch, self.send, self.tell = running, epoch, send, tell
        self.phase = Phase.SYNCING
        self.index = self.acked = 0
        """The newest record, and the newest that was acknowledged"""
        self.size = self.acked_size = 0
        self.digest = 0
        self.whole_at: int | None = None
        """Where the `State` that is whole is in the log: from there on the digests must be the same"""
        self.waiting: deque[Entry] = deque()
        self.held = 0
        """bytes of outputs"""
        self.wanted: deque[Want] = deque()
        self.announcing: Iterator[copying.AnyPiece] = iter(())
        self.under_way: deque[int] = deque()
        """The numbers of the pieces that are not acknowledged"""
        self.numbers: dict[Place, int] = {}
        self.inserted = True
        """Other media may be in it than `numbers` says"""
        self.covered_from = self.seen = 0
        """Positions in the client's stream: where the backup's tail begins; what it was told of last"""
        self.look_at: int | None = None
        self.pieces = 0
        """of media, sent so far"""
        self.together = bytearray()
        """Records of this turn of the companions"""
        self.holding = False
        """Outputs wait for the backup"""
        self.waiters: list[tuple[int, Waiter]] = []
        """Who is told when the backup has executed the record of this number"""
        self._reader = Reader(BACKUPS)

    @property
    def client(self) -> Software | None:
        host = self.running.host
        return host if isinstance(host, Software) else None

    def start(self) -> None:
        self.running.log = self
        if self.client:
            self.client.follow(self)
        self.append(Hello(self.epoch))
        self.state(whole=False)
        self.copy()

    # The log (running.Log), and the outputs

    def append(self, record: Record) -> None:
        data = emit(record)
        self.index += 1
        self.size += len(data)
        self.waiting.append(Entry(self.index, self.size))
        self.together += data
        if not self.running.acting:
            self.told()

    def told(self) -> None:
        """What the companions said of what they heard is at the backup as one piece, or not at all."""
        data, self.together = bytes(self.together), bytearray()
        if data and self.phase is not Phase.LOST:
            self.send(data)

    def begin(self, host: Host) -> None:
        if isinstance(host, Software):
            host.follow(self)
        self.covered_from = self.seen = 0
        self.append(Begin(host.spec.to_json(), host.facts))

    def end(self, host: Host) -> None:
        for entry in self.waiting:
            entry.held, entry.bytes_in = [], 0
        self.held = 0
        self.append(End())

    def received(self, data: memoryview) -> None:
        self.append(Received(data))

    def local(self, input: object) -> None:
        self.append(Local(plain_input(input)))
        self.inserted = True

    def refused(self, error: TwinhubError) -> None:
        self.digest = crc32(type(error).__name__.encode(), self.digest)

    def tick(self, now: int) -> None:
        self.append(Tick(now))

    def outputs(self, client: Software, pieces: Iterable[Piece]) -> Iterable[Piece]:
        """Of these, after an input was executed, what may go to the client now."""
        made = list(pieces)
        for piece in made:
            self.digest = crc32(piece, self.digest)
        if self.waiting:
            entry = self.waiting[-1]
            entry.digest, entry.bytes_in = self.digest, client.bytes_in
            if self.holding:
                entry.held += made
                self.held += sum(map(len, made))
                made = []
        if not self.holding:
            client.commit(client.bytes_in)
        client.pause(self.is_full)
        return made

    @property
    def is_full(self) -> bool:
        return max(self.size - self.acked_size, self.held) > WINDOW

    # What the backup says

    def feed(self, data: bytes) -> None:
        if self.phase is Phase.LOST:
            return
        try:
            for record in self._reader.feed(data):
                match record:
                    case Ack(index, digest):
                        self.on_ack(index, digest)
                    case Want():
                        self.wanted.append(record)
                    case Left(reason):
                        raise PeerError(reason)
            self.pump()
        except TwinhubError as error:
            self.lose(str(error))

    def on_ack(self, index: int, digest: int) -> None:
        if not self.acked < index <= self.index:
            raise ProtocolError(f"the backup acknowledges record {index} of {self.index}, after {self.acked}")
        self.acked = index
        released: list[Piece] = []
        bytes_in = 0
        while self.waiting and self.waiting[0].index <= index:
            entry = self.waiting.popleft()
            released += entry.held
            self.acked_size = entry.size
            bytes_in = entry.bytes_in or bytes_in
            if self.differs(entry, index, digest):
                raise PeerError("the backup answers otherwise than the master; it must begin anew")
        self.held -= sum(map(len, released))
        if client := self.client:
            if bytes_in and self.holding:
                client.commit(bytes_in)
            client.let_go(released)
            client.pause(self.is_full)
            if client.sent - self.seen >= SEEN_STEP:
                self.seen = client.sent
                self.append(Seen(client.acknowledged()))
        self.answer()

    def differs(self, entry: Entry, index: int, digest: int) -> bool:
        is_checked = self.whole_at is not None and index > self.whole_at
        return is_checked and entry.index == index and entry.digest not in (None, digest)

    # How a backup comes to be in sync

    def state(self, *, whole: bool) -> None:
        running, client = self.running, self.client
        session = None
        if client:
            self.covered_from = self.seen = client.sent
            session = {**client.snapshot(), "held": [bytes(piece) for e in self.waiting for piece in e.held]}
        device = running.gadget.device.snapshot()
        self.append(State(running.now(), whole, running.plugged, device, media_of(running), session))
        self.digest = 0
        self.whole_at = self.index if whole else None

    def copy(self) -> None:
        """All media, from their beginnings; what is equal costs little."""
        gadget = self.running.gadget
        self.numbers, self.inserted = copying.numbers(gadget), False
        self.announcing = copying.announced(gadget, iter(self.numbers))
        self.wanted.clear()
        self.whole_at = None

    def pump(self) -> None:
        """The next few pieces; behind the last one the state that is whole; then it is caught up."""
        look = self.inserted or self.phase is Phase.SYNCING
        if look and copying.numbers(self.running.gadget) != self.numbers:
            self.copy()
            if self.phase is not Phase.SYNCING:
                self.turn(Phase.SYNCING)
        if self.phase is not Phase.SYNCING:
            return
        while self.under_way and self.under_way[0] <= self.acked:
            self.under_way.popleft()
        while self.whole_at is None and len(self.under_way) < PIECES and (piece := self.next_piece()):
            self.append(piece)
            self.pieces += 1
            self.under_way.append(self.index)
        if self.whole_at is None and not self.under_way:
            self.state(whole=True)
        self.look()

    def next_piece(self) -> copying.AnyPiece | None:
        if self.wanted:
            return copying.block(self.running.gadget, self.wanted.popleft())
        return next(self.announcing, None)

    def look(self) -> None:
        """Caught up is a backup whose tail begins no later than what the client has yet to acknowledge."""
        self.look_at = None
        if self.phase is not Phase.SYNCING or self.whole_at is None or self.acked < self.whole_at:
            return
        if self.client and self.client.acknowledged() < self.covered_from:
            self.look_at = monotonic_ns() + LOOK_AGAIN
            self.running.arm()
        else:
            self.turn(Phase.CAUGHT_UP)

    @property
    def wake_at(self) -> int | None:
        return self.look_at

    def on_time(self, now: int) -> None:
        self.look()

    # What the daemon says

    def protect(self, answer: Waiter) -> None:
        """Outputs wait from now on. `answer`: that what went out before is there, too; or why it is not."""
        if self.phase not in (Phase.CAUGHT_UP, Phase.PROTECTED):
            raise Unavailable(f"the backup is not in sync: {self.phase.value}")
        self.holding = True

        def protected(reason: str) -> None:
            if not reason:
                self.turn(Phase.PROTECTED)
            answer(reason)

        self.when_acked(protected)

    def when_acked(self, waiter: Waiter) -> None:
        """Tell when the backup has executed all there is by now; or why it never will."""
        self.waiters.append((self.index, waiter))
        self.answer()

    def answer(self, reason: str = "") -> None:
        answered = [each for each in self.waiters if reason or each[0] <= self.acked]
        self.waiters = [each for each in self.waiters if each not in answered]
        for _, waiter in answered:
            waiter(reason)

    def lose(self, reason: str) -> None:
        """The backup is gone. Outputs that wait for it wait on, until `sole`."""
        if self.phase is Phase.LOST:
            return
        self.turn(Phase.LOST, reason)
        self.answer(reason)
        if not self.holding:
            self.sole()

    def sole(self) -> None:
        """There is no backup: everything flows."""
        self.phase = Phase.LOST
        if self.running.log is self:
            self.running.log = None
        if client := self.client:
            client.follow(None)
            for entry in self.waiting:
                client.let_go(entry.held)
            client.commit(client.bytes_in)
            client.pause(False)
        self.waiting.clear()

    def turn(self, phase: Phase, reason: str = "") -> None:
        self.phase = phase
        self.tell(phase, reason)


def media_of(running: Running) -> list[list[Any]]:
    homes = copying.homes(running.gadget)
    return [[*place, size, homes[place]] for place, size in copying.sizes(running.gadget).items()]
