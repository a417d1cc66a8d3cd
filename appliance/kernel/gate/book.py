"""What the gate knows and holds. Sans-IO: packets and messages in, rulings out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from appliance.errors import Busy, UsageError
from appliance.kernel.gate.judge import Connection, Known, Verdict, judge, outdated
from appliance.kernel.gate.messages import Register
from appliance.kernel.gate.queue import Hook, Packet
from appliance.kernel.tcp.probe import HOME_MADE
from appliance.kernel.tcp.segment import ACK, SYN, Segment, distance, parse, seq

MAX_CONNECTIONS = 4096
MAX_REFUSED = 1024
MAX_HELD_IN = 4096
"""Of what clients send to a frozen address; what is more they repeat."""

Ruling = tuple[int, bool]
"""A packet's number, and whether it goes on."""


@dataclass(slots=True)
class Entry:
    connection: Connection
    known: Known
    seq_in: int
    held: deque[tuple[int, Segment]] = field(default_factory=deque)


@dataclass(slots=True)
class Frozen:
    """An address at which nobody answers yet: what clients said meanwhile, and who is answered again."""

    waiting: deque[tuple[int, Connection]] = field(default_factory=deque)
    admitted: set[Connection] = field(default_factory=set)


class Book:
    """Every registered connection, every guarded address, every packet that waits."""

    def __init__(self) -> None:
        self._entries: dict[Connection, Entry] = {}
        self._frozen: dict[str, Frozen] = {}
        self._refused: dict[Connection, None] = {}

    def packet(self, packet: Packet) -> list[Ruling]:
        """What becomes of it, and of those held before that it outdates."""
        segment = parse(packet.headers)
        if segment is None:
            return [(packet.id, False)]
        return self._coming(packet, segment) if packet.hook == Hook.IN else self._leaving(packet, segment)

    def _coming(self, packet: Packet, segment: Segment) -> list[Ruling]:
        frozen, connection = self._frozen.get(segment.target[0]), (segment.target, segment.source)
        if frozen is None or connection in frozen.admitted or connection in self._refused:
            return [(packet.id, True)]
        frozen.waiting.append((packet.id, connection))
        return [(frozen.waiting.popleft()[0], False)] if len(frozen.waiting) > MAX_HELD_IN else []

    def _leaving(self, packet: Packet, segment: Segment) -> list[Ruling]:
        connection = segment.source, segment.target
        if segment.flags & (SYN | ACK) == SYN | ACK:
            # The client begins anew on the port of an earlier connection, which therefore is over.
            return [*self._drop(connection), (packet.id, True)]
        if connection in self._refused or packet.mark == HOME_MADE:
            return [(packet.id, True)]
        entry = self._entries.get(connection)
        frozen = segment.source[0] in self._frozen
        verdict = judge(segment, entry.known if entry else None, frozen)
        if entry is None or verdict is not Verdict.HOLD:
            return [(packet.id, verdict is Verdict.PASS)]
        rulings = []
        if entry.held and outdated(entry.held[-1][1], segment):
            rulings.append((entry.held.pop()[0], False))
        entry.held.append((packet.id, segment))
        return rulings

    def register(self, message: Register) -> Entry:
        """Busy when the book is full: a session that cannot be guarded must not be served as if it were."""
        if message.connection not in self._entries and len(self._entries) >= MAX_CONNECTIONS:
            raise Busy(f"the gate guards {MAX_CONNECTIONS} connections already")
        self._refused.pop(message.connection, None)
        held = entry.held if (entry := self._entries.get(message.connection)) else deque()
        entry = Entry(message.connection, Known(seq(message.seq_in + message.position)), message.seq_in, held)
        self._entries[message.connection] = entry
        return entry

    def commit(self, entry: Entry, position: int) -> list[Ruling]:
        """What no longer has to wait; a position before an earlier one changes nothing."""
        committed = seq(entry.seq_in + position)
        if distance(entry.known.committed, committed) > 0:
            entry.known = replace(entry.known, committed=committed)
        return self._released(entry)

    def let_go(self, entry: Entry) -> list[Ruling]:
        entry.known = replace(entry.known, let_go=True)
        return self._released(entry)

    def forget_connection(self, entry: Entry) -> None:
        """One that was let go need not be known; any other stays guarded, though nobody speaks for it."""
        if entry.known.let_go and self._entries.get(entry.connection) is entry:
            del self._entries[entry.connection]

    def refuse(self, connection: Connection) -> list[Ruling]:
        self._refused[connection] = None
        if len(self._refused) > MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        return self._drop(connection)

    def freeze(self, address: str) -> None:
        self._frozen.setdefault(address, Frozen()).admitted.clear()

    def admit(self, entry: Entry) -> list[Ruling]:
        """A session speaks for this connection: it need not wait until the others at its address are back."""
        frozen = self._frozen.get(entry.connection[0][0])
        if frozen is None:
            return []
        frozen.admitted.add(entry.connection)
        passing = [number for number, whose in frozen.waiting if whose == entry.connection]
        frozen.waiting = deque(each for each in frozen.waiting if each[1] != entry.connection)
        return [(number, True) for number in passing]

    def open(self, address: str) -> list[Ruling]:
        """What clients sent meanwhile goes on."""
        return [(number, True) for number, _ in self._frozen.pop(address, Frozen()).waiting]

    def forget(self, address: str) -> list[Ruling]:
        rulings = [(number, False) for number, _ in self._frozen.pop(address, Frozen()).waiting]
        for connection in [each for each in self._entries if each[0][0] == address]:
            rulings += self._drop(connection)
        return rulings

    def _released(self, entry: Entry) -> list[Ruling]:
        rulings = []
        while entry.held and judge(entry.held[0][1], entry.known, False) is Verdict.PASS:
            rulings.append((entry.held.popleft()[0], True))
        return rulings

    def _drop(self, connection: Connection) -> list[Ruling]:
        entry = self._entries.pop(connection, None)
        return [(number, False) for number, _ in entry.held] if entry else []


def checked_entry(entry: Entry | None) -> Entry:
    if entry is None:
        raise UsageError("register the connection first")
    return entry
