"""A shared hub: its sessions' shadows, feed by feed, and what becomes of them at a takeover."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from appliance.errors import TwinhubError, Unavailable
from appliance.pair import messages as m
from appliance.pair.device_exports import DeviceExports
from appliance.pair.gadget_exports import Orphan
from appliance.pair.streams import Streams
from appliance.sessions.manager import Sessions
from appliance.sessions.state import SessionSpec


class Session:
    """Its process, as the daemon sees it."""

    def __init__(self, id: str, house: House) -> None:
        self.id, self.house = id, house
        self.on_twin: Callable[[str, str], None] = lambda state, reason: None
        self.spec = SessionSpec(id=id, name=f"of {id}", kind="relayed", peer="", started=1.0, busid="1-1")

    async def ask(self, op: str, fds: tuple[int, ...] = (), patience: float = 0, **fields: Any) -> Any:
        await asyncio.sleep(0)
        self.house.done.append(f"{op} {self.id}")
        if f"{op} {self.id}" in self.house.fails:
            raise Unavailable("no")
        return True

    def when_over(self, callback: Callable[[object], None]) -> None:
        self.over = callback


class House:
    """Sessions, gateway and streams at once; `done` is what was asked of them, in order."""

    gate = Path("gate.sock")

    def __init__(self, folder: Path, *ids: str) -> None:
        self.done: list[str] = []
        self.fails: set[str] = set()
        self.told: list[m.Input] = []
        self.said: list[dict[str, Any]] = []
        self.links = {id: Session(id, self) for id in ids}
        self.exports = DeviceExports(
            cast(Sessions, self), folder, self, cast(Streams, self), Path("keys"), "auto", lambda spec: True,
            lambda name: None, self.told.append, self.said.append, lambda timeline: None,
        )  # fmt: skip

    def all(self) -> list[SessionSpec]:
        return [link.spec for link in self.links.values()]

    def link(self, session: str) -> Session:
        return self.links[session]

    def begin(self, id: str) -> None:
        self.links[id] = Session(id, self)
        self.exports.began(self.links[id].spec)

    async def close(self) -> None:
        self.done.append("close")

    async def open(self) -> None:
        self.done.append("open")

    async def rebuild(self, orphans: Sequence[Orphan]) -> list[socket.socket | TwinhubError]:
        return []

    async def refuse(self, orphan: Orphan) -> None:
        self.done.append(f"refuse {orphan.spec.id}")

    async def dial(self, token: str) -> socket.socket:
        return socket.socket(socket.AF_UNIX)

    async def settled(self) -> None:
        while self.exports._works:
            await asyncio.wait(self.exports._works)

    async def level(self, feed: int) -> None:
        """The sibling gets ready, and has shadows of all."""
        await self.exports.feed(3, feed)
        self.exports.heard({"ready": feed})
        for id in self.links:
            await self.shadowed(id, feed)

    async def shadowed(self, id: str, feed: int) -> None:
        self.exports.heard({"token": f"to {id}", "session": id, "feed": feed})
        await self.settled()
        self.links[id].on_twin("caught_up", "")
        await self.settled()


async def test_a_hub_without_sessions_is_level_when_the_sibling_is_ready(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.level(7)
    assert house.told == [m.CaughtUp(7)]
    assert house.said == [{"level": 7}]


async def test_it_is_level_when_the_sibling_has_all_sessions(tmp_path: Path) -> None:
    house = House(tmp_path, "a", "b")
    await house.level(7)
    assert house.done == ["replicate a", "replicate b"]
    assert house.told == [m.CaughtUp(7)]


async def test_a_session_that_begins_on_one_alone_gets_its_lease_at_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.exports.promote(3)
    await house.exports.sole(1000)
    house.begin("a")
    await house.settled()
    assert house.done == ["open", "sole a"]


async def test_a_session_that_begins_under_protection_is_held_until_it_has_its_shadow(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.exports.sole(1000)
    await house.level(7)
    await house.exports.protect()
    house.begin("a")
    await house.settled()
    assert house.done == []
    await house.shadowed("a", 7)
    assert house.done == ["replicate a", "protect a"]


async def test_a_session_that_begins_while_outputs_are_stopped_is_held(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.exports.promote(3)
    await house.exports.sole(1000)
    await house.exports.stop()
    house.begin("a")
    await house.settled()
    assert house.done == ["open"]


async def test_a_shadow_that_is_lost_loses_the_feed_and_one_of_an_ended_session_does_not(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, "a", "b")
    await house.level(7)
    house.told.clear()
    gone = house.links.pop("b")
    gone.on_twin("lost", "it ended")
    assert house.told == []
    house.links["a"].on_twin("lost", "it broke")
    assert house.told == [m.StreamsLost(7)]


async def test_what_is_said_of_another_feed_or_to_the_wrong_side_does_nothing(tmp_path: Path) -> None:
    house = House(tmp_path, "a")
    await house.exports.feed(3, 7)
    for said in (
        {"ready": 6},
        {"shadow": "a", "feed": 7},
        {"level": 7},
        {"token": 1, "session": "a", "feed": 7},
    ):
        house.exports.heard(said)
    await house.settled()
    assert (house.done, house.said, house.told) == ([], [], [])
