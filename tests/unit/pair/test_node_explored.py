"""What holds in every world that was explored, and that the exploration would find it if it did not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from appliance.pair.messages import Wish
from appliance.pair.node import Node
from tests.unit.pair.explore import begin, breadth, serves, settle, walk
from tests.unit.pair.explore_mutants import MUTANTS
from tests.unit.pair.explore_stage import NODES, Move, other
from tests.unit.pair.explore_world import World

STEPS = 1200


def world(stale: bool = False, make: type[Node] = Node) -> World:
    """`stale`: rather old contents than none."""
    fresh = World(make=make)
    fresh.group = replace(fresh.group, serve_stale=stale)
    return begin(fresh)


def heal(world: World) -> World:
    world.apply(("mend_all",)).apply(("selector", True))
    for name, machine in world.machines.items():
        world.apply(("resume", name) if machine.node else ("start", name))
        world.apply(("health", name, True)).apply(("order", name, Wish.RESUME))
    return world


def verdict(walked: World) -> str:
    """What is wrong after a walk: something broke, or does not come right once all is healed."""
    if walked.broken or not serves(heal(walked)):
        return walked.broken or "nobody answers"
    settle(walked)
    roles = sorted(machine.node.role.value for machine in walked.machines.values() if machine.node)
    return walked.broken or ("" if roles == ["master", "standby"] else f"they are {' and '.join(roles)}")


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_nothing_breaks_on_a_long_random_walk_and_all_is_well_once_all_is_healed(
    seed: int, stale: bool
) -> None:
    walked, moves = walk(seed, STEPS, world(stale), faults=0.02)
    assert not verdict(walked), (verdict(walked), moves[-20:])


@pytest.mark.parametrize("seed", range(10))
def test_one_node_one_link_and_the_selector_are_enough_for_a_master(seed: int) -> None:
    walked, _ = walk(seed, STEPS, world(stale=True), faults=0.02)
    left = Random(seed).choice(NODES)
    heal(walked).apply(("crash", other(left)))
    assert serves(walked) == left
    assert not walked.broken


@pytest.mark.parametrize("seed", range(10))
def test_who_has_the_contents_becomes_master_again_and_who_has_not_waits(seed: int) -> None:
    walked, _ = walk(seed, STEPS, world(), faults=0.02)
    left = Random(seed).choice(NODES)
    heal(walked).apply(("crash", other(left)))
    had = walked.machines[left].log[: len(walked.emitted)] == walked.emitted
    answered = serves(walked)
    assert not walked.broken
    assert answered in ((left, None) if had else (None,))


def first_faults(here: World) -> Iterator[Move]:
    """All that goes its way, and from the beginning: A dies or is cut off, requests and messages get lost."""
    yield from here.moves()
    for name in here.waiting:
        if here.machines[name].runs:
            yield ("timeout", name)
    if here.machines["A"].node and not here.cuts:
        yield from (("crash", "A"), ("cut", "AB"), ("cut", "AS"), ("rip", "A"))


def test_nothing_breaks_in_breadth_around_the_loss_of_a_master() -> None:
    start = settle(world())
    start.apply(("take", "A"))
    seen, broken = breadth(start, 4000, first_faults)
    assert broken is None, broken.broken
    assert seen >= 4000


def test_nothing_breaks_in_breadth_while_both_start() -> None:
    seen, broken = breadth(world(), 4000, first_faults)
    assert broken is None, broken.broken
    assert seen >= 4000


@pytest.mark.parametrize(
    ("mutant", "stale"), MUTANTS.items(), ids=lambda given: getattr(given, "__name__", "")
)
def test_a_node_that_breaks_a_rule_is_found(mutant: type[Node], stale: bool) -> None:
    starts = settle(world(stale, mutant)), world(stale, mutant)
    for seed in range(200):
        if verdict(walk(seed, STEPS // 5, starts[seed % 2].clone())[0]):
            return
    pytest.fail(f"nobody noticed: {mutant.__doc__}")
