"""The shell around one group's `Node`: gives it what happens, and has done what it wants, in its order."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final, Protocol

from appliance.errors import TwinhubError
from appliance.pair import messages as m
from appliance.pair.node import Node
from appliance.pair.selector import Refused, Selector

log = logging.getLogger(__name__)

NS: Final = 1_000_000_000


class Exports(Protocol):
    """The group's exports on this appliance. Each call returns when it is done; they come one at a time.

    What becomes of a feed, on either side, is told to the runner: CaughtUp, StreamsLost.
    """

    async def protect(self) -> None:
        """Raises a TwinhubError where the sibling is not in sync any more."""

    async def sole(self, until: int) -> None: ...
    async def stop(self) -> None: ...
    async def feed(self, epoch: int, feed: int) -> None: ...
    async def follow(self, epoch: int, feed: int) -> None: ...
    async def promote(self, epoch: int) -> None: ...
    async def demote(self) -> None: ...
    async def freeze(self) -> None: ...
    async def thaw(self) -> None: ...


class Surroundings(Protocol):
    """What else a group touches. None of these waits."""

    def send(self, status: m.Status) -> None:
        """To the sibling, if it can be reached."""

    def fault(self, fault: bool) -> None:
        """Whether keepalived must not have the group's address here."""

    def tell(self, event: m.Tell) -> None: ...
    def changed(self) -> None:
        """The node's standing or role may be another: to be written down and shown."""


def boottime() -> int:
    """Goes on while the machine sleeps, unlike CLOCK_MONOTONIC."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Runner:
    """One group. `give` may be called from anywhere in the event loop."""

    def __init__(self, node: Node, selector: Selector, exports: Exports, surroundings: Surroundings) -> None:
        self.node, self.selector, self.exports, self.surroundings = node, selector, exports, surroundings
        self._todo: asyncio.Queue[m.Output] = asyncio.Queue()
        self._asks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    def give(self, given: m.Input) -> None:
        """Who has ended wants nothing any more: what is lost when the daemon stops is nobody's failure."""
        if self._ended:
            return
        node = self.node
        outputs = [*node.on(m.Tick(boottime())), *node.on(given)]
        for output in outputs:
            self._perform(output)
        self.surroundings.changed()
        self._arm()

    async def run(self) -> None:
        """Until cancelled."""
        self.give(m.Tick(boottime()))
        try:
            while True:
                await self._carry_out(await self._todo.get())
                self._todo.task_done()
        finally:
            self._ended = True
            if self._timer:
                self._timer.cancel()
            for ask in self._asks:
                ask.cancel()
            if self._asks:
                await asyncio.wait(self._asks)

    async def settled(self) -> None:
        """Returns when all that the node has wanted is done."""
        await self._todo.join()

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
        pause = max(0, self.node.wake_at() - boottime()) / NS
        self._timer = asyncio.get_running_loop().call_later(pause, self.give, m.Tick(boottime()))

    def _perform(self, output: m.Output) -> None:
        match output:
            case m.Claim() | m.Renew() | m.Release() | m.Look():
                task = asyncio.create_task(self._ask(output))
                self._asks.add(task)
                task.add_done_callback(self._asks.discard)
            case m.Send(status):
                self.surroundings.send(status)
            case m.Fault(fault):
                self.surroundings.fault(fault)
            case m.Tell():
                self.surroundings.tell(output)
            case _:
                self._todo.put_nowait(output)

    async def _ask(self, ask: m.Ask) -> None:
        node, selector = self.node.me, self.selector
        answer: m.Input
        selector.know(self.node.standing)
        try:
            match ask:
                case m.Claim(epoch, heir):
                    answer = m.Granted(await selector.claim(node, epoch, heir))
                case m.Renew(epoch):
                    await selector.renew(node, epoch)
                    answer = m.Renewed()
                case m.Release(epoch):
                    answer = m.Granted(await selector.release(node, epoch))
                case m.Look():
                    answer = m.Looked(await selector.look())
        except Refused as refused:
            answer = m.Refused(refused.standing)
        except TwinhubError as error:
            log.debug("%s: the selector: %s", self.node.group.name, error)
            answer = m.SelectorSilent()
        self.give(answer)

    async def _carry_out(self, output: m.Output) -> None:
        exports = self.exports
        try:
            match output:
                case m.Protect():
                    await exports.protect()
                    self.give(m.Protected())
                case m.Sole(until):
                    await exports.sole(until)
                case m.Stop():
                    await exports.stop()
                case m.Feed(epoch, feed):
                    await exports.feed(epoch, feed)
                case m.Follow(epoch, feed):
                    await exports.follow(epoch, feed)
                case m.Promote(epoch):
                    await exports.promote(epoch)
                    self.give(m.Promoted())
                case m.Demote():
                    await exports.demote()
                case m.Freeze():
                    await exports.freeze()
                    self.give(m.Quiesced())
                case m.Thaw():
                    await exports.thaw()
        except TwinhubError as error:
            log.error("group %s: %s: %s", self.node.group.name, type(output).__name__.lower(), error)
            self.give(m.StreamsLost(self.node.feed))
