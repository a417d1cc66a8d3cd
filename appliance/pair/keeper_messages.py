"""What the daemon and the keeper of keepalived say to each other: JSON, one a SOCK_SEQPACKET message; no I/O.

The daemon:  {"configure": {"own": "192.168.7.1", "sibling": "192.168.7.2"}, "groups": [{…}], "stall": 3.0}
             {"report": "bench", "delta": -254}    what keepalived shall add to the group's priority
             {"alive": true}                       any message says this much
The keeper:  {"transition": "bench", "state": "master", "priority": 150}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Final

from appliance.errors import UsageError
from appliance.pair.keepalived import FAULT, MOST, Instance, Link, version
from appliance.pair.vrrp_fifo import Transition
from gadgets.usb.records import Range, from_tagged, to_tagged

MAX_MESSAGE: Final = 1 << 14
LONGEST_STALL: Final = 60.0


@dataclass(frozen=True, slots=True)
class Configure:
    """The groups that there are from now on. One is in FAULT until the first report on it."""

    link: Link
    groups: tuple[Instance, ...]
    stall: float
    """Seconds without a message after which all of them are in FAULT."""

    def __post_init__(self) -> None:
        if len(self.groups) > MOST or len({one.name for one in self.groups}) < len(self.groups):
            raise UsageError(f"there are at most {MOST} groups, each with a name of its own")
        for one in self.groups:
            if version(one.address) != version(self.link.own):
                raise UsageError(f"{one.name}: {one.address} and {self.link.own} are not of one family")
        if not 0 < self.stall <= LONGEST_STALL:
            raise UsageError(f"a daemon may be silent for at most {LONGEST_STALL:g} s, not {self.stall}")


@dataclass(frozen=True, slots=True)
class Report:
    group: str
    delta: Annotated[int, Range(FAULT, -FAULT)]


@dataclass(frozen=True, slots=True)
class Alive:
    pass


Said = Configure | Report | Alive
KINDS: Final = (Configure, Report, Alive)


def encode(message: Said | Transition) -> bytes:
    return json.dumps(to_tagged(message)).encode()


def parse_said(data: bytes) -> Said:
    """What the daemon said. UsageError."""
    return from_tagged(KINDS, loaded(data))  # type: ignore[return-value]  # one of KINDS


def parse_told(data: bytes) -> Transition:
    """What the keeper said. UsageError."""
    return from_tagged((Transition,), loaded(data))


def loaded(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise UsageError("a message is one JSON object") from None
