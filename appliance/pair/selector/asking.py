"""The four calls of a selector as one, for those whose register is kept elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod

from appliance.pair.model import NodeId, Standing
from appliance.pair.selector.register import Op, Request


class Asking(ABC):
    """`ask` carries a request to the register and brings its standing back."""

    @abstractmethod
    async def ask(self, request: Request) -> Standing:
        """Raises Refused, and what the way there may raise."""

    def know(self, standing: Standing) -> None:  # noqa: B027 - nothing to be told, not something left out
        """The register is elsewhere, and knows."""

    async def look(self) -> Standing:
        return await self.ask(Request(Op.LOOK))

    async def claim(self, node: NodeId, epoch: int, heir: NodeId | None) -> Standing:
        return await self.ask(Request(Op.CLAIM, node, epoch, heir))

    async def renew(self, node: NodeId, epoch: int) -> None:
        await self.ask(Request(Op.RENEW, node, epoch))

    async def release(self, node: NodeId, epoch: int) -> Standing:
        return await self.ask(Request(Op.RELEASE, node, epoch))
