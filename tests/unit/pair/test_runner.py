"""The shell around a node: what it wants is done in its order, what comes of it is told to it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from appliance.errors import Unavailable
from appliance.pair import messages as m
from appliance.pair.feeding import watch_feed
from appliance.pair.model import Gate, Group, NodeId, Role, Standing, Timers
from appliance.pair.node import Node
from appliance.pair.runner import Runner, boottime
from appliance.pair.selector import Refused

MS = 1_000_000
TIMERS = Timers(patience=10 * MS, retry=5 * MS, look=20 * MS, beat=10 * MS)


class Exports:
    """Remembers what was asked of it; `fails` of some."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fails: set[str] = set()

    async def _do(self, what: str) -> None:
        await asyncio.sleep(0)
        self.done.append(what)
        if what in self.fails:
            raise Unavailable(f"{what} cannot be done")

    async def protect(self) -> None:
        await self._do("protect")

    async def sole(self, until: int) -> None:
        await self._do("sole")

    async def stop(self) -> None:
        await self._do("stop")

    async def feed(self, epoch: int, feed: int) -> None:
        await self._do("feed")

    async def follow(self, epoch: int, feed: int) -> None:
        await self._do("follow")

    async def promote(self, epoch: int) -> None:
        await self._do("promote")

    async def demote(self) -> None:
        await self._do("demote")

    async def freeze(self) -> None:
        await self._do("freeze")

    async def thaw(self) -> None:
        await self._do("thaw")


class Register:
    """A selector that answers as it is told."""

    atomic = True
    lease = math.inf

    def __init__(self) -> None:
        self.standing = Standing()
        self.silent = self.refuses = False
        self.claims = 0

    def know(self, standing: Standing) -> None:
        pass

    async def look(self) -> Standing:
        if self.silent:
            raise Unavailable("nobody answers")
        return self.standing

    async def claim(self, node: NodeId, epoch: int, heir: NodeId | None) -> Standing:
        self.claims += 1
        if self.refuses:
            raise Refused(self.standing)
        self.standing = Standing(node, epoch + 1, heir)
        return await self.look()

    async def renew(self, node: NodeId, epoch: int) -> None:
        if (await self.look()).owner != node:
            raise Refused(self.standing)

    async def release(self, node: NodeId, epoch: int) -> Standing:
        return await self.look()

    async def close(self) -> None:
        pass


class Around:
    def __init__(self) -> None:
        self.sent: list[m.Status] = []
        self.faults: list[bool] = []
        self.events: list[str] = []
        self.news = asyncio.Event()

    def send(self, status: m.Status) -> None:
        self.sent.append(status)

    def fault(self, fault: bool) -> None:
        self.faults.append(fault)

    def tell(self, event: m.Tell) -> None:
        self.events.append(event.event)

    def changed(self) -> None:
        self.news.set()


class Stage:
    def __init__(self) -> None:
        self.exports, self.register, self.around = Exports(), Register(), Around()
        self.node = Node("A", "B", Group("g", timers=TIMERS), 1, boottime())
        self.runner = Runner(self.node, self.register, self.exports, self.around)

    async def until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not so():
                self.around.news.clear()
                await self.around.news.wait()


@asynccontextmanager
async def running() -> AsyncIterator[Stage]:
    stage = Stage()
    task = asyncio.create_task(stage.runner.run())
    try:
        yield stage
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_an_appliance_alone_claims_promotes_and_lets_outputs_flow() -> None:
    async def run() -> None:
        async with running() as stage:
            await stage.until(lambda: stage.node.role is Role.MASTER and "sole" in stage.exports.done)
            assert stage.register.standing.owner == "A"
            assert stage.exports.done.index("promote") < stage.exports.done.index("sole")
            assert stage.node.gate is Gate.FLOW
            assert stage.around.faults == [True, False]

    asyncio.run(run())


def test_a_selector_that_does_not_answer_is_asked_again() -> None:
    async def run() -> None:
        async with running() as stage:
            stage.register.silent = True
            await stage.until(lambda: "selector_silent" in stage.around.events)
            assert stage.exports.done == []
            stage.register.silent = False
            await stage.until(lambda: stage.node.role is Role.MASTER)

    asyncio.run(run())


def test_who_is_refused_promotes_nothing() -> None:
    async def run() -> None:
        async with running() as stage:
            stage.register.refuses = True
            await stage.until(lambda: stage.register.claims > 1)
            assert "promote" not in stage.exports.done

    asyncio.run(run())


@pytest.mark.parametrize("fails", ["sole", "demote"])
def test_what_the_exports_fail_of_does_not_end_the_group(fails: str) -> None:
    async def run() -> None:
        async with running() as stage:
            stage.exports.fails.add(fails)
            await stage.until(lambda: stage.node.role is Role.MASTER)
            stage.register.standing = Standing("B", 99)
            await stage.until(lambda: "demote" in stage.exports.done)
            stage.register.standing = Standing(None, 100)
            await stage.until(lambda: stage.exports.done.count("promote") > 1)

    asyncio.run(run())


def test_it_is_settled_when_all_is_done_that_the_node_wanted() -> None:
    async def run() -> None:
        async with running() as stage:
            await stage.until(lambda: stage.node.role is Role.MASTER)
            stage.runner.give(m.Order(m.Wish.MAINTENANCE))
            assert "demote" not in stage.exports.done
            await stage.runner.settled()
            assert "demote" in stage.exports.done

    asyncio.run(run())


def test_who_has_ended_claims_nothing() -> None:
    """A daemon that stops ends its copies: that must not look as if the master had failed."""

    async def run() -> None:
        async with running() as stage:
            await stage.until(lambda: stage.node.role is Role.MASTER)
        claims = stage.register.claims
        stage.register.standing = Standing(None, 50)
        stage.runner.give(m.Looked(stage.register.standing))
        stage.runner.give(m.Order(m.Wish.TAKE))
        await asyncio.sleep(0)
        assert stage.register.claims == claims

    asyncio.run(run())


@pytest.mark.parametrize(("comes_on", "lost"), [(True, False), (False, True)])
def test_a_feed_that_stands_still_is_begun_anew(comes_on: bool, lost: bool) -> None:
    class Fed:
        looks = 0

        async def progress(self) -> object:
            self.looks += 1
            return self.looks if comes_on else "the same"

    async def run() -> None:
        stage, fed = Stage(), Fed()
        stage.node.role, stage.node.feed = Role.MASTER, 7
        given: list[m.Input] = []
        stage.runner.give = given.append  # type: ignore[method-assign]
        watching = asyncio.create_task(watch_feed(stage.runner, fed, 0))
        while fed.looks < 4:  # noqa: ASYNC110 - one loop, and nothing to wait for
            await asyncio.sleep(0)
        watching.cancel()
        await asyncio.wait([watching])
        assert (m.StreamsLost(7) in given) is lost

    asyncio.run(run())
