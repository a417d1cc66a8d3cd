"""The register that a selector holds for a group; sans-IO, time is given.

    claim(node, epoch, heir)   iff `epoch` is the register's, and node is owner or heir, or nobody owns it, or
                               its owner's lease has run out: owner = node, heir as given, epoch + 1
    renew(node, epoch)         iff node owns it in `epoch`: the lease runs anew, and nothing else changes
    release(node, epoch)       iff node owns it in `epoch`: no owner, no heir, epoch + 1

All else is Refused, with the standing as it is. So of two who claim from one epoch one loses, however late
their messages come, and no clock but that of the lease matters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeGuard

from appliance import errors
from appliance.pair.model import NodeId, Standing

FREE: Final = Standing(owner=None, epoch=0, heir=None)
"""What a register says before the first claim."""


class Refused(errors.Refused):
    """The selector says no; `standing` is what it holds."""

    def __init__(self, standing: Standing) -> None:
        owner = f"{standing.owner} owns the group" if standing.owner else "nobody owns the group"
        heir = f", its heir is {standing.heir}" if standing.heir else ""
        super().__init__(f"the selector refuses: {owner} in epoch {standing.epoch}{heir}")
        self.standing = standing


@dataclass(frozen=True, slots=True)
class Register:
    """A standing, and the moment (seconds of the selector's clock) when its owner's lease runs out."""

    standing: Standing = FREE
    expires: float = 0.0

    def claim(self, node: NodeId, epoch: int, heir: NodeId | None, now: float, lease: float) -> Register:
        """The register in which `node` is the owner. Raises Refused."""
        there = self.standing
        open_to_node = there.owner in (None, node) or there.heir == node or now >= self.expires
        if epoch != there.epoch or not open_to_node:
            raise Refused(there)
        return Register(Standing(node, epoch + 1, heir), now + lease)

    def renew(self, node: NodeId, epoch: int, now: float, lease: float) -> Register:
        """Even of a lease that has run out: while the epoch stands, nobody else was granted anything."""
        self._owned(node, epoch)
        return replace(self, expires=now + lease)

    def release(self, node: NodeId, epoch: int) -> Register:
        self._owned(node, epoch)
        return Register(Standing(None, epoch + 1, None))

    def restarted(self, now: float, lease: float) -> Register:
        """As a selector finds it again that was away: it cannot know how long, so the lease runs anew."""
        return replace(self, expires=now + lease)

    def _owned(self, node: NodeId, epoch: int) -> None:
        if (node, epoch) != (self.standing.owner, self.standing.epoch):
            raise Refused(self.standing)


class Op(Enum):
    LOOK = "look"
    CLAIM = "claim"
    RENEW = "renew"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Request:
    """What an appliance asks of a selector that is elsewhere."""

    op: Op
    node: NodeId = ""
    epoch: int = 0
    heir: NodeId | None = None


def apply(register: Register, request: Request, now: float, lease: float) -> Register:
    """The register after `request`. Raises Refused."""
    node, epoch = request.node, request.epoch
    match request.op:
        case Op.LOOK:
            return register
        case Op.CLAIM:
            return register.claim(node, epoch, request.heir, now, lease)
        case Op.RENEW:
            return register.renew(node, epoch, now, lease)
        case Op.RELEASE:
            return register.release(node, epoch)


LARGEST_EPOCH: Final = 2**63 - 1
LONGEST_NODE: Final = 32
"""Bytes of a node's id."""


def is_node(found: object) -> TypeGuard[NodeId]:
    """Whether selectors can keep this as the id of a node."""
    return isinstance(found, str) and found.isprintable() and 0 < len(found.encode()) <= LONGEST_NODE


def is_epoch(found: object) -> TypeGuard[int]:
    return isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= LARGEST_EPOCH
