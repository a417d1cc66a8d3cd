"""A relayed session as the backup has it: what its master's relay knows, from the same bytes. Sans-IO.

The master's log gives the client's bytes as they came, and whole PDUs to the client as they go out. A relay
of our own judges both, so it knows what is pending, cancelled and remembered as the master does. What the
master refuses to the client is pending here until the refusal is in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from appliance.errors import ProtocolError
from appliance.sessions.endpoints import HEADER, Endpoint
from appliance.sessions.half import Half
from appliance.sessions.relay import BATCH, Downstream, Pending, Relay
from appliance.sessions.state import HalfState, SessionState
from gadgets.usb.urb import TransferType

TAIL_LIMIT: Final = 32 << 20
"""Bytes to the client that it has not acknowledged: more than the sockets of a master hold."""
REFUSED: Final = Endpoint(0, TransferType.BULK, watched=True)
"""The endpoint of pending URBs to which the master's relay gives the answer; kept is that answer."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a session stands when its master is gone."""

    state: SessionState
    """`answers`: what the master had refused and not yet said"""
    reports: Mapping[int, bytes] = field(default_factory=dict)
    """the last one of each interrupt IN endpoint that gave any"""


class Answers(Downstream):
    """To the client, as the master sent it."""

    __slots__ = ("reports",)

    def __init__(self, relay: Relay, state: HalfState) -> None:
        super().__init__(relay, state)
        self.reports: dict[int, bytes] = {}

    def judge(self, at: int, entry: Pending | None, now: int) -> int:
        size = super().judge(at, entry, now)
        if entry and entry[0].inbound and entry[0].type == TransferType.INTERRUPT:
            self.reports[entry[0].address] = bytes(self.view[at + HEADER : at + size])
        return size


class Follower(Relay):
    """A relay that judges every URB the long way, so that its PDU is kept, and answers none."""

    watches = True

    def refuse(self, seqnum: int, target: int, status: int, packets: int) -> None:
        super().refuse(seqnum, target, status, packets)
        self.pending[seqnum] = (REFUSED, 0, 0, 0, self.answers[:])
        self.answers.clear()


class Shadow:
    """Of one session, from a `state` of its master's relay on; `now` is our own clock.

    `consumed` and `produced` count the client's stream from the session's beginning, as `state` does.
    """

    def __init__(self, state: SessionState, now: int = 0) -> None:
        here = replace(state, pending=tuple(replace(urb, began=now) for urb in state.pending))
        self.relay = Follower(here, now)
        self.answers = self.relay.down = Answers(self.relay, HalfState())
        self.facts, self.gate = state.facts, state.gate
        self.consumed, self.produced = state.consumed, state.produced
        self.tail = bytearray()

    def client(self, data: bytes | memoryview, now: int = 0) -> None:
        """The client sent this. Raises ProtocolError, as the master's relay did."""
        self.consumed += len(data)
        feed(self.relay.up, data, now)

    def stub(self, data: bytes | memoryview, now: int = 0) -> None:
        """The client is sent this: PDUs, all of them whole. Raises ProtocolError: we have lost step."""
        if feed(self.answers, data, now) != len(data) or self.answers.due or self.answers.end:
            raise ProtocolError("the log answers what the client did not ask")
        if len(self.answers.done) >= BATCH:
            self.relay.settle()
        self.produced += len(data)
        self.tail += data
        if len(self.tail) > TAIL_LIMIT:
            raise ProtocolError(f"the client has not acknowledged {len(self.tail)} bytes")

    def seen(self, count: int) -> None:
        """The client has acknowledged so much of its stream: nobody needs that any more."""
        if (old := count - (self.produced - len(self.tail))) > 0:
            del self.tail[:old]

    def standing(self) -> Standing:
        refused = {s: bytes(e[4]) for s, e in self.relay.pending.items() if e[0] is REFUSED and e[4]}
        state = self.relay.freeze()
        return Standing(
            replace(
                state,
                pending=tuple(urb for urb in state.pending if urb.seqnum not in refused),
                answers=b"".join(refused.values()),
                consumed=self.consumed,
                produced=self.produced,
                facts=self.facts,
                gate=self.gate,
            ),
            dict(self.answers.reports),
        )


def feed(half: Half, data: bytes | memoryview, now: int) -> int:
    """`data` goes through; returns how many bytes came out."""
    out = 0
    for at in range(0, len(data), 1 << 20):
        piece = data[at : at + (1 << 20)]
        half.space()[: len(piece)] = piece
        half.received(len(piece), now)
        out += len(half.outgoing())
        half.sent(len(half.outgoing()))
    return out
