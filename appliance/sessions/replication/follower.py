"""The backup's side of a gadget's log: executes each record with the same code and acknowledges it. Sans-IO.

What the device answers is kept, not sent; what it tells has nobody to hear it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic_ns
from typing import Any, Final
from zlib import crc32

from appliance.errors import ProtocolError, Refused, TwinhubError, Unavailable
from appliance.sessions.replication import copying
from appliance.sessions.replication.records import (
    MASTERS,
    VERSION,
    Ack,
    Begin,
    Block,
    End,
    Hello,
    Left,
    Local,
    Place,
    Probe,
    Reader,
    Received,
    Record,
    Seen,
    State,
    Tick,
    Zeros,
    emit,
)
from appliance.sessions.replication.shadow import Shadow
from appliance.sessions.running import Running
from appliance.sessions.software import Piece
from appliance.sessions.state import SessionSpec
from gadgets.usb.inputs import read_input


class Follower:
    """Executes on a `running` that is not live. `send` never raises; `tell` hears when it is in sync, and why
    it no longer follows. An older `epoch` than the one given is refused."""

    def __init__(
        self, running: Running, epoch: int, send: Callable[[bytes], None], tell: Callable[[str, str], None]
    ) -> None:
        self.running, self.epoch, self.send, self.tell = running, epoch, send, tell
        self.index = self.acked = 0
        self.digest = 0
        self.greeted = self.has_state = self.in_sync = False
        self.gone = ""
        """Why nothing more is executed"""
        self.numbers: dict[Place, int] = {}
        self._reader = Reader(MASTERS)

    @property
    def shadow(self) -> Shadow | None:
        host = self.running.host
        return host if isinstance(host, Shadow) else None

    @property
    def state_word(self) -> str:
        return "lost" if self.gone else "in_sync" if self.in_sync else "syncing"

    def feed(self, data: bytes) -> None:
        if self.gone:
            return
        try:
            for record in self._reader.feed(data):
                self.index += 1
                self.execute(record)
        except TwinhubError as error:
            self.send(emit(Left(str(error))))
            self.in_sync = False
            self.lose(str(error))
        else:
            if self.index > self.acked:
                self.acked = self.index
                self.send(emit(Ack(self.index, self.digest)))

    def execute(self, record: Record) -> None:
        if not self.greeted and not isinstance(record, Hello):
            raise ProtocolError("the master does not begin with a greeting")
        if self.greeted and not self.has_state and not isinstance(record, State):
            raise ProtocolError("the master sent inputs before a state")
        EXECUTE[type(record)](self, record)

    def lose(self, reason: str) -> None:
        """The master is gone, or this end of it. What was executed stays."""
        if not self.gone:
            self.gone = reason
            self.tell("lost", reason)

    def promote(self) -> None:
        """From now on this is the device, and it goes on in time where the master's was."""
        if not self.in_sync:
            raise Unavailable(
                f"this copy is not in sync with its master: {self.gone or 'it is being brought so'}"
            )
        self.gone = self.gone or "promoted"
        self.running.go_live()

    # Each kind of record

    def hello(self, hello: Hello) -> None:
        if hello.version != VERSION:
            raise Unavailable(f"the master speaks version {hello.version} of the log, this copy {VERSION}")
        if hello.epoch < self.epoch or self.greeted:
            raise Refused(f"a master of epoch {hello.epoch} is none any more; this is {self.epoch}")
        self.epoch, self.greeted = hello.epoch, True

    def state(self, state: State) -> None:
        running = self.running
        try:
            running.host = None
            media = {Place(function, lun): rest for function, lun, *rest in state.media}
            copying.at_home(running.gadget, state.device, {place: spec for place, (_, spec) in media.items()})
            running.gadget.device.restore(state.device)
            running.plugged = state.plugged
            if state.session is not None:
                running.host = Shadow.restored(state.session, running, self.made)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"the master sent a state that cannot be one: {error!r}") from None
        copying.check_sizes(running.gadget, {place: size for place, (size, _) in media.items()})
        self.has_state, self.digest = True, 0
        self.numbers = copying.numbers(running.gadget)
        self.look_at_clock(state.now)
        if state.whole:
            copying.flush(running.gadget)
            self.in_sync = True
            self.tell("in_sync", "")

    def begin(self, begin: Begin) -> None:
        if self.running.host:
            raise ProtocolError("the master begins a session within another")
        spec = SessionSpec.from_json(begin.spec)
        self.running.attach(Shadow(spec, begin.facts, self.running, self.made))

    def received(self, received: Received) -> None:
        self.current().received(bytes(received.data))

    def end(self, end: End) -> None:
        self.current()
        self.running.detach()

    def seen(self, seen: Seen) -> None:
        self.current().seen(seen.count)

    def tick(self, tick: Tick) -> None:
        self.look_at_clock(tick.now)
        self.running.tick(tick.now)

    def local(self, local: Local) -> None:
        try:
            self.running.local(read_input(self.running.device.inputs, local.input))
        except TwinhubError as error:
            self.digest = crc32(type(error).__name__.encode(), self.digest)
        if copying.numbers(self.running.gadget) != self.numbers:
            self.in_sync = self.in_sync and not self.was_inserted()

    def piece(self, piece: Block | Zeros | Probe) -> None:
        want = copying.take(self.running.gadget, piece)
        if want:
            self.send(emit(want))

    # What they need

    def current(self) -> Shadow:
        if not self.shadow:
            raise ProtocolError("the master speaks of a session that there is not")
        return self.shadow

    def made(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self.digest = crc32(piece, self.digest)

    def was_inserted(self) -> bool:
        """Whether there is a medium now that was not compared with the master's."""
        before, self.numbers = self.numbers, copying.numbers(self.running.gadget)
        units = copying.units(self.running.gadget)
        return any(units[place].medium and before[place] != number for place, number in self.numbers.items())

    def look_at_clock(self, now: int) -> None:
        self.running.ahead = now - monotonic_ns()


EXECUTE: Final[dict[type, Callable[[Follower, Any], None]]] = {
    Hello: Follower.hello,
    State: Follower.state,
    Begin: Follower.begin,
    Received: Follower.received,
    Tick: Follower.tick,
    Local: Follower.local,
    End: Follower.end,
    Block: Follower.piece,
    Zeros: Follower.piece,
    Probe: Follower.piece,
    Seen: Follower.seen,
}
