"""The loop that every session and every gadget runs on."""

from __future__ import annotations

import os
import time

import pytest

from appliance.loop import IN, Ended, Loop


def test_an_alarm_in_the_far_future_keeps_nobody_waiting_and_does_no_harm() -> None:
    loop = Loop()
    readable, writable = os.pipe()

    def end(events: int) -> None:
        raise Ended("read")

    loop.watch(readable, IN, end)
    loop.at(time.monotonic_ns() + 10**18, lambda: pytest.fail("the future is not here"))
    os.write(writable, b"x")
    with pytest.raises(Ended):
        loop.run()
    loop.close()
    os.close(readable)
    os.close(writable)
