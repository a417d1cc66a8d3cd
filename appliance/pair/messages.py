"""What a group's node is told, what it wants done, and the one message between the two nodes. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, TypeAlias

from appliance.errors import ProtocolError, UsageError
from appliance.pair.model import Gate, NodeId, Role, Standing
from gadgets.usb.records import Range, from_plain, to_plain

Count: TypeAlias = Annotated[int, Range(0, 2**63 - 1)]


@dataclass(frozen=True, slots=True)
class Status:
    """All that a node says to its sibling: what it is. A newer one replaces an older one, so that none need
    arrive and each may arrive twice, or late."""

    group: str
    node: NodeId
    boot: Count  # rises with every start of the node
    count: Count  # and this with every status of one boot
    role: Role
    gate: Gate
    standing: Standing  # the newest that the node knows of
    feed: Count = 0  # a master's: the number of the feed that is under way, 0: none
    priority: Count = 100
    healthy: bool = True
    wish: bool = False  # a standby's: it was ordered to become master
    forgotten: bool = False  # the selector's register is older than `standing`
    loose: Count = 0  # the epoch that a claim of unknown fate may yet bring

    @property
    def age(self) -> tuple[int, int]:
        return self.boot, self.count

    @property
    def leads(self) -> bool:
        return self.role in (Role.PROMOTING, Role.MASTER, Role.YIELDING)

    def to_wire(self) -> dict[str, Any]:
        return to_plain(self)

    @staticmethod
    def from_wire(found: object) -> Status:
        """The inverse of `to_wire`. Raises ProtocolError."""
        try:
            status = from_plain(Status, found)
            standing = status.standing
        except UsageError as error:
            raise ProtocolError(f"the sibling's status is wrong: {error}") from None
        if not 0 <= standing.epoch < 2**63:
            raise ProtocolError("the sibling's status is wrong: its epoch is out of range")
        return status


class Wish(Enum):
    """What an operator may order."""

    SWITCHOVER = "switchover"  # the standby shall become master; on either node
    FAIL_BACK = "fail_back"  # the same, if the standby has the higher priority
    MAINTENANCE = "maintenance"  # hand over if there is a standby, and take no part
    RESUME = "resume"  # the end of it
    TAKE = "take"  # become master with what there is; the operator vouches that the sibling is gone


# What a node is told. Time first: Tick(now), then the rest. Each Claim, Renew, Release and Look is answered
# once, by Granted, Renewed, Refused, Looked or SelectorSilent; none is asked before the last is answered.


@dataclass(frozen=True, slots=True)
class Tick:
    now: int


@dataclass(frozen=True, slots=True)
class Heard:
    status: Status


@dataclass(frozen=True, slots=True)
class PeerLost:
    """The control link hung up, or too many of its probes are lost."""


@dataclass(frozen=True, slots=True)
class PeerBack:
    """It has answered enough probes in a row."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Of the feed with this number: every export's sibling has all of the log, and acknowledges it."""

    feed: int


@dataclass(frozen=True, slots=True)
class Protected:
    """All exports' outputs do wait."""


@dataclass(frozen=True, slots=True)
class StreamsLost:
    """One export's stream of this feed broke, or never came about; the shell has ended the others."""

    feed: int


@dataclass(frozen=True, slots=True)
class Granted:
    standing: Standing


@dataclass(frozen=True, slots=True)
class Renewed:
    pass


@dataclass(frozen=True, slots=True)
class Refused:
    standing: Standing


@dataclass(frozen=True, slots=True)
class Looked:
    standing: Standing


@dataclass(frozen=True, slots=True)
class SelectorSilent:
    """What was asked may have been done, or be done yet."""


@dataclass(frozen=True, slots=True)
class Vrrp:
    """keepalived's state: "MASTER", "BACKUP", "FAULT"."""

    state: str


@dataclass(frozen=True, slots=True)
class Health:
    ok: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    wish: Wish


@dataclass(frozen=True, slots=True)
class Quiesced:
    """Nothing is in flight, and the standby has acknowledged all of the log."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """The exports have executed the log and are ready to answer."""


Input: TypeAlias = (
    Tick | Heard | PeerLost | PeerBack | CaughtUp | Protected | StreamsLost | Granted | Renewed | Refused
    | Looked | SelectorSilent | Vrrp | Health | Order | Quiesced | Promoted
)  # fmt: skip


# What a node wants done, in this order.


@dataclass(frozen=True, slots=True)
class Claim:
    epoch: int
    heir: NodeId | None


@dataclass(frozen=True, slots=True)
class Renew:
    epoch: int


@dataclass(frozen=True, slots=True)
class Release:
    epoch: int


@dataclass(frozen=True, slots=True)
class Look:
    pass


@dataclass(frozen=True, slots=True)
class Protect:
    """Outputs shall wait for the sibling's acknowledgements; then say Protected."""


@dataclass(frozen=True, slots=True)
class Sole:
    """Outputs flow until this CLOCK_BOOTTIME; whoever sends them stops by it on its own."""

    until: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing goes out."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Bring the sibling in sync, on new streams; it follows a little later, once it has heard of them."""

    epoch: int
    feed: int


@dataclass(frozen=True, slots=True)
class Follow:
    """Accept the streams of the sibling's feed, and no older ones."""

    epoch: int
    feed: int


@dataclass(frozen=True, slots=True)
class Promote:
    """Acknowledge nothing more, execute the rest of the log, take the sessions over; then say Promoted."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Demote:
    """Stop answering; let go of exports, streams and, without a sign to the clients, of sessions."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """Take nothing more from the clients, let finish what is in flight; then say Quiesced."""


@dataclass(frozen=True, slots=True)
class Thaw:
    pass


@dataclass(frozen=True, slots=True)
class Fault:
    """Whether keepalived must not have the address here."""

    fault: bool


@dataclass(frozen=True, slots=True)
class Send:
    status: Status


@dataclass(frozen=True, slots=True)
class Tell:
    """An event for people: what, and in which epoch."""

    event: str
    epoch: int
    detail: str = ""


Ask: TypeAlias = Claim | Renew | Release | Look
Output: TypeAlias = (
    Ask | Protect | Sole | Stop | Feed | Follow | Promote | Demote | Freeze | Thaw | Fault | Send | Tell
)
