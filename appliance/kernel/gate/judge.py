"""May this segment leave? A pure function of its header and of what is known of its connection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from appliance.kernel.tcp.segment import FIN, RST, Endpoint, Segment, distance

Connection = tuple[Endpoint, Endpoint]
"""Ours, the client's."""


class Verdict(Enum):
    PASS, HOLD, DROP = "pass", "hold", "drop"


@dataclass(frozen=True, slots=True)
class Known:
    """A registered connection."""

    committed: int
    """The sequence number up to which the client may be told that its bytes have arrived."""
    let_go: bool = False
    """It may end; nothing is held or dropped any more."""


def judge(segment: Segment, known: Known | None, frozen: bool) -> Verdict:
    """One that nobody registered is ordinary; at a frozen address it may be about to be taken over."""
    if known is None:
        return Verdict.DROP if frozen and segment.flags & RST else Verdict.PASS
    if known.let_go:
        return Verdict.PASS
    if segment.flags & (FIN | RST):
        return Verdict.DROP
    return Verdict.PASS if distance(segment.ack, known.committed) >= 0 else Verdict.HOLD


def outdated(older: Segment, newer: Segment) -> bool:
    """Whether `newer` says all that `older`, held before it, would have said."""
    return older.length == 0 and distance(older.ack, newer.ack) >= 0 and newer.window == older.window
