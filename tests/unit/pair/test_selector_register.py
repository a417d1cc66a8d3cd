"""The register of a group: one owner an epoch, and none by an epoch that is past."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from appliance.pair.model import Standing
from appliance.pair.selector.register import FREE, Refused, Register

LEASE = 2.0
HELD = Register(Standing("a", 7, "b"), expires=100.0)
SOLE = Register(Standing("a", 7, None), expires=100.0)


def test_a_free_register_is_granted_to_who_knows_its_epoch() -> None:
    assert Register().claim("a", 0, "b", 0.0, LEASE) == Register(Standing("a", 1, "b"), LEASE)


def test_the_heir_takes_over_at_once() -> None:
    assert HELD.claim("b", 7, None, 0.0, LEASE).standing == Standing("b", 8, None)


def test_the_owner_changes_its_heir_by_a_claim() -> None:
    assert HELD.claim("a", 7, None, 0.0, LEASE).standing == Standing("a", 8, None)


def test_who_was_superseded_cannot_claim_back() -> None:
    taken = HELD.claim("b", 7, "a", 0.0, LEASE)
    with pytest.raises(Refused) as refused:
        taken.claim("a", 7, None, 0.0, LEASE)
    assert refused.value.standing == Standing("b", 8, "a")


@pytest.mark.parametrize(("now", "granted"), [(99.9, False), (100.0, True)])
def test_who_is_not_the_heir_waits_for_the_end_of_the_lease(now: float, granted: bool) -> None:
    if granted:
        assert SOLE.claim("c", 7, None, now, LEASE).standing == Standing("c", 8, None)
    else:
        with pytest.raises(Refused):
            SOLE.claim("c", 7, None, now, LEASE)


def test_renewing_moves_the_lease_and_not_the_epoch() -> None:
    assert SOLE.renew("a", 7, 100.5, LEASE) == Register(Standing("a", 7, None), 102.5)


def test_release_leaves_nobody_and_a_new_epoch() -> None:
    assert HELD.release("a", 7).standing == Standing(None, 8, None)


@pytest.mark.parametrize(("node", "epoch"), [("b", 7), ("a", 6), ("a", 8)])
def test_only_the_owner_of_the_epoch_renews_and_releases(node: str, epoch: int) -> None:
    with pytest.raises(Refused):
        HELD.renew(node, epoch, 0.0, LEASE)
    with pytest.raises(Refused):
        HELD.release(node, epoch)


def test_a_restart_of_the_selector_never_shortens_a_lease() -> None:
    with pytest.raises(Refused):
        SOLE.restarted(500.0, LEASE).claim("c", 7, None, 501.9, LEASE)


def test_a_refusal_says_who_owns_the_group() -> None:
    assert str(Refused(HELD.standing)) == "the selector refuses: a owns the group in epoch 7, its heir is b"
    assert str(Refused(FREE)) == "the selector refuses: nobody owns the group in epoch 0"


nodes = st.sampled_from("abc")
heirs = st.none() | nodes


class Histories(RuleBasedStateMachine):
    """Any messages of three nodes, of any age, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.register = Register()
        self.owners: dict[int, str | None] = {0: None}
        self.renewed = 0.0

    def become(self, register: Register, owner: str | None) -> None:
        assert register.standing.epoch == self.register.standing.epoch + 1, "every change counts"
        assert register.standing.owner == owner
        assert register.standing.epoch not in self.owners, "an epoch has one owner"
        self.owners[register.standing.epoch] = owner
        self.register, self.renewed = register, self.now

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(node=nodes, age=st.integers(-1, 3), heir=heirs)
    def somebody_claims(self, node: str, age: int, heir: str | None) -> None:
        there = self.register.standing
        try:
            granted = self.register.claim(node, there.epoch - age, heir, self.now, LEASE)
        except Refused:
            assert age or (there.owner not in (None, node) and there.heir != node)
        else:
            assert age == 0, "no claim from another epoch succeeds"
            if there.owner not in (None, node) and there.heir != node:
                assert self.now >= self.renewed + LEASE, "nobody but the heir takes it within the lease"
            self.become(granted, node)

    @rule(node=nodes, age=st.integers(-1, 2))
    def somebody_renews(self, node: str, age: int) -> None:
        there = self.register.standing
        mine = there.owner == node and age == 0
        try:
            renewed = self.register.renew(node, there.epoch - age, self.now, LEASE)
        except Refused:
            assert not mine
        else:
            assert mine
            assert renewed.standing == there
            self.register, self.renewed = renewed, self.now

    @rule(node=nodes, age=st.integers(-1, 2))
    def somebody_releases(self, node: str, age: int) -> None:
        there = self.register.standing
        try:
            released = self.register.release(node, there.epoch - age)
        except Refused:
            assert age or there.owner != node
        else:
            assert (there.owner, age) == (node, 0)
            self.become(released, None)

    @rule()
    def the_selector_restarts(self) -> None:
        before = self.register
        self.register = before.restarted(self.now, LEASE)
        self.renewed = self.now
        assert self.register.standing == before.standing

    @invariant()
    def the_epoch_is_the_number_of_changes(self) -> None:
        assert self.register.standing.epoch == len(self.owners) - 1


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=50)
