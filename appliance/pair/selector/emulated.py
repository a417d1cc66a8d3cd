"""A register for switches that remember nothing: as much of it as can be had."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from typing import Final

from appliance.pair.model import NodeId, Standing
from appliance.pair.selector.register import FREE, Refused

OTHER: Final = "other"
"""The owner after somebody took the switch from our side: it has no names."""


class Emulated(ABC):
    """Knows of the switch whether it is at our side; the register is what the appliances claimed and know.

    Not atomic: a claim steals, unless its epoch is older than one that is known here. Two who claim at once
    are both granted; who turned the switch last has the hub, and the other is Refused when it renews.
    """

    atomic: Final = False
    lease: Final = math.inf

    def __init__(self) -> None:
        self._standing = FREE
        self._claimed = False
        """the standing is of a claim of ours"""
        self._lock = asyncio.Lock()

    @abstractmethod
    async def is_mine(self) -> bool:
        """Read back from the switch."""

    @abstractmethod
    async def take(self) -> None:
        """The switch is at our side when this returns. Raises DeviceFailed, Unavailable."""

    @abstractmethod
    async def leave(self) -> None:
        """It is not, as far as the switch can do that."""

    def know(self, standing: Standing) -> None:
        if standing.epoch >= self._standing.epoch + self._claimed:
            self._standing, self._claimed = standing, False

    async def look(self) -> Standing:
        async with self._lock:
            return await self._look()

    async def claim(self, node: NodeId, epoch: int, heir: NodeId | None) -> Standing:
        async with self._lock:
            there = await self._look()
            if epoch < there.epoch:
                raise Refused(there)
            if not await self.is_mine():
                await self.take()
            self._standing, self._claimed = Standing(node, epoch + 1, heir), True
            return self._standing

    async def renew(self, node: NodeId, epoch: int) -> None:
        async with self._lock:
            await self._owned(node, epoch)

    async def release(self, node: NodeId, epoch: int) -> Standing:
        async with self._lock:
            await self._owned(node, epoch)
            await self.leave()
            self._standing, self._claimed = Standing(None, epoch + 1, None), False
            return self._standing

    @abstractmethod
    async def close(self) -> None: ...

    async def _look(self) -> Standing:
        if self._claimed and not await self.is_mine():
            self._standing, self._claimed = Standing(OTHER, self._standing.epoch + 1, None), False
        return self._standing

    async def _owned(self, node: NodeId, epoch: int) -> None:
        there = await self._look()
        if (node, epoch) != (there.owner, there.epoch):
            raise Refused(there)
