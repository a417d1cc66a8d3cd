"""The four calls of a selector as one, for those whose register is kept elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod

from appliance.pair.model import NodeId, Standing
from appliance.pair.selector.register import Op, Refused, Request


class Asking(ABC):
    """`ask` carries a request to the register and brings its standing back."""

    @abstractmethod
    async def ask(self, request: Request) -> Standing:
        """Raises Refused, and what the way there may raise."""

    def know(self, standing: Standing) -> None:  # noqa: B027
        """The register is elsewhere, and knows."""

    async def look(self) -> Standing:
        return await self.ask(Request(Op.LOOK))

    async def claim(self, node: NodeId, epoch: int, heir: NodeId | None) -> Standing:
        try:
            return await self.ask(Request(Op.CLAIM, node, epoch, heir))
        except Refused as refused:
            if refused.standing != Standing(node, epoch + 1, heir):
                raise
        # Only this claim can have made that standing: it was granted, and the answer was lost. Since then the
        # lease has run.
        await self.renew(node, epoch + 1)
        return Standing(node, epoch + 1, heir)

    async def renew(self, node: NodeId, epoch: int) -> None:
        await self.ask(Request(Op.RENEW, node, epoch))

    async def release(self, node: NodeId, epoch: int) -> Standing:
        return await self.ask(Request(Op.RELEASE, node, epoch))
