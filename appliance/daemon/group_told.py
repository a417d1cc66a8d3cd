"""A group as the API tells it: what an operator has to know, and what the daemon has counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from appliance.pair.model import Gate, NodeId, Role
from appliance.pair.node import Node

if TYPE_CHECKING:
    from appliance.daemon.groups import Carried
    from appliance.pair.timeline import Timeline

Json = dict[str, Any]

TIMELINES: Final = 16
"""Takeovers that are remembered."""


@dataclass(slots=True)
class Step:
    """How often it was reached, and how long after the beginnings, all together."""

    count: int = 0
    seconds: float = 0.0


class Takeovers:
    """Those of one group to this appliance: the latest with their timelines, all of them as figures."""

    def __init__(self) -> None:
        self.latest: list[Timeline] = []
        self._counts: Counter[str] = Counter()
        self._steps: dict[str, Step] = {}

    def add(self, timeline: Timeline) -> None:
        self.latest = [*self.latest[1 - TIMELINES :], timeline]
        self._counts["lossy" if timeline.lost else "whole"] += 1
        self._counts["kept"] += len(timeline.kept)
        self._counts["lost"] += len(timeline.lost)
        for name, milliseconds in timeline.steps.items():
            step = self._steps.setdefault(name, Step())
            step.count += 1
            step.seconds += milliseconds / 1000

    def counts(self) -> Json:
        figures = {name: self._counts[name] for name in ("whole", "lossy", "kept", "lost")}
        return {**figures, "steps": {name: asdict(step) for name, step in self._steps.items()}}


def told(carried: Carried, names: Mapping[NodeId, str]) -> Json:
    """`names`: of both appliances."""
    node, table, selector = carried.runner.node, carried.table, carried.selector
    owner = node.standing.owner
    return {
        "name": table.name,
        "role": node.role.value,
        "gate": node.gate.value,
        "epoch": node.standing.epoch,
        "owner": owner,
        "owner_name": names.get(owner, owner) if owner else None,
        "address": str(table.address),
        "exports": list(table.exports),
        "hub": table.hub,
        "priority": table.priority,
        "in_sync": is_in_sync(node),
        "protected": is_protected(node),
        "healthy": node.healthy,
        "unfit": [cause.value for cause in carried.watch.health.causes],
        "silent_targets": list(carried.watch.targets.silent),
        "lease": table.lease,
        "selector": {
            "spec": table.selector,
            "atomic": selector.atomic,
            "answers": not node.silent,
            "lease": selector.lease if math.isfinite(selector.lease) else None,
        },
        "takeovers": [each.to_json() for each in carried.takeovers.latest],
        "counts": carried.takeovers.counts(),
    }


def is_in_sync(node: Node) -> bool:
    return node.role is Role.STANDBY or (node.role is Role.MASTER and node.level)


def is_protected(node: Node) -> bool:
    return node.role is Role.STANDBY or (node.role is Role.MASTER and node.gate is Gate.WAIT)
