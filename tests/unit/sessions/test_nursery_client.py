"""The daemon's end of the nursery survives whoever loses patience with it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from appliance.sessions.nursery_client import Nursery

NOTHING = {"definition": {"functions": []}}


async def test_a_start_that_was_given_up_twice_does_not_spoil_the_next() -> None:
    nursery = Nursery()
    with socket.socket(socket.AF_UNIX) as listener:
        given_up = asyncio.create_task(nursery.start("gadget", NOTHING, (listener,)))
        for _ in range(2):
            await asyncio.sleep(0)
            given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert await nursery.start("gadget", NOTHING, (listener,)) > 0
    await nursery.close()
