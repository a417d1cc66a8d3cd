"""Two appliances, a selector, a client, and a network that loses, delays, doubles, reorders and cuts one way.

Everything that may happen next is a move; whoever explores picks one. A record is a client's request as its
master logged it, a fresh number each time, so that two answers to one request never look alike. The judge is
in here: `World.broken` is a sentence as soon as an invariant does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace

from appliance.pair import messages as m
from appliance.pair.selector.register import Op, Refused, Request, apply
from tests.unit.pair.explore_stage import NODES, SELECTOR_LEASE, WINDOW, Asked, Machine, Move, Stage, other


@dataclass(slots=True)
class World(Stage):
    def clone(self) -> World:
        twin = copy(self)
        twin.machines = {name: copy(machine) for name, machine in self.machines.items()}
        for machine in twin.machines.values():
            machine.node = copy(machine.node)
        twin.waiting, twin.owners = dict(self.waiting), dict(self.owners)
        return twin

    # What may happen

    def moves(self) -> Iterator[Move]:
        """All that goes its way by itself; faults are `apply`'s too, but nobody needs to do them."""
        yield ("time",)
        for i, (to, _) in enumerate(self.mail):
            if self.machines[to].runs:
                yield ("mail", i)
        for i, asked in enumerate(self.asks):
            if asked.answer is None:
                if self.selector_up:
                    yield ("land", i)
            elif self.machines[asked.node].runs:
                yield ("answer", i)
        for name, machine in self.machines.items():
            if not machine.runs:
                continue
            node = machine.node
            assert node
            if machine.ops:
                yield ("do", name)
            if node.linked is not self.joined():
                yield ("link", name)
            if node.vrrp is not self._is_elected(name):
                yield ("vrrp", name)
            if machine.feed:
                yield from self._stream_moves(machine)
            if machine.leads:
                open_to_more = not machine.frozen and len(machine.log) < self.received + WINDOW
                if open_to_more and self._reaches(machine):
                    yield ("take", name)
                if self._may_emit(machine):
                    yield ("emit", name)
            if not machine.quiesced and machine.acked >= len(machine.log):
                yield ("quiesced", name)

    def late_moves(self) -> Iterator[Move]:
        """What happens when something was lost or late."""
        for i in range(len(self.mail)):
            yield ("drop", i)
            yield ("double", i)
        for i in range(len(self.asks)):
            yield ("forget_ask", i)
            yield ("double_ask", i)
        for name in self.waiting:
            if self.machines[name].runs:
                yield ("timeout", name)

    def _is_elected(self, name: str) -> bool:
        """What keepalived makes of the advertisements that it hears, without preemption."""
        machine, sibling = self.machines[name], self.machines[other(name)]
        advertises = sibling.runs and not sibling.fault and sibling.node is not None and sibling.node.vrrp
        if machine.fault or not advertises or not self.open(other(name) + name):
            return not machine.fault
        return name == "A" and machine.node is not None and machine.node.vrrp

    # What happens

    def apply(self, move: Move) -> World:
        kind, *rest = move
        getattr(self, f"_{kind}")(*rest)
        return self

    def give(self, name: str, given: m.Input) -> None:
        machine = self.machines[name]
        if not machine.runs or machine.node is None:
            return
        for output in [*machine.node.on(m.Tick(self.now)), *machine.node.on(given)]:
            self._want(machine, output)
        machine.known = machine.node.standing
        self._judge_owner(machine.node)

    def _want(self, machine: Machine, output: m.Output) -> None:
        match output:
            case m.Send(status):
                if self.open(machine.name + other(machine.name)):
                    self.mail = (*self.mail[-3:], (other(machine.name), status))
            case m.Claim() | m.Renew() | m.Release() | m.Look():
                self._dispatch(machine.name, output)
            case m.Fault(fault):
                machine.fault = fault
            case m.Tell():
                pass
            case _:
                machine.ops = (*machine.ops, output)

    def _dispatch(self, name: str, ask: m.Ask) -> None:
        match ask:
            case m.Claim(epoch, heir):
                request = Request(Op.CLAIM, name, epoch, heir)
            case m.Renew(epoch):
                request = Request(Op.RENEW, name, epoch)
            case m.Release(epoch):
                request = Request(Op.RELEASE, name, epoch)
            case _:
                request = Request(Op.LOOK)
        if name in self.waiting:
            self.broken = f"{name} asks twice at once"
        self.numbers += 1
        self.waiting[name] = self.numbers
        if self.open(name + "S"):
            self.asks = (*self.asks[-3:], Asked(self.numbers, name, request))

    def _land(self, i: int) -> None:
        asked = self.asks[i]
        op = asked.request.op
        answer: m.Input
        try:
            self.register = apply(self.register, asked.request, self.now, SELECTOR_LEASE)
            there = self.register.standing
            self._judge_claim(asked.request)
            answer = {Op.LOOK: m.Looked(there), Op.RENEW: m.Renewed()}.get(op, m.Granted(there))
        except Refused as refused:
            answer = m.Refused(refused.standing)
        back = (replace(asked, answer=answer),) if self.open("S" + asked.node) else ()
        self.asks = (*self.asks[:i], *back, *self.asks[i + 1 :])

    def _answer(self, i: int) -> None:
        asked = self.asks[i]
        self._forget_ask(i)
        if self.waiting.get(asked.node) == asked.number:
            del self.waiting[asked.node]
            assert asked.answer
            self.give(asked.node, asked.answer)

    def _forget_ask(self, i: int) -> None:
        self.asks = (*self.asks[:i], *self.asks[i + 1 :])

    def _double_ask(self, i: int) -> None:
        if len(self.asks) < 4:
            self.asks = (*self.asks, self.asks[i])

    def _timeout(self, name: str) -> None:
        del self.waiting[name]
        self.give(name, m.SelectorSilent())

    def _time(self, step: int = 1) -> None:
        self.now += step
        for name in NODES:
            self.give(name, m.Tick(self.now))

    def _mail(self, i: int) -> None:
        to, status = self.mail[i]
        self._drop(i)
        self.give(to, m.Heard(status))

    def _drop(self, i: int) -> None:
        self.mail = (*self.mail[:i], *self.mail[i + 1 :])

    def _double(self, i: int) -> None:
        to, status = self.mail[i]
        self.give(to, m.Heard(status))

    def _link(self, name: str) -> None:
        self.give(name, m.PeerBack() if self.joined() else m.PeerLost())

    def _vrrp(self, name: str) -> None:
        self.give(name, m.Vrrp("MASTER" if self._is_elected(name) else "BACKUP"))

    def _health(self, name: str, ok: bool) -> None:
        self.give(name, m.Health(ok))

    def _order(self, name: str, wish: m.Wish) -> None:
        self.give(name, m.Order(wish))

    # Faults

    def _cut(self, way: str) -> None:
        self.cuts |= {(way[0], way[1])}

    def _mend(self, way: str) -> None:
        self.cuts -= {(way[0], way[1])}

    def _mend_all(self) -> None:
        self.cuts = frozenset()

    def _selector(self, up: bool) -> None:
        self.selector_up = up

    def _flap(self, name: str) -> None:
        """The control link breaks for a moment, and only one side is told."""
        self.give(name, m.PeerLost())

    def _rip(self, name: str) -> None:
        """The streams break, as this side sees it."""
        if self.machines[name].feed:
            self._broke(name)

    def _crash(self, name: str) -> None:
        old = self.machines[name]
        self._close(old)
        self.machines[name] = Machine(name, boots=old.boots, known=old.known, log=old.log, closed=old.closed)
        self.waiting.pop(name, None)

    def _start(self, name: str) -> None:
        machine = self.machines[name]
        machine.boots += 1
        machine.node = self.make(name, other(name), self.group, 1000 * machine.boots, self.now, machine.known)
        self.give(name, m.Tick(self.now))

    def _pause(self, name: str) -> None:
        self.machines[name].paused = True

    def _resume(self, name: str) -> None:
        self.machines[name].paused = False
