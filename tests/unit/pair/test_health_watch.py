"""Who looks after a group's health asks the bus, the targets and the operator, and tells what changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container
from dataclasses import dataclass, field, replace

import pytest

from appliance.config import parse
from appliance.errors import NotPermitted
from appliance.pair import watch
from appliance.pair.health import Cause, Sibling
from appliance.pair.keepalived import FAULT, FIT
from appliance.pair.settings import GroupTable, Target
from appliance.pair.watch import Use, Watch

(BENCH,) = parse("""
[[group]]
name = "bench"
hub = "1-1"
address = "192.168.7.100/24"
interface = "eth0"
selector = "arbiter:/dev/ttyACM0"
targets = ["10.0.0.1", "10.0.0.2"]
lost = 2
back = 3
errors = 5
hold_down = 0
""").groups


@dataclass
class Known:
    is_ours: bool = True
    bus: set[str | None] = field(default_factory=lambda: {"1-1"})
    said: Sibling = Sibling.SEES
    totals: dict[Use, int] = field(default_factory=dict)
    counts: int = 0
    counted: asyncio.Event = field(default_factory=asyncio.Event)

    def is_owner(self) -> bool:
        return self.is_ours

    def devices(self) -> Container[str | None]:
        return self.bus

    def sibling(self) -> Sibling:
        return self.said

    async def failed(self) -> dict[Use, int]:
        self.counts += 1
        self.counted.set()
        return self.totals

    async def are_counted(self, times: int) -> None:
        until = self.counts + times
        while self.counts < until:
            self.counted.clear()
            await self.counted.wait()


class Probes:
    """Rounds with the answers that are put in, as many as are asked for."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[dict[Target, bool]] = asyncio.Queue()
        self.is_permitted = True

    def __call__(self, targets: tuple[Target, ...], interface: str, every: float) -> Probes:
        assert (interface, every) == ("eth0", 0.2)
        self.targets = targets
        return self

    async def rounds(self) -> AsyncIterator[dict[Target, bool]]:
        if self.targets and not self.is_permitted:
            raise NotPermitted("may not ping")
        while True:
            answers = await self.answers.get()
            yield {target: answers.get(target, True) for target in self.targets}
            self.answers.task_done()


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Probes:
    made = Probes()
    monkeypatch.setattr(watch, "Prober", made)
    monkeypatch.setattr(watch, "COUNTED", 0.0)
    return made


class Watched:
    """A watch at work, and the causes whenever they changed."""

    def __init__(self, probes: Probes, known: Known, group: GroupTable = BENCH) -> None:
        self.changes: list[tuple[Cause, ...]] = []
        self.watch = Watch(group, known, lambda: self.changes.append(self.watch.health.causes))
        self._probes = probes

    async def __aenter__(self) -> Watched:
        self._running = asyncio.create_task(self.watch.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])

    async def rounds(self, number: int, **silent: bool) -> None:
        answers = {target: not silent.get(f"t{target.host[-1]}", False) for target in BENCH.targets}
        for _ in range(number):
            self._probes.answers.put_nowait(answers)
        await self._probes.answers.join()


async def test_a_hub_that_is_ours_and_gone_is_a_cause_until_it_was_seen_for_a_while(probes: Probes) -> None:
    known = Known()
    async with Watched(probes, known) as watched:
        await watched.rounds(3)
        known.bus.clear()
        await watched.rounds(1)
        assert watched.watch.health.delta == FAULT
        known.bus.add("1-1")
        await watched.rounds(3)
        assert watched.watch.health.delta == FIT
    assert watched.changes == [(Cause.HUB,), ()]


async def test_a_hub_that_is_on_its_way_is_not_lost(probes: Probes) -> None:
    known = Known(bus=set())
    async with Watched(probes, known) as watched:
        await watched.rounds(9)
    assert watched.changes == []


async def test_the_hub_of_a_backup_is_elsewhere_and_no_cause(probes: Probes) -> None:
    async with Watched(probes, Known(is_ours=False, bus=set())) as watched:
        await watched.rounds(5)
    assert watched.changes == []


async def test_one_silent_target_is_named_and_no_cause(probes: Probes) -> None:
    async with Watched(probes, Known()) as watched:
        await watched.rounds(5, t2=True)
        assert watched.watch.targets.silent == ("10.0.0.2",)
        assert watched.watch.hears_any
    assert watched.changes == []


async def test_all_silent_are_a_cause_unless_the_other_hears_none_either(probes: Probes) -> None:
    known = Known(said=Sibling.BLIND)
    async with Watched(probes, known) as watched:
        await watched.rounds(5, t1=True, t2=True)
        assert not watched.watch.hears_any
        assert watched.changes == []
        known.said = Sibling.SILENT
        await watched.rounds(2, t1=True, t2=True)
        assert watched.changes == [(Cause.NETWORK,)]
        await watched.rounds(3)
    assert watched.changes == [(Cause.NETWORK,), ()]


async def test_a_device_that_fails_too_often_is_a_cause_where_it_is_ours(probes: Probes) -> None:
    known = Known()
    known.totals = {Use("dongle", "s1"): 4, Use("disk", "s2"): 4}
    async with Watched(probes, known) as watched:
        await known.are_counted(2)
        await watched.rounds(1)
        assert watched.changes == []
        known.totals = {Use("dongle", "s3"): 1, Use("disk", "s2"): 4}  # the same device, a session later
        await known.are_counted(2)
        await watched.rounds(1)
        assert watched.changes == [(Cause.ERRORS,)]
        known.is_ours = False
        await watched.rounds(3)
    assert watched.changes == [(Cause.ERRORS,), ()]


async def test_errors_are_no_cause_where_no_threshold_is_given(probes: Probes) -> None:
    known = Known()
    async with Watched(probes, known, replace(BENCH, errors=0)) as watched:
        known.totals = {Use("dongle", "s1"): 1000}
        await watched.rounds(3)
    assert watched.changes == []
    assert known.counts == 0


async def test_who_may_not_ping_judges_the_rest(probes: Probes, caplog: pytest.LogCaptureFixture) -> None:
    probes.is_permitted = False
    known = Known()
    async with Watched(probes, known) as watched:
        await watched.rounds(1)
        known.bus.clear()
        await watched.rounds(2, t1=True, t2=True)
    assert watched.changes == [(Cause.HUB,)]
    assert "group bench: its network is not judged: may not ping" in caplog.text
