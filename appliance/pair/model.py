"""The pair's words: a group, what its register says, what a node is in it. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

NodeId: TypeAlias = str
"""What an appliance is called in the pair: its name there, the same for good."""

MS: Final = 1_000_000
"""Time in the pair is int nanoseconds of CLOCK_BOOTTIME."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a group's selector says: who owns the group, since which change, and who may take over at once."""

    owner: NodeId | None = None
    epoch: int = 0
    heir: NodeId | None = None

    def has_contents(self, node: NodeId) -> bool:
        """Nothing that a client was told is missing at `node`: owners release only to a sibling in sync."""
        return self.owner is self.heir is None or node in (self.owner, self.heir)


class Role(Enum):
    """What a node is in its group; `docs/pairing.md` has the state diagram."""

    OUT = "out"  # takes no part: maintenance, or leaving
    BACKUP = "backup"  # has nothing of the master's
    JOINING = "joining"  # is being brought in sync
    STANDBY = "standby"  # in sync: may take over
    PROMOTING = "promoting"  # owner; its exports are on their way
    MASTER = "master"
    YIELDING = "yielding"  # master, frozen, handing over to the sibling


class Gate(Enum):
    """What the exports' outputs do."""

    STOP = "stop"
    WAIT = "wait"  # each for the sibling's acknowledgement of the log before it: protected
    FLOW = "flow"  # under a lease: sole


@dataclass(frozen=True, slots=True)
class Timers:
    """All in nanoseconds. `lease` is the node's; a selector's must be longer."""

    lease: int = 2_000 * MS  # a sole master's outputs stop so long after its last proof was asked for
    renew: int = 500 * MS
    retry: int = 50 * MS  # until a silent or refusing selector is asked again
    look: int = 1_000 * MS  # how often a node without business looks
    beat: int = 200 * MS  # how often a status is repeated
    doubt: int = 150 * MS  # so long a master that lost its standby lets that one claim first
    patience: int = 3_000 * MS  # how long one waits for the sibling that comes first
    hold: int = 30_000 * MS  # of unbroken protection before a fail-back
    settle: int = 20 * MS  # until a selector that is not atomic is read back


@dataclass(frozen=True, slots=True)
class Group:
    """Exports that move together, with the address at which clients find them."""

    name: str
    exports: tuple[str, ...] = ()
    address: str = ""  # with its prefix length: 192.0.2.10/24
    interface: str = ""
    priorities: Mapping[NodeId, int] = field(default_factory=dict)
    preempt: bool = False  # the one with the higher priority becomes master again after `timers.hold`
    serve_stale: bool = False  # rather old contents than none, when the one that has the new ones is gone
    selector: str = ""  # for `open_selector`
    timers: Timers = Timers()

    def priority(self, node: NodeId) -> int:
        return self.priorities.get(node, 100)
