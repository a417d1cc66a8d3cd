"""The groups that this appliance carries with its sibling: one node each, and what surrounds it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from appliance.daemon import group_told
from appliance.daemon.events import Events
from appliance.daemon.gateway import Gateway
from appliance.daemon.standings import known, remember
from appliance.errors import Refused, Timeout, TwinhubError, Unavailable, UsageError
from appliance.exports.rules import behind
from appliance.kernel.client import Helper
from appliance.kernel.spawn import answers
from appliance.pair import messages as m
from appliance.pair.device_exports import DeviceExports
from appliance.pair.feeding import watch_feed
from appliance.pair.gadget_exports import GadgetExports
from appliance.pair.health import Sibling
from appliance.pair.hello import Hello
from appliance.pair.keepalived import FAULT, FIT, Link, instance_of
from appliance.pair.keeper_messages import Configure
from appliance.pair.model import NodeId, Role, Standing
from appliance.pair.node import Node
from appliance.pair.pairing import Pair
from appliance.pair.runner import Runner, boottime
from appliance.pair.selector import open_selector
from appliance.pair.settings import GroupTable, group_of
from appliance.pair.streams import Streams
from appliance.pair.timeline import Timeline
from appliance.pair.vrrp import Connect, Vrrp
from appliance.pair.vrrp_fifo import Transition
from appliance.pair.watch import Use, Watch
from appliance.sessions.gadgets import Gadgets
from appliance.sessions.manager import Sessions
from appliance.sessions.shadow.plan import Found

log = logging.getLogger(__name__)

Json = dict[str, Any]

LEADING: Final = (Role.MASTER, Role.YIELDING)
MOVES: Final = (m.Wish.SWITCHOVER, m.Wish.FAIL_BACK)
SILENCE_SECONDS: Final = 1.0
"""Without the control link, until what waits for the sibling's acknowledgements does not any longer."""
ORDER_SECONDS: Final = 30.0
HANDING_OVER_SECONDS: Final = 10.0
GATE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Means:
    """What groups are carried with."""

    gadgets: Gadgets
    sessions: Sessions
    helper: Helper
    gate: Path
    keeper: Connect
    events: Events
    devices: Callable[[], Container[str | None]]
    """The busids on our bus."""
    find: Callable[[str], Found | None]
    """The device that is here under this name, ready for a session."""
    runtime: Path
    state: Path
    """A file that remembers the newest standing of each group."""


class Carried:
    """One group; the `Surroundings` of its runner, and the `Facts` of the watch over its health."""

    def __init__(
        self, table: GroupTable, pair: Pair, means: Means, report: Callable[[str, int], None]
    ) -> None:
        assert pair.link
        assert pair.streams
        self.table, self.pair, self.means, self.report = table, pair, means, report
        self.takeovers = group_told.Takeovers()
        self.standing = known(means.state).get(table.name, Standing())
        self.gateway = Gateway(str(table.address.ip), means.gate, means.helper)
        self.selector = open_selector(table.selector, table.name)
        self.exports = self._exports(pair.streams)
        node = Node(
            pair.identity.node, pair.link.sibling.node, group_of(table, {pair.identity.node: table.priority}),
            time.time_ns(), boottime(), self.standing, atomic=self.selector.atomic,
        )  # fmt: skip
        self.runner = Runner(node, self.selector, self.exports, self)
        self.watch = Watch(table, self, self._judged)
        self._sibling_hears = True
        self._unwritten = asyncio.Event()
        self._news = asyncio.Event()
        self._silence: object | None = None
        """The link's latest loss, while it lasts"""
        pair.hear(self._subject, self._hear, self._up, self._down)

    def _exports(self, streams: Streams) -> GadgetExports | DeviceExports:
        table, means, keys = self.table, self.means, self.pair.identity.directory
        if table.hub:
            return DeviceExports(
                means.sessions, means.runtime, self.gateway, streams, keys, table.takeover,
                lambda spec: self.carries(spec.name, spec.busid), means.find, self.give, self._say,
                self._timed,
            )  # fmt: skip
        return GadgetExports(
            table.exports, means.gadgets, means.sessions, self.gateway, streams, keys, self.give, self._say,
            self._timed,
        )  # fmt: skip

    def carries(self, export: str, busid: str) -> bool:
        """`busid` of the device that it is, empty for a gadget."""
        hub = self.table.hub
        return behind(hub, busid) if hub else not busid and export in self.table.exports

    @property
    def _subject(self) -> str:
        return f"group {self.table.name}"

    @property
    def leads(self) -> bool:
        return self.runner.node.role in LEADING

    async def run(self) -> None:
        try:
            await self._close_gate()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.watch.run())
                tasks.create_task(self.gateway.watch())
                tasks.create_task(self.runner.run())
                tasks.create_task(watch_feed(self.runner, self.exports))
                tasks.create_task(self._write())
        finally:
            await self.exports.close()
            await self.selector.close()
            self.gateway.hang_up()

    async def _close_gate(self) -> None:
        """As soon as there is one: nothing is carried without."""
        while True:
            try:
                return await self.gateway.close()
            except TwinhubError as error:
                log.error("group %s waits for the gate: %s", self.table.name, error)
                await asyncio.sleep(GATE_SECONDS)

    def give(self, given: m.Input) -> None:
        self.runner.give(given)

    async def order(self, wish: m.Wish) -> Json:
        """What an operator wants; returns when it is so. Refused where it cannot be, Timeout."""
        node, led = self.runner.node, self.leads
        is_done: Callable[[], bool] = {
            m.Wish.SWITCHOVER: lambda: self.leads is not led,
            m.Wish.FAIL_BACK: lambda: self.leads is not led,
            m.Wish.MAINTENANCE: lambda: node.role is Role.OUT,
            m.Wish.RESUME: lambda: node.role is not Role.OUT,
            m.Wish.TAKE: lambda: self.leads,
        }[wish]
        self.give(m.Order(wish))
        if wish in MOVES and not (node.wish or node.role is Role.YIELDING or is_done()):
            raise Refused(
                f"group {self.table.name} stays where it is: the backup is not in sync, or the order makes no"
                " sense here; 'twinhub pair status' says how it is"
            )
        try:
            async with asyncio.timeout(ORDER_SECONDS):
                while not is_done():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise Timeout(
                f"group {self.table.name} is {node.role.value} still; the log says what it waits for"
            ) from None
        return self.told()

    async def hand_over(self) -> None:
        """The daemon ends: a sibling in sync goes on, and what ran here is dead when this returns."""
        if not (self.leads and group_told.is_in_sync(self.runner.node)):
            return
        try:
            async with asyncio.timeout(HANDING_OVER_SECONDS):
                await self.order(m.Wish.SWITCHOVER)
                await self.runner.settled()
        except (TwinhubError, TimeoutError) as error:
            log.error("group %s is not handed over: %s", self.table.name, error or "it takes too long")

    # Surroundings

    def send(self, status: m.Status) -> None:
        with suppress(Unavailable):  # it is said again when the link is up
            self.pair.send(self._subject, {"status": status.to_wire(), "hears": self.watch.hears_any})

    def fault(self, fault: bool) -> None:
        self.report(self.table.name, FAULT if fault else FIT)

    def tell(self, event: m.Tell) -> None:
        log.info("group %s, epoch %d: %s %s", self.table.name, event.epoch, event.event, event.detail)
        self.means.events.tell(
            f"group.{event.event}", group=self.table.name, epoch=event.epoch, detail=event.detail
        )

    def changed(self) -> None:
        self._news.set()
        standing = self.runner.node.standing
        if standing != self.standing:
            self.standing = standing
            self._unwritten.set()

    async def _write(self) -> None:
        """What a disk takes its time for must not hold up a takeover. It is for when the selector forgets."""
        while True:
            await self._unwritten.wait()
            self._unwritten.clear()
            try:
                await asyncio.to_thread(remember, self.means.state, self.table.name, self.standing)
            except (OSError, TwinhubError) as error:
                log.error("group %s: its standing is not written down: %s", self.table.name, error)

    # Health

    def is_owner(self) -> bool:
        return self.standing.owner == self.pair.identity.node

    def devices(self) -> Container[str | None]:
        return self.means.devices()

    def sibling(self) -> Sibling:
        if not (self.pair.link and self.pair.link.is_up):
            return Sibling.SILENT
        return Sibling.SEES if self._sibling_hears else Sibling.BLIND

    async def failed(self) -> Mapping[Use, int]:
        sessions = self.means.sessions
        totals: dict[Use, int] = {}
        for spec in sessions.all():
            if self.carries(spec.name, spec.busid):
                with suppress(TwinhubError):  # it has just ended, or counts nothing
                    totals[Use(spec.name, spec.id)] = (await sessions.stats(spec.id)).get("errors", 0)
        return totals

    def _judged(self) -> None:
        causes = self.watch.health.causes
        self.give(m.Health(not causes, ", ".join(causes)))

    # The sibling

    def _say(self, said: Json) -> None:
        self.pair.send(self._subject, {"exports": said})

    def _hear(self, said: Json) -> None:
        match said:
            case {"status": dict(status)}:
                self._sibling_hears = said.get("hears") is not False
                self.give(m.Heard(m.Status.from_wire(status)))
            case {"exports": dict(exports)}:
                self.exports.heard(exports)

    def _up(self, _: Hello) -> None:
        self._silence = None
        self.give(m.PeerBack())

    def _down(self, _: str) -> None:
        self.give(m.PeerLost())
        mark = self._silence = object()
        asyncio.get_running_loop().call_later(SILENCE_SECONDS, self._give_up_streams, mark)

    def _give_up_streams(self, mark: object) -> None:
        """A sibling that lost its power hangs up nowhere: outputs would wait for TCP to notice."""
        node = self.runner.node
        if mark is self._silence and node.role in LEADING and node.feed:
            self.give(m.StreamsLost(node.feed))

    def _timed(self, timeline: Timeline) -> None:
        self.takeovers.add(timeline)
        log.info("group %s: %s", self.table.name, timeline.to_json())
        self.means.events.tell("group.takeover", group=self.table.name, **timeline.to_json())

    def told(self) -> Json:
        """For the API."""
        ours, link = self.pair.identity.node, self.pair.link
        theirs = {link.sibling.node: link.sibling.name} if link else {}
        return group_told.told(self, {ours: self.pair.name, **theirs})


class Groups:
    """All of this appliance's groups, from the moment it has a sibling."""

    def __init__(self, tables: tuple[GroupTable, ...], stall: float, pair: Pair, means: Means) -> None:
        self._tables, self._stall, self._pair, self._means = tables, stall, pair, means
        self._carried: dict[str, Carried] = {}
        self._vrrp: Vrrp | None = None
        self._sibling: NodeId | None = None
        self._another, self._begun = asyncio.Event(), asyncio.Event()
        pair.hear("groups", lambda _: None, lambda theirs: self._met(theirs.node))

    def of(self, export: str, busid: str = "") -> Carried | None:
        return next((each for each in self._carried.values() if each.carries(export, busid)), None)

    def find(self, name: str) -> Carried:
        try:
            return self._carried[name]
        except KeyError:
            names = ", ".join(self._carried) or "none"
            raise UsageError(f"no group {name!r}; this appliance carries {names}") from None

    def told(self) -> list[Json]:
        return [each.told() for each in self._carried.values()]

    def guards(self) -> Json:
        """Whether the root processes answer that groups need besides the helper."""
        return {"gate": answers(self._means.gate), "keeper": bool(self._vrrp and self._vrrp.is_up)}

    async def run(self) -> None:
        """Until cancelled: with whomever this appliance is paired. Exports are answered meanwhile, too."""
        if link := self._pair.link:
            self._met(link.sibling.node)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._talk())
            carrying: asyncio.Task[None] | None = None
            while True:
                await self._another.wait()
                self._another.clear()
                if carrying:
                    carrying.cancel()
                    await asyncio.wait([carrying])
                carrying = tasks.create_task(self._carry(), name="groups")

    async def _talk(self) -> None:
        """With keepalived, from the first sibling on."""
        await self._begun.wait()
        assert self._vrrp
        await self._vrrp.run()

    def _met(self, sibling: NodeId) -> None:
        if sibling != self._sibling:
            self._sibling = sibling
            self._another.set()

    async def _carry(self) -> None:
        """With this sibling, until cancelled."""
        assert self._pair.link
        host = self._pair.link.sibling.host
        instances = tuple(instance_of(table) for table in self._tables)
        configured = Configure(Link(own_address(host), host), instances, self._stall)
        if self._vrrp is None:
            self._vrrp = Vrrp(configured, self._transition, self._means.keeper)
            self._begun.set()
        self._vrrp.configure(configured)
        for table in self._tables:
            self._carried[table.name] = Carried(table, self._pair, self._means, self._vrrp.report)
        if self._pair.link.is_up:
            for carried in self._carried.values():
                carried.give(m.PeerBack())
        async with asyncio.TaskGroup() as tasks:
            for carried in self._carried.values():
                tasks.create_task(carried.run())

    def _transition(self, transition: Transition) -> None:
        if carried := self._carried.get(transition.group):
            carried.give(m.Vrrp(transition.state.value))

    async def hand_over(self) -> None:
        """Before the daemon ends for good, and as long as `run` runs."""
        await asyncio.gather(*(each.hand_over() for each in self._carried.values()))

    def give_up(self) -> None:
        """The daemon ends for good."""
        if self._vrrp:
            self._vrrp.give_up()


def own_address(sibling: str) -> str:
    """From which this machine talks to the sibling."""
    family = socket.AF_INET6 if ":" in sibling else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((sibling, 9))
        except OSError as error:
            raise Unavailable(f"there is no way to the sibling at {sibling}: {error.strerror}") from error
        return str(probe.getsockname()[0])
