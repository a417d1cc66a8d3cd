"""What the other appliance of the pair has changed comes into force here."""

from __future__ import annotations

import asyncio

from appliance.daemon.hub import Hub
from appliance.exports.store import GADGET, NAME, RULE


async def learn(hub: Hub, kinds: set[str]) -> None:
    """`kinds` of entries in the store were changed by the sibling (`appliance.pair.shared`)."""
    if RULE in kinds:
        hub.reload_rules()
    if NAME in kinds:
        hub.exports.remember(await asyncio.to_thread(hub.store.names))
    if GADGET in kinds:
        await hub.gadgets.learn()
    if kinds & {RULE, NAME, GADGET}:
        await hub.settle()
