"""The backup's side of a relayed session's log: follows each record, and acknowledges. Sans-IO."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns

from appliance.errors import ProtocolError, Refused, TwinhubError, Unavailable
from appliance.sessions.replication.records import (
    VERSION,
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
from appliance.sessions.shadow.core import Shadow
from appliance.sessions.shadow.records import MASTERS, Sent, Snapshot


class Follower:
    """`send` never raises; `tell` hears "in_sync", "lost" and why, or "over". A master of an older `epoch`
    than the one given is refused."""

    def __init__(self, epoch: int, send: Callable[[bytes], None], tell: Callable[[str, str], None]) -> None:
        self.epoch, self.send, self.tell = epoch, send, tell
        self.shadow: Shadow | None = None
        self.index = self.acked = 0
        self.greeted = self.is_over = False
        self.gone = ""
        """why nothing more is followed"""
        self.broken = ""
        """by the client; the master ends such a session"""
        self.reader = Reader(MASTERS)

    @property
    def state_word(self) -> str:
        return "lost" if self.gone else "in_sync" if self.shadow else "syncing"

    def feed(self, data: bytes) -> None:
        if self.gone:
            return
        try:
            for record in self.reader.feed(data):
                self.index += 1
                self.follow(record)
        except TwinhubError as error:
            self.send(emit(Left(str(error))))
            self.shadow = None
            self.lose(str(error))
        else:
            if self.index > self.acked:
                self.acked = self.index
                self.send(emit(Ack(self.index, 0)))

    def lose(self, reason: str) -> None:
        """The master is gone, or this end of it. What was followed stays."""
        if not self.gone:
            self.gone = reason
            self.tell("over" if self.is_over else "lost", reason)

    def follow(self, record: Record) -> None:
        match record:
            case Hello(epoch, version) if not self.greeted:
                if version != VERSION:
                    raise Unavailable(f"the master speaks version {version} of the log, this {VERSION}")
                if epoch < self.epoch:
                    raise Refused(f"a master of epoch {epoch} is none any more; this is {self.epoch}")
                self.epoch, self.greeted = epoch, True
            case Snapshot(state) if self.greeted and not self.shadow:
                self.shadow = Shadow(state, monotonic_ns())
                self.tell("in_sync", "")
            case Received(data):
                self.received(bytes(data))
            case Sent(data):
                self.current().stub(bytes(data), monotonic_ns())
            case Seen(count):
                self.current().seen(count)
            case End():
                self.is_over = True
                self.lose("the session has ended")
            case _:
                raise ProtocolError("the master's log has no such order")

    def received(self, data: bytes) -> None:
        shadow = self.current()
        if self.broken:
            return
        try:
            shadow.client(data, monotonic_ns())
        except ProtocolError as error:
            self.broken = str(error)

    def current(self) -> Shadow:
        if not self.shadow:
            raise ProtocolError("the master speaks of a session that there is not")
        return self.shadow
