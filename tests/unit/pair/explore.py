"""How the world of two nodes is explored: in breadth, at random by a seed, and to where it comes to rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from random import Random
from typing import Any, Final

from appliance.pair.messages import Wish
from appliance.pair.node import Node
from tests.unit.pair.explore_stage import NODES, SELECTOR_LEASE, TIMERS, Machine, Move
from tests.unit.pair.explore_world import World

WAYS: Final = ("AB", "BA", "AS", "SA", "BS", "SB", "CA", "AC", "CB", "BC")
REST: Final = 3 * (TIMERS.patience + SELECTOR_LEASE)
"""Time in which whatever can come to rest has done so."""
TIMES: Final = (
    "now", "ask_time", "claim_time", "again", "look_at", "until", "link_time", "steady", "feed_at", "lent",
    "proof", "yielded", "beat_at", "parted",
)  # fmt: skip


def begin(world: World | None = None, nodes: Iterable[str] = NODES) -> World:
    world = world or World()
    for name in nodes:
        world.apply(("start", name))
    return world


def settle(world: World, time: int = REST) -> World:
    """Everything that is on its way arrives, in order and without faults, for so long."""
    end = world.now + time
    while world.now < end and not world.broken:
        for _ in range(400):
            move = next((move for move in world.moves() if move[0] not in ("time", "take", "emit")), None)
            if move is None:
                break
            world.apply(move)
        lost = [
            name for name, number in world.waiting.items()
            if world.machines[name].runs
            and (not world.selector_up or all(asked.number != number for asked in world.asks))
        ]  # fmt: skip
        for name in lost:
            world.apply(("timeout", name))
        world.apply(("time",))
    return world


def serves(world: World, time: int = REST) -> str | None:
    """Who answers the client's next request within this time, if anybody does."""
    for _ in range(time):
        settle(world, 1)
        for kind in ("take", "emit"):
            for move in [move for move in world.moves() if move[0] == kind]:
                before = world.received
                world.apply(move)
                if world.received > before or world.broken:
                    return str(move[1])
    return None


# At random


def fault(world: World, random: Random) -> Move:
    """Something that goes wrong, or comes right again."""
    name = random.choice(NODES)
    machine = world.machines[name]
    if machine.node is None:
        return ("start", name)
    if machine.paused:
        return ("resume", name)
    return random.choice((
        ("cut", random.choice(WAYS)), ("cut", random.choice(WAYS)), ("mend", random.choice(WAYS)),
        ("mend_all",), ("crash", name), ("pause", name), ("health", name, random.random() < 0.7),
        ("flap", name), ("order", name, random.choice(ORDERS)), ("selector", random.random() < 0.7),
        ("rip", name), ("time", random.randrange(2, 15)),
    ))  # fmt: skip


ORDERS: Final = (Wish.SWITCHOVER, Wish.SWITCHOVER, Wish.FAIL_BACK, Wish.MAINTENANCE, Wish.RESUME, Wish.RESUME)


def walk(seed: int, steps: int, world: World, *, faults: float = 0.03) -> tuple[World, list[Move]]:
    """So many moves on from `world`, or as many as it takes to break something."""
    random = Random(seed)
    moves: list[Move] = []
    while len(moves) < steps and not world.broken:
        chance = random.random()
        if chance < faults:
            move = fault(world, random)
        elif chance < 3 * faults:
            move = random.choice([*world.late_moves(), ("time",)])
        else:
            usual = list(world.moves())
            move = random.choice(usual[1:] or usual) if random.random() < 0.85 else ("time",)
        moves.append(move)
        world.apply(move)
    return world, moves


# In breadth


def key(world: World) -> tuple[Any, ...]:
    """Two worlds with the same key go on alike: moments count from now."""
    return (
        tuple(tuple(_machine(world, machine)) for machine in world.machines.values()),
        world.register.standing, world.register.expires - world.now, world.cuts, world.selector_up,
        world.mail, frozenset(world.waiting), world.received, world.emitted,
        tuple(replace(asked, number=asked.number == world.waiting.get(asked.node)) for asked in world.asks),
    )  # fmt: skip


def _machine(world: World, machine: Machine) -> Iterator[Any]:
    for name in machine.__slots__:
        value = getattr(machine, name)
        if isinstance(value, Node):
            for field, held in vars(value).items():
                if field not in ("group", "out"):
                    yield max(-1, held - world.now) if field in TIMES else held
        else:
            yield max(-1, value - world.now) if name == "until" else value


def breadth(world: World, limit: int, moves: Callable[[World], Iterable[Move]]) -> tuple[int, World | None]:
    """How many different worlds were seen, at most `limit`, and the first that is broken."""
    seen = {key(world)}
    todo = deque([world])
    while todo and len(seen) < limit:
        here = todo.popleft()
        for move in moves(here):
            there = here.clone().apply(move)
            if there.broken:
                return len(seen), there
            if (found := key(there)) not in seen:
                seen.add(found)
                todo.append(there)
    return len(seen), None
