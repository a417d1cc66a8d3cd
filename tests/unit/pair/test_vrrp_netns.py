"""The real keepalived, kept by us, in network namespaces: who has the address, and who is told."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from appliance.pair.keepalived import FAULT, FIT, Instance, Link, Places
from appliance.pair.keeper_messages import MAX_MESSAGE, Alive, Configure, Report, encode, parse_told
from appliance.pair.vrrp import Spawned, Vrrp
from appliance.pair.vrrp_fifo import State, Transition
from tests.namespaces.world import Node, World, why_not

VIRTUAL = "10.78.0.100/24"
OTHER = "10.78.0.101/24"
BENCH = Instance("bench", 9, "eth0", VIRTUAL, 100, 0.1)
KEYS = Instance("keys", 10, "eth0", OTHER, 100, 0.1)

pytestmark = pytest.mark.skipif(
    not shutil.which("keepalived"), reason="keepalived is not installed (tests/lab/setup.py does it)"
)


class Appliance:
    """A namespace with a keeper in it, and this process in the part of its daemon."""

    def __init__(self, node: Node, sibling: Node, directory: Path, priorities: tuple[int, int]) -> None:
        self.node, self.directory = node, directory
        groups = tuple(
            replace(group, priority=priority)
            for group, priority in zip((BENCH, KEYS), priorities, strict=True)
        )
        self.configured = Configure(Link(node.address, sibling.address), groups, stall=30)
        self.states: dict[str, State] = {}
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        with self.node.inside():
            self.keeper = Spawned(self.directory)
        self.vrrp = Vrrp(self.configured, self._told, self.keeper)
        self._running = asyncio.create_task(self.vrrp.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.wait([self._running, *self._tasks])
        self.node.kill()
        self.keeper.close()

    def _told(self, transition: Transition) -> None:
        self.states[transition.group] = transition.state
        self._tasks.add(asyncio.create_task(self._notify()))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, **states: State) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: states.items() <= self.states.items())

    def report(self, delta: int) -> None:
        for group in self.configured.groups:
            self.vrrp.report(group.name, delta)

    def has(self, address: str) -> bool:
        return f"inet {address} " in self.node.run("ip -4 address show dev eth0")

    def kill_keepalived(self) -> None:
        """SIGKILL to both of its processes, so that neither sees the other die."""
        places = Places(self.directory)
        pids = [int(places.pid(which).read_text()) for which in ("keepalived", "vrrp")]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


Pair = tuple[Appliance, Appliance]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """`a` is master of "bench", `b` of "keys": each has the higher priority there."""
    if reason := why_not():
        pytest.skip(reason)
    with World("a", "b") as world:
        async with AsyncExitStack() as stack:
            a, b = [
                await stack.enter_async_context(
                    Appliance(world[name], world[other], tmp_path / name, priorities)
                )
                for name, other, priorities in (("a", "b", (150, 50)), ("b", "a", (50, 150)))
            ]
            for one in (a, b):
                await one.until(bench=State.FAULT, keys=State.FAULT)
            for one in (a, b):
                one.report(FIT)
            await a.until(bench=State.MASTER, keys=State.BACKUP)
            await b.until(bench=State.BACKUP, keys=State.MASTER)
            yield a, b


async def true(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the kernel tells nobody
        await asyncio.sleep(0.01)


async def test_two_groups_with_opposite_priorities_have_a_master_each(pair: Pair) -> None:
    a, b = pair
    await true(lambda: a.has(VIRTUAL) and b.has(OTHER))
    assert not a.has(OTHER)
    assert not b.has(VIRTUAL)


async def test_when_everything_on_the_master_is_killed_the_backup_becomes_master(pair: Pair) -> None:
    a, b = pair
    a.node.kill()
    await b.until(bench=State.MASTER, keys=State.MASTER)
    await true(lambda: b.has(VIRTUAL))


async def test_a_group_that_is_unfit_here_moves_and_does_not_come_back_by_itself(pair: Pair) -> None:
    a, b = pair
    a.vrrp.report("bench", FAULT)
    await a.until(bench=State.FAULT)
    await b.until(bench=State.MASTER, keys=State.MASTER)
    await true(lambda: b.has(VIRTUAL) and not a.has(VIRTUAL))
    a.vrrp.report("bench", FIT)
    await a.until(bench=State.BACKUP)
    a.vrrp.report("keys", FAULT)  # and is told of later
    await a.until(keys=State.FAULT)
    assert (a.states["bench"], b.states["bench"]) == (State.BACKUP, State.MASTER)


async def test_a_killed_keepalived_leaves_its_address_and_the_keeper_takes_it_away(pair: Pair) -> None:
    a, b = pair
    a.keeper.process.send_signal(signal.SIGSTOP)
    await true(lambda: a.has(VIRTUAL))
    a.kill_keepalived()
    await b.until(bench=State.MASTER)
    assert a.has(VIRTUAL)
    a.keeper.process.send_signal(signal.SIGCONT)
    await a.until(bench=State.STOP)
    assert not a.has(VIRTUAL)
    await a.until(bench=State.BACKUP, keys=State.BACKUP)  # by the FIFO of the next one
    assert (b.states["bench"], b.has(VIRTUAL)) == (State.MASTER, True)


async def test_so_does_the_next_keeper_when_the_first_was_killed_too(pair: Pair) -> None:
    a, b = pair
    await true(lambda: a.has(VIRTUAL))
    a.keeper.process.send_signal(signal.SIGSTOP)
    a.kill_keepalived()
    a.keeper.process.kill()
    await b.until(bench=State.MASTER)
    assert a.has(VIRTUAL)
    with a.node.inside():
        following = Spawned(a.directory)
    await true(lambda: not a.has(VIRTUAL))
    following.close()


async def test_a_keepalived_whose_keeper_is_killed_gives_its_groups_up(pair: Pair) -> None:
    a, b = pair
    a.keeper.process.kill()
    await b.until(bench=State.MASTER)
    await true(lambda: not a.has(VIRTUAL))


async def test_a_change_of_one_group_does_not_move_the_other(pair: Pair) -> None:
    a, b = pair
    bench, keys = a.configured.groups
    a.vrrp.configure(replace(a.configured, groups=(bench,)))
    await true(lambda: "keys" not in (a.directory / "keepalived.conf").read_text())
    a.vrrp.configure(replace(a.configured, groups=(bench, replace(keys, name="new", vrid=77))))
    a.vrrp.report("new", FIT)
    await a.until(new=State.MASTER)
    assert (a.states["bench"], b.states["bench"], a.has(VIRTUAL)) == (State.MASTER, State.BACKUP, True)


async def test_a_daemon_that_stands_still_loses_its_groups_until_it_goes_on(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    with World("a") as world:
        with world["a"].inside():
            keeper = Spawned(tmp_path / "a")
        with keeper() as connection:
            connection.settimeout(0.1)
            connection.send(encode(Configure(Link("10.78.0.1", "10.78.0.2"), (BENCH,), stall=1.0)))
            connection.send(encode(Report("bench", FIT)))
            assert state_after(connection, State.MASTER, Alive()) is State.MASTER
            assert state_after(connection, State.FAULT) is State.FAULT
            assert state_after(connection, State.MASTER, Alive()) is State.MASTER
        keeper.close()


def state_after(connection: socket.socket, awaited: State, beat: Alive | None = None) -> State:
    """The state that is told at last, while there are signs of life, or none."""
    while True:
        if beat:
            connection.send(encode(beat))
        with suppress(TimeoutError):
            told = parse_told(connection.recv(MAX_MESSAGE)).state
            if told is awaited:
                return told
