"""A group's gadgets: what its node wants is said to their processes in order, and what comes of it told."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from appliance.errors import DeviceFailed, TwinhubError, Unavailable
from appliance.pair import messages as m
from appliance.pair.gadget_exports import GadgetExports, Orphan
from appliance.pair.streams import Streams
from appliance.pair.timeline import Timeline
from appliance.sessions.gadgets import Gadgets
from appliance.sessions.manager import Sessions
from appliance.sessions.state import SessionSpec
from gadgets.usb.urb import Speed


class Process:
    """A gadget's, as the daemon sees it."""

    def __init__(self, name: str, house: House) -> None:
        self.name, self.house = name, house
        self.on_twin: Callable[[str, str], None] = lambda state, reason: None
        self.reason = "it was killed"
        self.overs: list[Callable[[Process], None]] = []

    async def ask(self, op: str, fds: tuple[int, ...] = (), patience: float = 0, **fields: Any) -> Any:
        await asyncio.sleep(0)
        self.house.done.append(f"{op} {self.name}")
        if error := self.house.fails.get(f"{op} {self.name}"):
            raise error
        if op == "promote":
            return {"sessions": [position(self.name, fds[0])] if self.name in self.house.used else []}
        return True

    def when_over(self, callback: Callable[[Process], None]) -> None:
        self.overs.append(callback)

    def die(self) -> None:
        for callback in self.overs:
            callback(self)


def position(name: str, file: int) -> dict[str, Any]:
    os.write(file, b"tail")
    spec = SessionSpec(
        id=name, name=name, kind="gadget", peer="192.0.2.1:1234", started=1.0, devid=0x10001,
        speed=Speed.HIGH, gadget=name,
    )  # fmt: skip
    return {"spec": spec.to_json(), "facts": {}, "bytes_in": 1, "bytes_out": 4, "tail": 4}


class House:
    """Gadgets, sessions, gateway and streams at once; `done` is what was asked of them, in order."""

    gate = Path("gate.sock")

    def __init__(self, *names: str) -> None:
        self.done: list[str] = []
        self.fails: dict[str, TwinhubError] = {}
        self.used: set[str] = set()
        """gadgets with a client"""
        self.lost: set[str] = set()
        """those whose connections cannot be rebuilt"""
        self.told: list[m.Input] = []
        self.said: list[dict[str, Any]] = []
        self.timelines: list[Timeline] = []
        self.sockets: list[socket.socket] = []
        self.processes = {name: Process(name, self) for name in names}
        self.exports = GadgetExports(
            names, cast(Gadgets, self), cast(Sessions, self), self, cast(Streams, self), Path("keys"),
            self.told.append, self.said.append, self.timelines.append,
        )  # fmt: skip

    def link(self, name: str) -> Process:
        if name not in self.processes:
            raise DeviceFailed(f"gadget {name} does not run")
        return self.processes[name]

    async def ask(
        self, name: str, op: str, fds: tuple[int, ...] = (), patience: float = 0, **fields: Any
    ) -> Any:
        return await self.link(name).ask(op, fds, patience, **fields)

    async def restart(self, name: str, follow: bool) -> None:
        self.done.append(f"restart {name}")

    async def resume(self, spec: SessionSpec, client: socket.socket, gate: Path, ask: object) -> None:
        client.close()
        self.done.append(f"resume {spec.name}")
        if error := self.fails.get(f"resume {spec.name}"):
            raise error

    async def close(self) -> None:
        self.done.append("close")
        if error := self.fails.get("close"):
            raise error

    async def open(self) -> None:
        self.done.append("open")

    async def rebuild(self, orphans: Sequence[Orphan]) -> list[socket.socket | TwinhubError]:
        return [
            Unavailable("no connection") if each.gadget in self.lost else self.a_socket() for each in orphans
        ]

    async def refuse(self, orphan: Orphan) -> None:
        self.done.append(f"refuse {orphan.gadget}")
        if error := self.fails.get("refuse"):
            raise error

    def a_socket(self) -> socket.socket:
        self.sockets.append(socket.socket(socket.AF_UNIX))
        return self.sockets[-1]

    async def dial(self, token: str) -> socket.socket:
        self.done.append(f"dial {token}")
        return self.a_socket()

    def offer(self, what: str, take: Callable[[socket.socket], None]) -> str:
        return f"for {what}"

    async def settled(self) -> None:
        while self.exports._copying:
            await asyncio.wait(self.exports._copying)

    async def replicating(self, feed: int) -> None:
        await self.exports.feed(3, feed)
        self.exports.heard({"offer": feed, "tokens": {name: f"to {name}" for name in self.processes}})
        await self.settled()


async def test_a_feed_dials_what_the_sibling_offers_and_passes_it_on() -> None:
    house = House("a", "b")
    await house.replicating(7)
    assert house.done == ["dial to a", "replicate a", "dial to b", "replicate b"]
    assert all(each.fileno() < 0 for each in house.sockets)


async def test_it_has_caught_up_when_all_have() -> None:
    house = House("a", "b")
    await house.replicating(7)
    house.processes["a"].on_twin("caught_up", "")
    assert house.told == []
    house.processes["b"].on_twin("caught_up", "")
    assert house.told == [m.CaughtUp(7)]


async def test_an_offer_is_taken_once_and_only_for_the_feed_under_way() -> None:
    house = House("a")
    house.exports.heard({"offer": 0, "tokens": {"a": "x"}})
    await house.exports.feed(3, 7)
    house.exports.heard({"offer": 6, "tokens": {"a": "x"}})
    await house.settled()
    assert house.done == []
    for _ in range(2):
        house.exports.heard({"offer": 7, "tokens": {"a": "x"}})
        await house.settled()
    assert house.done == ["dial x", "replicate a"]


async def test_whoever_follows_takes_no_offer() -> None:
    house = House("a")
    await house.exports.follow(3, 7)
    house.exports.heard({"offer": 7, "tokens": {"a": "x"}})
    await house.settled()
    assert house.done == ["close", "restart a"]
    assert house.said == [{"offer": 7, "tokens": {"a": "for a"}}]


@pytest.mark.parametrize("tokens", [{}, {"a": 1}, {"a": None}, {"b": "x"}])
async def test_an_offer_without_a_gadget_is_no_feed(tokens: dict[str, object]) -> None:
    house = House("a")
    await house.exports.feed(3, 7)
    house.exports.heard({"offer": 7, "tokens": tokens})
    await house.settled()
    assert house.told == [m.StreamsLost(7)]


async def test_a_stream_that_is_lost_loses_the_feed() -> None:
    house = House("a")
    await house.replicating(7)
    house.processes["a"].on_twin("lost", "it broke")
    assert house.told == [m.StreamsLost(7)]


async def test_a_process_that_dies_loses_the_feed() -> None:
    house = House("a")
    await house.replicating(7)
    house.processes["a"].die()
    assert house.told == [m.StreamsLost(7)]


async def test_the_streams_of_a_feed_that_is_over_are_nobodys_loss() -> None:
    house = House("a")
    await house.replicating(7)
    await house.exports.demote()
    house.processes["a"].on_twin("lost", "it broke")
    house.processes["a"].die()
    assert house.told == []


async def test_a_stream_for_a_gadget_that_has_just_died_is_closed() -> None:
    house = House("a")
    await house.exports.feed(3, 7)
    house.processes.clear()
    house.exports.heard({"offer": 7, "tokens": {"a": "x"}})
    await house.settled()
    assert house.told == [m.StreamsLost(7)]
    assert all(each.fileno() < 0 for each in house.sockets)


async def test_the_address_is_closed_before_the_processes_die() -> None:
    house = House("a")
    await house.exports.demote()
    assert house.done == ["close", "restart a"]


async def test_the_processes_die_without_a_gate_too() -> None:
    house = House("a")
    house.fails["close"] = Unavailable("no gate")
    with pytest.raises(Unavailable):
        await house.exports.demote()
    assert house.done == ["close", "restart a"]


async def test_all_are_told_to_stop_though_one_does_not_run() -> None:
    house = House("a", "b", "c")
    del house.processes["a"]
    house.fails["hold b"] = Unavailable("b is busy")
    with pytest.raises(DeviceFailed):
        await house.exports.stop()
    assert house.done == ["hold b", "hold c"]


async def test_protection_waits_for_all_of_them_before_it_fails() -> None:
    house = House("a", "b")
    house.fails["protect a"] = Unavailable("not in sync")
    with pytest.raises(Unavailable):
        await house.exports.protect()
    assert house.done == ["protect a", "protect b"]


async def test_a_takeover_executes_rebuilds_goes_on_and_answers_in_this_order() -> None:
    house = House("a", "b")
    house.used = {"a", "b"}
    await house.exports.promote(4)
    assert house.done == ["promote a", "promote b", "resume a", "resume b", "open"]
    (timeline,) = house.timelines
    assert (timeline.kept, timeline.lost) == (["a", "b"], [])
    assert list(timeline.steps) == ["executed", "rebuilt", "resumed", "answering"]


async def test_a_connection_that_cannot_be_rebuilt_costs_the_others_nothing() -> None:
    house = House("a", "b")
    house.used, house.lost = {"a", "b"}, {"a"}
    house.fails |= {"refuse": Unavailable("no gate"), "drop a": DeviceFailed("a has died")}
    await house.exports.promote(4)
    assert house.done[-1] == "open"
    assert {"drop a", "refuse a", "resume b"} <= {*house.done}
    (timeline,) = house.timelines
    assert (timeline.kept, timeline.lost) == (["b"], ["a: no connection"])


async def test_a_gadget_that_cannot_be_promoted_costs_the_others_nothing() -> None:
    house = House("a", "b")
    house.used = {"a", "b"}
    house.fails["promote a"] = Unavailable("not in sync")
    await house.exports.promote(4)
    assert house.done == ["promote a", "promote b", "resume b", "open"]
