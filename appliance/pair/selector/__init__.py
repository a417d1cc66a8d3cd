"""Selectors: what grants a group to one of its two appliances, and never to both."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from appliance.pair.model import NodeId, Standing
from appliance.pair.selector.register import Refused
from appliance.pair.selector.spec import KINDS, parse_spec

__all__ = ["Refused", "Selector", "open_selector"]


class Selector(Protocol):
    """The register of one group (register.py says what is granted), wherever it is kept.

    Every call raises Unavailable, Timeout or PeerError when the selector does not answer: a claim may have
    been granted all the same, and `look` tells. Calls may be made at once; they are done in turn.
    """

    @property
    def atomic(self) -> bool:
        """Whether claim compares and swaps; else it steals, and the appliances keep the epoch."""
        ...

    @property
    def lease(self) -> float:
        """Seconds after its latest renewal in which an owner cannot lose the group to who is not its heir.

        Known after the first answer; math.inf where no clock takes the group away.
        """
        ...

    def know(self, standing: Standing) -> None:
        """What the appliances know: for selectors that do not remember; said before any of the calls."""

    async def look(self) -> Standing: ...

    async def claim(self, node: NodeId, epoch: int, heir: NodeId | None) -> Standing:
        """The standing in which `node` is owner. Raises Refused, which has the standing that there is."""
        ...

    async def renew(self, node: NodeId, epoch: int) -> None:
        """Raises Refused when `node` does not own the group in `epoch`."""

    async def release(self, node: NodeId, epoch: int) -> Standing:
        """Nobody owns the group. Raises Refused."""
        ...

    async def close(self) -> None:
        """Lets go of the way to the selector, and of nothing else: the owner stays owner."""


def open_selector(spec: str, group: str = "default") -> Selector:
    """The selector that `spec` writes (docs/selectors.md), for `group` where it holds several. UsageError.

    Nothing is asked of it yet: whether it is there, its first answer shows.
    """
    parsed = parse_spec(spec, group)
    module = import_module(f"appliance.pair.selector.{KINDS[parsed.kind].module}")
    return cast(Selector, module.open_spec(parsed))
