"""The live inventory: what is attached now, and a stream of what changes.

How nothing is lost: an event never says more than "look again". Then, after a short settle, everything is
read afresh and compared with what was known. Events that arrive during a reading cause another one; lost
events (netlink overflow) are made good by the same reading; and a slow periodic reading covers what has no
event. A subscriber that does not keep up gets a `Resync` instead of its backlog, and reads `devices`.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from appliance.inventory.model import UsbDevice
from appliance.inventory.sysfs import read_devices
from appliance.inventory.uevents import Events, listen

log = logging.getLogger(__name__)

SETTLE: Final = 0.05
"""Seconds from the first event of a burst to the reading."""
RESCAN: Final = 10.0
"""Seconds between readings without an event."""
RESCAN_DEAF: Final = 2.0
"""The same where there are no events at all."""
BACKLOG: Final = 256
"""Changes kept for one subscriber."""


@dataclass(frozen=True, slots=True)
class Added:
    device: UsbDevice


@dataclass(frozen=True, slots=True)
class Removed:
    """`device` as it was last seen."""

    device: UsbDevice


@dataclass(frozen=True, slots=True)
class Changed:
    """The same attachment with other facts: configuration, driver, nodes, `identity`, …"""

    device: UsbDevice
    before: UsbDevice


@dataclass(frozen=True, slots=True)
class Resync:
    """Changes were dropped: read `Inventory.devices`."""


Change = Added | Removed | Changed | Resync


def differences(before: dict[str, UsbDevice], after: dict[str, UsbDevice]) -> list[Change]:
    """What leads from one to the other: removals first and leaves first, then the rest from the root down.

    A device that was plugged out and in again between two readings (same busid, other devnum) was removed
    and added: nothing that was done to the one, such as binding a driver, holds for the other.
    """

    def is_same(busid: str) -> bool:
        return busid in before and busid in after and before[busid].devnum == after[busid].devnum

    changes: list[Change] = [Removed(before[busid]) for busid in reversed(before) if not is_same(busid)]
    for busid, device in after.items():
        if not is_same(busid):
            changes.append(Added(device))
        elif device != before[busid]:
            changes.append(Changed(device, before[busid]))
    return changes


class Changes:
    """One subscriber's changes, from `Inventory.changes()` on. For one reader; to leave, drop it."""

    def __init__(self, backlog: int) -> None:
        self._backlog = backlog
        self._pending: deque[Change] = deque()
        self._news = asyncio.Event()
        self._has_ended = False
        self._error: BaseException | None = None

    def put(self, change: Change) -> None:
        if self._pending and isinstance(self._pending[0], Resync):
            return  # reading `devices`, as it tells to, will show this change too
        if len(self._pending) == self._backlog:
            self._pending.clear()
            change = Resync()
        self._pending.append(change)
        self._news.set()

    def end(self, error: BaseException | None) -> None:
        self._has_ended, self._error = True, error
        self._news.set()

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Change:
        """Raises what the inventory died of."""
        while not self._pending:
            if self._error:
                raise self._error
            if self._has_ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._pending.popleft()


class Inventory:
    """What is attached: `devices` by busid in tree order, kept true while open. A new dict at every change.

        async with Inventory() as inventory:
            changes = inventory.changes()
            print(inventory.devices)  # no await in between: nothing is missed, nothing comes twice
            async for change in changes: ...

    Needs no privilege. Should its background task die, every subscriber gets the error.
    """

    def __init__(
        self,
        root: str | Path = "/",
        *,
        listen: Callable[[str | Path], Events | None] = listen,
        settle: float = SETTLE,
        rescan: float = RESCAN,
        backlog: int = BACKLOG,
    ) -> None:
        self.devices: dict[str, UsbDevice] = {}
        self._root = root
        self._listen = listen
        self._settle = settle
        self._rescan = rescan
        self._backlog = backlog
        self._events: Events | None = None
        self._look = asyncio.Event()
        self._reading = asyncio.Lock()
        self._subscribers: weakref.WeakSet[Changes] = weakref.WeakSet()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when `devices` is filled."""
        self._events = self._listen(self._root)  # before the first reading, so that nothing falls in between
        if self._events:
            asyncio.get_running_loop().add_reader(self._events.fileno(), self._heard, self._events)
        try:
            await self.refresh()
        except BaseException:
            self._stop_listening()
            raise
        self._task = asyncio.create_task(self._watch(), name="inventory")
        self._task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Ends every subscription."""
        self._stop_listening()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def changes(self) -> Changes:
        subscriber = Changes(self._backlog)
        self._subscribers.add(subscriber)
        return subscriber

    async def refresh(self) -> None:
        """Reads everything now, e.g. after binding a driver, and tells the subscribers what changed."""
        async with self._reading:
            # In a thread: while a device is being enumerated, its attributes block, for seconds.
            after = await asyncio.to_thread(read_devices, self._root)
            changes = differences(self.devices, after)
            self.devices = after
            for subscriber in self._subscribers:
                for change in changes:
                    subscriber.put(change)

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._rescan if self._events else min(self._rescan, RESCAN_DEAF)):
                    await self._look.wait()
                await asyncio.sleep(self._settle)
            except TimeoutError:
                pass
            self._look.clear()  # before the reading: what happens during it asks for another one
            await self.refresh()

    def _heard(self, events: Events) -> None:
        try:
            events.drain()
        except OSError as error:
            log.warning("plug events ended (%s): looking for devices every few seconds instead", error)
            self._stop_listening()
        self._look.set()

    def _stop_listening(self) -> None:
        if self._events:
            asyncio.get_running_loop().remove_reader(self._events.fileno())
            self._events.close()
            self._events = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        for subscriber in self._subscribers:
            subscriber.end(error)
