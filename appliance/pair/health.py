"""Whether this appliance is fit to carry a group: looks in, a verdict out, with hysteresis; no I/O, no clock.

Each cause of failure is judged alone, by so many bad looks in a row and so many good ones to be forgiven; the
group is unfit while any of them holds. Times are seconds of any clock that does not go back.

That the daemon itself lives is judged by who would outlive it: the keeper (keeper.py). An operator's order
needs no judgement: it goes to the group's node.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from appliance.pair.keepalived import FAULT, FIT
from appliance.pair.settings import GroupTable

MINUTE: Final = 60.0
MOST_DEVICES: Final = 256
"""Whose errors are counted at once; of more, that which failed longest ago is forgotten."""


class Cause(StrEnum):
    """Why a group cannot be carried here."""

    HUB = "hub"  # ours by the selector, but not on our bus
    ERRORS = "errors"  # of one device within a minute
    NETWORK = "network"  # all targets are silent, and the fault is ours


@dataclass(frozen=True, slots=True)
class Rule:
    """How many looks in a row change a verdict, and how long a bad one stands at the least."""

    lost: int = 5
    back: int = 10
    hold_down: float = 10.0


@dataclass(frozen=True, slots=True)
class Verdict:
    is_good: bool = True
    against: int = 0
    """Looks in a row that speak against it."""
    since: float = -math.inf


def judged(verdict: Verdict, rule: Rule, is_good: bool, now: float) -> Verdict:
    """The verdict after one more look."""
    if is_good == verdict.is_good:
        return Verdict(verdict.is_good, 0, verdict.since)
    against = verdict.against + 1
    if against < (rule.lost if verdict.is_good else rule.back):
        return Verdict(verdict.is_good, against, verdict.since)
    if is_good and now - verdict.since < rule.hold_down:
        return Verdict(False, against, verdict.since)
    return Verdict(is_good, 0, now)


def rules(group: GroupTable) -> dict[Cause, Rule]:
    """What is counted already, or seen for certain, needs no second look to be believed."""
    return {
        Cause.HUB: Rule(1, group.back, group.hold_down),
        Cause.ERRORS: Rule(1, group.back, group.hold_down),
        Cause.NETWORK: Rule(group.lost, group.back, group.hold_down),
    }


class Health:
    """The verdicts on one group."""

    def __init__(self, rules: Mapping[Cause, Rule]) -> None:
        self._rules = rules
        self._verdicts = dict.fromkeys(rules, Verdict())

    def look(self, cause: Cause, is_good: bool, now: float) -> None:
        """Where there is nothing to judge, such as the hub of a backup, the look is good."""
        self._verdicts[cause] = judged(self._verdicts[cause], self._rules[cause], is_good, now)

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Why the group is unfit; none: it is fit."""
        return tuple(cause for cause, verdict in self._verdicts.items() if not verdict.is_good)

    @property
    def delta(self) -> int:
        """What keepalived is told."""
        return FAULT if self.causes else FIT


class Sibling(StrEnum):
    """What the other appliance says of the same targets."""

    SILENT = "silent"
    SEES = "sees"  # one of them at the least
    BLIND = "blind"  # none


def is_on_network(answers: Collection[bool], sibling: Sibling) -> bool:
    """One silent target is that target's fault, all of them silent are ours.

    Unless the other appliance hears none of them either: then it would do no better.
    """
    return not answers or any(answers) or sibling is Sibling.BLIND


class Targets:
    """What each of them did of late; for who wants to know which one is silent."""

    def __init__(self, names: Collection[str], rule: Rule) -> None:
        self._rule = rule
        self._verdicts = dict.fromkeys(names, Verdict())

    def heard(self, answers: Mapping[str, bool], now: float) -> None:
        for name, answered in answers.items():
            self._verdicts[name] = judged(self._verdicts[name], self._rule, answered, now)

    @property
    def silent(self) -> tuple[str, ...]:
        return tuple(name for name, verdict in self._verdicts.items() if not verdict.is_good)


class ErrorRate:
    """Failed URBs of each device within the last minute, to the second."""

    def __init__(self) -> None:
        self._counts: dict[str, deque[tuple[int, int]]] = {}

    def count(self, device: str, failed: int, now: float) -> None:
        counts = self._counts.pop(device, deque())
        second = math.floor(now)
        if counts and counts[-1][0] == second:
            failed += counts.pop()[1]
        counts.append((second, failed))
        while counts[0][0] <= second - MINUTE:
            counts.popleft()
        self._counts[device] = counts
        if len(self._counts) > MOST_DEVICES:
            del self._counts[next(iter(self._counts))]

    def worst(self, now: float) -> int:
        """Of the device that has most."""
        oldest = math.floor(now) - MINUTE
        return max(
            (sum(n for second, n in counts if second > oldest) for counts in self._counts.values()), default=0
        )
