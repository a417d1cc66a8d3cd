"""The exports of the explored appliances: an abstract data plane, and the judge of what it sends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from appliance.pair import messages as m
from appliance.pair.knowing import FREE
from appliance.pair.model import Gate, Group, Role, Standing, Timers
from appliance.pair.node import LEADING, Node
from appliance.pair.selector.register import Op, Register, Request

TIMERS: Final = Timers(lease=8, renew=2, retry=1, look=4, beat=3, doubt=3, patience=12, hold=20, settle=1)
SELECTOR_LEASE: Final = 10
NODES: Final = ("A", "B")
WINDOW: Final = 2
"""Requests that the client has in flight."""

Move: TypeAlias = tuple[Any, ...]


def other(name: str) -> str:
    return "B" if name == "A" else "A"


@dataclass(slots=True)
class Machine:
    """One appliance: its node, and an abstract data plane that does what the node wants, in order, later."""

    name: str
    node: Node | None = None
    boots: int = 0
    known: Standing = FREE
    paused: bool = False
    fault: bool = True
    # the data plane
    ops: tuple[m.Output, ...] = ()
    log: tuple[int, ...] = ()  # it outlives a crash
    leads: bool = False
    gate: Gate = Gate.STOP
    until: int = 0
    frozen: bool = False
    quiesced: bool = True
    feed: int = 0  # given or followed
    closed: int = 0  # the last feed that it let go of
    acked: int = -1  # of a feeding master
    delivered: int = -1  # and what of its log the sibling has
    level: bool = True  # nothing about CaughtUp is left to be told
    wait_for: int = -1  # a follower's: the length of the log that makes it caught up

    @property
    def runs(self) -> bool:
        return self.node is not None and not self.paused


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way to the selector, or an answer on its way back."""

    number: int
    node: str
    request: Request
    answer: m.Input | None = None


@dataclass(slots=True)
class Stage:
    """What there is, and what the exports do; `World` adds what goes between."""

    group: Group = field(default_factory=lambda: Group("g", priorities={"A": 150}, timers=TIMERS))
    make: type[Node] = Node
    now: int = 0
    machines: dict[str, Machine] = field(default_factory=lambda: {n: Machine(n) for n in NODES})
    register: Register = field(default_factory=Register)
    cuts: frozenset[tuple[str, str]] = frozenset()
    selector_up: bool = True
    mail: tuple[tuple[str, m.Status], ...] = ()
    asks: tuple[Asked, ...] = ()
    numbers: int = 0
    waiting: dict[str, int] = field(default_factory=dict)  # the number of the ask that each node waits for
    records: int = 0
    received: int = 0
    emitted: tuple[int, ...] = ()
    owners: dict[int, str] = field(default_factory=dict)
    broken: str = ""

    def give(self, name: str, given: m.Input) -> None:
        raise NotImplementedError

    def open(self, *ways: str) -> bool:
        """Ways such as "AB": from A to B."""
        return not any((way[0], way[1]) in self.cuts for way in ways)

    def joined(self) -> bool:
        return all(machine.runs for machine in self.machines.values()) and self.open("AB", "BA")

    def _reaches(self, machine: Machine) -> bool:
        return self.open("C" + machine.name, machine.name + "C")

    def _may_emit(self, machine: Machine) -> bool:
        if len(machine.log) <= self.received:
            return False
        if machine.gate is Gate.FLOW:
            return self.now < machine.until
        return machine.gate is Gate.WAIT and machine.acked > self.received

    def _stream_moves(self, machine: Machine) -> Iterator[Move]:
        name, sibling = machine.name, self.machines[other(machine.name)]
        whole = self.joined() and sibling.feed == machine.feed
        early = sibling.feed < machine.feed != sibling.closed
        if not whole and not (self.joined() and early):
            yield ("broke", name)
        if machine.leads:
            if whole and machine.delivered < len(machine.log):
                yield ("deliver", name)
            if machine.acked < machine.delivered:
                yield ("ack", name)
        there = machine.acked if machine.leads else machine.wait_for
        if (
            not machine.level
            and 0 <= there <= len(machine.log)
            and (there == len(machine.log) or not machine.leads)
        ):
            yield ("level", name)

    def _do(self, name: str) -> None:
        machine = self.machines[name]
        op, *rest = machine.ops
        machine.ops = tuple(rest)
        match op:
            case m.Protect():
                machine.gate = Gate.WAIT
                self.give(name, m.Protected())
            case m.Sole(until):
                machine.gate, machine.until = Gate.FLOW, until
            case m.Stop():
                machine.gate = Gate.STOP
            case m.Feed(_, feed):
                self._close(machine)
                machine.feed, machine.acked, machine.delivered, machine.level = feed, -1, -1, False
            case m.Follow(_, feed):
                self._close(machine)
                machine.feed, machine.level, machine.wait_for = feed, False, -1
            case m.Promote():
                self._close(machine)
                machine.leads, machine.frozen, machine.gate = True, False, Gate.STOP
                self._judge_contents(machine)
                self.give(name, m.Promoted())
            case m.Demote():
                self._close(machine)
                machine.leads, machine.frozen, machine.gate = False, False, Gate.STOP
                machine.quiesced = True
            case m.Freeze():
                machine.frozen, machine.quiesced = True, False
            case m.Thaw():
                machine.frozen, machine.quiesced = False, True
            case _:
                raise AssertionError(op)

    def _quiesced(self, name: str) -> None:
        self.machines[name].quiesced = True
        self.give(name, m.Quiesced())

    def _close(self, machine: Machine) -> None:
        machine.closed, machine.feed, machine.level = machine.feed or machine.closed, 0, True

    def _broke(self, name: str) -> None:
        machine = self.machines[name]
        feed = machine.feed
        self._close(machine)
        self.give(name, m.StreamsLost(feed))

    def _deliver(self, name: str) -> None:
        machine, sibling = self.machines[name], self.machines[other(name)]
        sibling.log = machine.log
        machine.delivered = len(machine.log)

    def _ack(self, name: str) -> None:
        self.machines[name].acked = self.machines[name].delivered

    def _level(self, name: str) -> None:
        machine, sibling = self.machines[name], self.machines[other(name)]
        machine.level = True
        if machine.leads and sibling.feed == machine.feed:
            sibling.wait_for = len(machine.log)
        self.give(name, m.CaughtUp(machine.feed))

    def _take(self, name: str) -> None:
        self.records += 1
        self.machines[name].log += (self.records,)

    def _emit(self, name: str) -> None:
        machine = self.machines[name]
        record = machine.log[self.received]
        there = self.register.standing
        if machine.gate is Gate.FLOW and there.owner != name:
            self.broken = f"{name} answers alone, but {there} stands"
        if machine.gate is Gate.FLOW and there.heir is not None:
            self.broken = f"{name} answers alone, and {there.heir} may take over"
        if machine.gate is Gate.WAIT and record not in self.machines[other(name)].log:
            self.broken = f"{name} answers what {other(name)} does not have"
        if len(self.emitted) > self.received:
            if self.emitted[self.received] != record:
                self.broken = "two answers to one request"
        else:
            self.emitted = (*self.emitted, record)
        if self._reaches(machine):
            self.received += 1

    # The judge

    def _judge_owner(self, node: Node) -> None:
        there = node.standing
        leads = node.role in LEADING and there.owner == node.me
        if leads and self.owners.setdefault(there.epoch, node.me) != node.me:
            self.broken = f"both own epoch {there.epoch}"

    def _judge_claim(self, request: Request) -> None:
        node = self.machines[request.node].node if request.op is Op.CLAIM else None
        if node and node.role is Role.JOINING:
            self.broken = f"{node.me} becomes owner while it is brought in sync"

    def _judge_contents(self, machine: Machine) -> None:
        if self.group.serve_stale:  # its clients begin anew, with what there is
            self.emitted, self.received = machine.log, len(machine.log)
        if machine.log[: len(self.emitted)] != self.emitted:
            self.broken = f"{machine.name} leads without an acknowledged write"
