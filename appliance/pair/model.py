"""What a pair is made of."""

from __future__ import annotations

from dataclasses import dataclass

NodeId = str
"""The name of an appliance within its pair."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a group's selector says: who owns the group, since which change, and who may take over at once."""

    owner: NodeId | None
    epoch: int
    heir: NodeId | None
