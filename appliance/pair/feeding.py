"""A feed that stands still is begun anew: whatever got lost on the way, a backup comes of it in the end."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from appliance.pair import messages as m
from appliance.pair.model import Role
from appliance.pair.runner import Runner

log = logging.getLogger(__name__)

SECONDS: Final = 15.0
"""Between two looks; copies may have to be started first, on a slow machine."""


class Progressing(Protocol):
    async def progress(self) -> object:
        """Another value as long as what is fed comes on."""


async def watch_feed(runner: Runner, exports: Progressing, seconds: float = SECONDS) -> None:
    """Until cancelled."""
    before: object = None
    while True:
        await asyncio.sleep(seconds)
        node, now = runner.node, None
        if node.role is Role.MASTER and node.feed and not node.level:
            now = node.feed, await exports.progress()
            if now == before:
                log.warning("group %s: the feed stands still; it is begun anew", node.group.name)
                runner.give(m.StreamsLost(node.feed))
        before = now
