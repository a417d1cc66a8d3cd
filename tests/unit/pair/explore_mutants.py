"""Nodes that break one rule each: what the exploration must find."""

from __future__ import annotations

from typing import Final

from appliance.pair import messages as m
from appliance.pair.model import Gate, Standing
from appliance.pair.node import Node


class ProtectsAfterTheOffer(Node):
    """Offers an heir while outputs still flow (rule 3)."""

    def _keep(self) -> None:
        if self.level and not self.guarded and self.standing.heir is None:
            self._claim(self.sibling)
        else:
            super()._keep()


class FlowsBeforeTheGrant(Node):
    """Goes on alone as soon as the streams break, and claims then (rules 1 and 2)."""

    def _move_gate(self) -> None:
        if self.gate is Gate.WAIT and not self.level:
            self.out.append(m.Sole(self.now + self.group.timers.lease))
            self._set_gate(Gate.FLOW)
        super()._move_gate()


class ForgetsItsOffers(Node):
    """Flows again in the epoch of an offer that was not answered (rule 2)."""

    def is_sole(self) -> bool:
        return self.standing.owner == self.me and self.standing.heir is None and not self.low


class OutlivesItsLease(Node):
    """Goes on for twice as long as it was lent (rule 2)."""

    def hear(self, given: m.Input) -> None:
        before = self.until
        super().hear(given)
        if self.until != before:
            self.until += self.group.timers.lease


class ClaimsWithTheNewestEpoch(Node):
    """Takes over by what it once followed, though the master went on without it (rule 4)."""

    def _adopt(self, standing: Standing) -> None:
        complete = self.complete
        super()._adopt(standing)
        if complete >= 0:
            self.complete = standing.epoch


class TakesARefusalForAGrant(Node):
    """As one that does not look at the epoch would (rule 1)."""

    def hear(self, given: m.Input) -> None:
        if isinstance(given, m.Refused) and isinstance(self.ask, m.Claim):
            given = m.Granted(Standing(self.me, given.standing.epoch + 1, None))
        super().hear(given)


class StaysMaster(Node):
    """Does not stop answering when it learns of another owner (rule 6)."""

    def _demote(self) -> None:
        pass


MUTANTS: Final[dict[type[Node], bool]] = {
    ProtectsAfterTheOffer: False,
    FlowsBeforeTheGrant: False,
    ForgetsItsOffers: False,
    OutlivesItsLease: True,
    ClaimsWithTheNewestEpoch: False,
    TakesARefusalForAGrant: False,
    StaysMaster: False,
}
"""And whether it takes a group that serves old contents to find it."""
