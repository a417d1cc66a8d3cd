"""What a group's node does, case by case."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.pair import messages as m
from appliance.pair.model import Gate, Group, Role, Standing
from appliance.pair.node import Node
from appliance.pair.selector.register import Register
from tests.unit.pair.explore import begin, serves, settle
from tests.unit.pair.explore_stage import TIMERS
from tests.unit.pair.explore_world import World


def world(**group: Any) -> World:
    fresh = World()
    fresh.group = replace(fresh.group, **group)
    return fresh


def in_sync(**group: Any) -> World:
    return settle(begin(world(**group)), 30)


def role(world: World, name: str) -> Role:
    node = world.machines[name].node
    assert node
    return node.role


def roles(world: World) -> tuple[Role, Role]:
    return role(world, "A"), role(world, "B")


def alone(atomic: bool = True) -> Node:
    """A node that runs on its own, at the moment 0, with a silent sibling."""
    return Node("A", "B", Group("g", timers=TIMERS), 1, 0, atomic=atomic)


def asks(outputs: list[m.Output]) -> list[m.Output]:
    return [output for output in outputs if isinstance(output, m.Claim | m.Renew | m.Release | m.Look)]


def test_of_two_that_start_at_once_the_one_with_the_higher_priority_becomes_master() -> None:
    both = in_sync()
    assert roles(both) == (Role.MASTER, Role.STANDBY)
    assert both.register.standing.heir == "B"


def test_one_that_starts_alone_waits_for_the_link_and_then_becomes_master() -> None:
    one = settle(begin(world(), nodes="B"), TIMERS.patience - 2)
    assert role(one, "B") is Role.BACKUP
    assert serves(one) == "B"


def test_a_node_looks_before_it_does_anything_else() -> None:
    node = alone()
    assert asks(node.on(m.Tick(0))) == [m.Look()]
    assert asks(node.on(m.Tick(5))) == []
    assert asks(node.on(m.Looked(Standing()))) == []
    assert asks(node.on(m.Tick(TIMERS.patience))) == [m.Claim(0, None)]


def test_outputs_flow_no_longer_than_the_lease_that_counts_from_the_asking() -> None:
    node = alone()
    for told in (m.Tick(0), m.Looked(Standing()), m.Tick(12), m.Tick(14), m.Granted(Standing("A", 1, None))):
        outputs = node.on(told)
    assert m.Promote(1) in outputs
    assert m.Sole(12 + TIMERS.lease) in node.on(m.Promoted())
    assert m.Stop() in node.on(m.Tick(12 + TIMERS.lease))
    assert node.gate is Gate.STOP


def test_a_selector_that_is_not_atomic_is_read_back_before_anybody_leads() -> None:
    for found, expected in ((Standing("A", 1, None), [m.Promote(1)]), (Standing("B", 2, None), [])):
        node = alone(atomic=False)
        for told in (m.Tick(0), m.Looked(Standing()), m.Tick(12)):
            node.on(told)
        assert asks(node.on(m.Granted(Standing("A", 1, None)))) == []
        assert asks(node.on(m.Tick(12 + TIMERS.settle))) == [m.Look()]
        assert [output for output in node.on(m.Looked(found)) if isinstance(output, m.Promote)] == expected


def test_an_heir_is_offered_only_when_outputs_do_wait() -> None:
    node = alone()
    for told in (
        m.Tick(0),
        m.Looked(Standing()),
        m.Tick(12),
        m.Granted(Standing("A", 1, None)),
        m.Promoted(),
    ):
        node.on(told)
    backup = m.Status("g", "B", 1, 1, Role.BACKUP, Gate.STOP, Standing("A", 1, None))
    node.on(m.PeerBack())
    feeds = [output for output in node.on(m.Heard(backup)) if isinstance(output, m.Feed)]
    assert feeds
    caught_up = node.on(m.CaughtUp(feeds[0].feed))
    assert m.Protect() in caught_up
    assert asks(caught_up) == []
    assert asks(node.on(m.Protected())) == [m.Claim(1, "B")]


def test_an_older_status_is_ignored() -> None:
    node = alone()
    node.on(m.PeerBack())
    new = m.Status("g", "B", 2, 1, Role.MASTER, Gate.FLOW, Standing("B", 5, None))
    node.on(m.Heard(new))
    node.on(m.Heard(replace(new, boot=1, count=9, standing=Standing("A", 6, None))))
    assert node.standing == Standing("B", 5, None)


def test_a_switchover_moves_the_group_and_leaves_both_in_sync() -> None:
    for ordered in "AB":
        pair = settle(in_sync().apply(("order", ordered, m.Wish.SWITCHOVER)), 30)
        assert roles(pair) == (Role.STANDBY, Role.MASTER)


def test_a_handover_that_nobody_takes_is_taken_back() -> None:
    pair = in_sync()
    pair.apply(("cut", "BS")).apply(("order", "A", m.Wish.SWITCHOVER))
    settle(pair, 3)
    assert role(pair, "A") is Role.YIELDING
    assert serves(pair) == "A"


def test_a_master_in_maintenance_hands_over_and_comes_back_as_standby() -> None:
    pair = settle(in_sync().apply(("order", "A", m.Wish.MAINTENANCE)), 60)
    assert roles(pair) == (Role.OUT, Role.MASTER)
    settle(pair.apply(("order", "A", m.Wish.RESUME)), 30)
    assert roles(pair) == (Role.STANDBY, Role.MASTER)


@pytest.mark.parametrize("preempt", [False, True])
def test_the_preferred_one_takes_the_group_back_only_if_told_so_and_after_the_hold(preempt: bool) -> None:
    pair = in_sync(preempt=preempt)
    settle(pair.apply(("crash", "A")), 10)
    settle(pair.apply(("start", "A")), 15)
    assert roles(pair) == (Role.STANDBY, Role.MASTER)
    settle(pair, TIMERS.hold + 30)
    assert roles(pair) == ((Role.MASTER, Role.STANDBY) if preempt else (Role.STANDBY, Role.MASTER))


def test_a_flapping_link_does_not_make_roles_flap() -> None:
    pair = settle(in_sync(preempt=True).apply(("crash", "A")), 10)
    settle(pair.apply(("start", "A")), 15)
    for _ in range(6):
        settle(pair.apply(("rip", "B")), TIMERS.hold - 5)
        assert role(pair, "B") is Role.MASTER


def test_in_sync_with_a_silent_selector_the_master_goes_on() -> None:
    pair = in_sync().apply(("selector", False))
    settle(pair, 40)
    assert serves(pair) == "A"


def test_alone_with_a_silent_selector_the_master_stops_and_goes_on_when_it_answers() -> None:
    pair = settle(in_sync().apply(("crash", "B")), 10)
    pair.apply(("selector", False))
    settle(pair, TIMERS.lease + 1)
    assert serves(pair, 10) is None
    assert serves(pair.apply(("selector", True))) == "A"


def test_a_master_that_froze_is_refused_and_becomes_the_standby() -> None:
    pair = settle(in_sync().apply(("pause", "A")), 20)
    assert role(pair, "B") is Role.MASTER
    settle(pair.apply(("resume", "A")), 20)
    assert roles(pair) == (Role.STANDBY, Role.MASTER)


@pytest.mark.parametrize("serve_stale", [False, True])
def test_old_contents_are_served_only_if_told_so(serve_stale: bool) -> None:
    pair = settle(in_sync(serve_stale=serve_stale).apply(("crash", "B")), 10)
    assert serves(pair) == "A"
    pair.apply(("crash", "A")).apply(("start", "B"))
    assert serves(pair) == ("B" if serve_stale else None)
    assert serves(pair.apply(("start", "A"))) == ("B" if serve_stale else "A")


def forget(pair: World) -> World:
    pair.register = Register()
    return pair


def test_when_the_selector_forgets_a_pair_in_sync_goes_on_and_brings_it_past_all_epochs() -> None:
    pair = in_sync()
    before = pair.register.standing.epoch
    assert serves(forget(pair)) == "A"
    settle(pair, 30)
    assert pair.register.standing == Standing("A", before + 1, "B")


def test_when_the_selector_forgets_a_node_alone_stops_until_it_is_ordered() -> None:
    pair = settle(in_sync().apply(("crash", "B")), 10)
    settle(forget(pair), TIMERS.lease + 1)
    assert serves(pair, 20) is None
    assert serves(pair.apply(("order", "A", m.Wish.TAKE))) == "A"
    assert not pair.broken


STATUSES = st.builds(
    m.Status,
    group=st.text(max_size=8),
    node=st.text(max_size=8),
    boot=st.integers(0, 2**63 - 1),
    count=st.integers(0, 2**63 - 1),
    role=st.sampled_from(Role),
    gate=st.sampled_from(Gate),
    standing=st.builds(Standing, st.none() | st.text(max_size=3), st.integers(0, 2**40), st.none()),
    healthy=st.booleans(),
)


@given(STATUSES)
def test_a_status_comes_back_from_the_wire(status: m.Status) -> None:
    assert m.Status.from_wire(json.loads(json.dumps(status.to_wire()))) == status


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.text(max_size=9), JSON)
def test_what_is_no_status_is_refused(key: str, found: object) -> None:
    wire = m.Status("g", "B", 1, 1, Role.BACKUP, Gate.STOP, Standing()).to_wire()
    with pytest.raises(ProtocolError):
        m.Status.from_wire(found if not isinstance(found, dict) else {**wire, f"{key}?": found})


@pytest.mark.parametrize("wrong", [{"epoch": -1}, {"epoch": 2**63}, {"epoch": "one"}, {"owner": 7}])
def test_a_standing_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    wire = m.Status("g", "B", 1, 1, Role.BACKUP, Gate.STOP, Standing()).to_wire()
    with pytest.raises(ProtocolError):
        m.Status.from_wire({**wire, "standing": {**wire["standing"], **wrong}})


def test_a_feed_that_has_not_begun_when_the_link_is_lost_is_given_anew() -> None:
    """Else a backup whose answer to it was lost would wait for another for ever."""
    node = alone()
    for answer in (m.Tick(0), m.Looked(Standing()), m.Tick(TIMERS.patience), m.Granted(Standing("A", 1))):
        node.on(answer)
    node.on(m.Promoted())
    backup = m.Status("g", "B", 1, 1, Role.BACKUP, Gate.STOP, Standing("A", 1), 0, 100, True, False, False, 0)
    node.on(m.PeerBack())
    [first] = [each for each in node.on(m.Heard(backup)) if isinstance(each, m.Feed)]
    node.on(m.PeerLost())
    node.on(m.PeerBack())
    later = node.on(m.Tick(TIMERS.patience + TIMERS.retry))
    assert [each.feed > first.feed for each in later if isinstance(each, m.Feed)] == [True]
