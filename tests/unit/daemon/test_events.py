from __future__ import annotations

from appliance.daemon.events import BACKLOG, Events


async def test_every_listener_hears_everything_from_when_it_began_to_listen() -> None:
    events = Events(clock=lambda: 42.0)
    events.tell("too early")
    async with events.listen() as one, events.listen() as other:
        events.tell("device.added", busid="1-1")
        expected = {"event": "device.added", "time": 42.0, "busid": "1-1"}
        assert await anext(one) == expected
        assert await anext(other) == expected


async def test_a_listener_that_is_too_slow_gets_what_was_kept_and_is_cut_off() -> None:
    events = Events()
    async with events.listen() as slow:
        for number in range(BACKLOG + 10):
            events.tell("tick", number=number)
        assert [event["number"] async for event in slow] == list(range(BACKLOG))


async def test_who_has_left_is_not_told_any_more() -> None:
    events = Events()
    async with events.listen():
        pass
    assert not events._queues
