"""`Faulty`: a device around a device, in which things go wrong as planned.

A transfer passes the faults twice, in their order: as a request, before the device has it, and as an answer,
before the host has it. All chance comes of the seed and all time of ticks, so what went wrong goes wrong the
same way again. While no fault is armed, a transfer costs one comparison more than without this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, Final

from appliance.errors import TwinhubError, UsageError
from gadgets.faults.answers import answered
from gadgets.faults.armed import Armed
from gadgets.faults.cable import Cable, Plugged, Replug, Unplugged
from gadgets.faults.catalogue import AddFault, AnyFault, RemoveFault
from gadgets.faults.events import FaultFailed, FaultFired
from gadgets.faults.fault import Deed, is_standard_in
from gadgets.faults.plan import Plan, kind_of
from gadgets.faults.waiting import Waiting, plain_urb, urb_of
from gadgets.usb.around import Around
from gadgets.usb.device import MAX_EVENTS, BusEvent, Device, Told
from gadgets.usb.inputs import read_input
from gadgets.usb.shape import DescriptorType
from gadgets.usb.strings import emit_string
from gadgets.usb.urb import Completion, SetupPacket, Status, Urb

OWN: Final = -1
"""The number of transfers that no host submitted. Hosts' numbers are from 0 on."""
MAX_LOST: Final = 1000
"""Answers that may be lost during one input; a transfer that loses more gets none at all."""
MAX_COPIES: Final = 16
MAX_SAID: Final = 16
"""Messages of our own that may wait for an IN transfer, per endpoint."""
_GONE: Final = (Status.SHUTDOWN, Status.NODEV)


class Faulty(Around):
    """Its own inputs are AddFault, RemoveFault and Replug; all others are the inner device's."""

    def __init__(self, device: Device, faults: Iterable[AnyFault] = (), seed: int = 0) -> None:
        super().__init__(device)
        self._plan = Plan(seed)
        self._flying: dict[int, Urb] = {}
        self._waiting = Waiting()
        self._cable = Cable()
        self._said: dict[int, deque[bytes]] = {}
        self._copies = 0
        self._events: deque[Told] = deque(maxlen=MAX_EVENTS)
        self._work: deque[Completion] = deque()
        self._to_say: deque[tuple[int, bytes]] = deque()
        self._out: list[Completion] = []
        self._lost = 0
        self._acting: Armed
        self._hold: int | None = 0
        self._delay = self._pace = 0
        for fault in faults:
            self._add(fault)
        self._look()

    # Facts

    @property
    def inputs(self) -> tuple[type, ...]:
        return (*self.device.inputs, AddFault, RemoveFault, Replug)

    @property
    def plugged(self) -> bool:
        """False: a fault pulled it out, and no host may have it."""
        return self._cable.plugged

    def string(self, index: int) -> str:
        if self._cable.serial and index == self.device_descriptor.serial_index:
            return self._cable.serial
        return self.device.string(index)

    def faults(self) -> list[dict[str, Any]]:
        """All that were added: what was said of each, as plain values, how often it fired, if it is over."""
        return self._plan.describe()

    # Inputs

    def submit(self, urb: Urb) -> list[Completion]:
        if self._quiet:
            done = self.device.submit(urb)
            if len(done) == 1 and done[0].number == urb.number:
                return done
            self._flying[urb.number] = urb
            for each in done:
                self._flying.pop(each.number, None)
            return done
        self._request(urb)
        return self._finish()

    def unlink(self, number: int) -> bool:
        if self._waiting.unlink(number):
            return True
        in_flight = self.device.unlink(number)
        if in_flight:
            self._flying.pop(number, None)
        return in_flight

    def bus(self, event: BusEvent) -> list[Completion]:
        if not self._cable.plugged:
            return []
        if event in (BusEvent.ATTACH, BusEvent.RESET):
            self._plan.at_reset()
        if event is BusEvent.ATTACH:
            self._plan.at_attach()
            self._waiting.clear()
            self._flying.clear()
            self._copies = 0
        if event in (BusEvent.ATTACH, BusEvent.RESET, BusEvent.DETACH):
            self._said.clear()
            self._sweep()
        self._work += self.device.bus(event)
        return self._finish()

    def local(self, input: object) -> list[Completion]:
        if isinstance(input, AddFault):
            self._add(input.fault)
        elif isinstance(input, RemoveFault):
            self._plan.remove(input.name)
        elif isinstance(input, Replug):
            if self._cable.plugged:
                raise UsageError("the device is plugged in already")
            self._cable.replug()
            self._tell(Plugged(self._cable.serial))
        else:
            self._work += self.device.local(input)
        return self._finish()

    def tick(self, now_ns: int) -> list[Completion]:
        self._work += self.device.tick(now_ns)
        for armed in self._plan.ticked(now_ns):
            self._tell_fired(armed, None)
            if isinstance(armed.fault, Deed):
                armed.fault.do(self)
        if self._cable.tick(now_ns):
            self._plugging()
        for held in self._waiting.released(now_ns):
            if held.front:
                self._pass(held.front)
            for urb in held.behind:
                self._request(urb)
        self._out += self._waiting.arrived(now_ns)
        return self._finish()

    @property
    def wake_at(self) -> int | None:
        inner = self.device.wake_at
        if self._quiet:
            return inner
        mine = chain(self._plan.wakes(), self._waiting.wakes())
        both = chain(mine, (at for at in (inner, self._cable.wake_at) if at is not None))
        return min(both, default=None)

    def take_events(self) -> list[Told]:
        later = self.device.take_events()
        if not self._events:
            return later
        events = [*self._events, *later]
        self._events.clear()
        return events

    # Beside the way of a transfer

    def _add(self, fault: AnyFault) -> None:
        fault.check(self.device)
        self._plan.add(fault)

    def _tell_fired(self, armed: Armed, urb: Urb | None) -> None:
        self._acting = armed
        number, endpoint = (urb.number, urb.endpoint) if urb else (None, None)
        self._tell(FaultFired(armed.name, kind_of(armed.fault), armed.fired, number, endpoint))

    def _tell(self, event: object) -> None:
        self._events += self.device.take_events()
        self._events.append(Told("", event))

    def _look(self) -> None:
        """`_quiet`: there is nothing to do but to pass on."""
        self._quiet = (
            self._plan.over
            and not self._waiting
            and not self._said
            and not self._copies
            and self._cable == Cable()
        )

    # The way of a transfer

    def _request(self, urb: Urb) -> None:
        if not self._cable.plugged:
            self._out.append(Completion(urb.number, Status.NODEV, packets=urb.packets))
            return
        if self._waiting.stands_behind(urb):
            return
        if urb.setup:
            self._plan.at_request(urb.setup)
        said = self._said.get(urb.endpoint)
        if said:
            self._deliver(urb, answered(urb, said.popleft()))
            if not said:
                del self._said[urb.endpoint]
            return
        self._hold = 0
        for armed in self._plan.requests:
            if self._plan.fires(armed, urb):
                self._tell_fired(armed, urb)
                going = armed.fault.on_request(urb, self)
                if isinstance(going, Completion):
                    self._deliver(urb, going)
                    return
                urb = going
        if self._hold == 0 or not self._cable.plugged:
            self._pass(urb)
        else:
            self._waiting.hold(urb, self._hold)

    def _pass(self, urb: Urb) -> None:
        self._flying[urb.number] = urb
        self._work += self.device.submit(urb)

    def _answer(self, urb: Urb, done: Completion) -> None:
        done = self._renamed(urb, done)
        for armed in self._plan.answers if done.status not in _GONE else ():
            if self._plan.fires(armed, urb, done):
                self._tell_fired(armed, urb)
                coming = armed.fault.on_answer(urb, done, self)
                if coming is None:
                    self._delay = self._pace = 0
                    return
                done = coming
        self._deliver(urb, done)

    def _deliver(self, urb: Urb, done: Completion) -> None:
        if self._delay or self._pace or urb.endpoint in self._waiting.late:
            self._waiting.delay(urb, done, self._delay, self._pace)
            self._delay = self._pace = 0
        else:
            self._out.append(done)

    def _finish(self) -> list[Completion]:
        """Let everything come to its end; what completed, in order."""
        while self._work or self._to_say:
            if not self._work:
                self._say_now(*self._to_say.popleft())
                continue
            done = self._work.popleft()
            urb = self._flying.pop(done.number, None)
            if done.number == OWN:
                self._copies -= 1
            elif urb is None:
                self._out.append(done)
            else:
                self._answer(urb, done)
        self._lost = 0
        self._look()
        out, self._out = self._out, []
        return out

    def _say_now(self, endpoint: int, data: bytes) -> None:
        """To the first transfer that waits at the endpoint, or to the next that comes."""
        for urb in self._flying.values():
            if urb.endpoint == endpoint and self.device.unlink(urb.number):
                del self._flying[urb.number]
                self._deliver(urb, answered(urb, data))
                return
        self._said.setdefault(endpoint, deque(maxlen=MAX_SAID)).append(data)

    def _renamed(self, urb: Urb, done: Completion) -> Completion:
        """Another serial number, where a fault gave one."""
        setup, index = urb.setup, self.device_descriptor.serial_index
        if not self._cable.serial or setup is None or not is_standard_in(setup, 0x06):
            return done
        if setup.value != DescriptorType.STRING << 8 | index or done.status != Status.OK:
            return done
        return answered(urb, emit_string(self._cable.serial)[: setup.length])

    def _sweep(self) -> None:
        """The session is over: what waits completes."""
        self._out += [Completion(u.number, Status.SHUTDOWN, packets=u.packets) for u in self._waiting.clear()]

    def _plugging(self) -> None:
        if self._cable.plugged:
            self._tell(Plugged(self._cable.serial))
            return
        self._tell(Unplugged())
        self._said.clear()
        self._sweep()
        self._work += self.device.bus(BusEvent.DETACH)

    # Hands: what a fault may do

    def draw(self, below: int) -> int:
        return self._acting.draw(self._plan.seed, below)

    def hold(self, ns: int | None) -> None:
        self._hold = ns

    def delay(self, ns: int) -> None:
        self._delay += ns

    def pace(self, ns: int) -> None:
        self._pace += ns

    def again(self, urb: Urb) -> None:
        self._lost += 1
        if self._lost > MAX_LOST:
            self.silence(urb)
        else:
            self._pass(urb)

    def silence(self, urb: Urb) -> None:
        self._waiting.silent[urb.number] = urb

    def repeat(self, urb: Urb) -> None:
        if self._copies < MAX_COPIES:
            self._copies += 1
            self._work += self.device.submit(replace(urb, number=OWN))

    def halt(self, endpoint: int) -> None:
        self.request(SetupPacket(0x02, 0x03, 0, endpoint))

    def request(self, setup: SetupPacket) -> None:
        self._copies += 1
        self._work += self.device.submit(Urb(OWN, setup.request_type & 0x80, setup.length, setup=setup))

    def say(self, endpoint: int, data: bytes) -> None:
        self._to_say.append((endpoint, data))

    def unplug(self, times: int, down_ns: int | None, up_ns: int, serial: str) -> None:
        if self._cable.plugged:
            self._cable.pull(times, down_ns, up_ns, serial)
            self._plugging()

    def give(self, input: object) -> None:
        try:
            self._work += self.device.local(read_input(self.device.inputs, input))
        except TwinhubError as error:
            self._tell(FaultFailed(self._acting.name, str(error)))

    # Written down

    def snapshot(self) -> dict[str, Any]:
        return {
            "device": self.device.snapshot(),
            "plan": self._plan.snapshot(),
            "flying": [plain_urb(urb) for urb in self._flying.values()],
            "waiting": self._waiting.snapshot(),
            "cable": self._cable.snapshot(),
            "said": [[endpoint, list(queue)] for endpoint, queue in self._said.items()],
            "copies": self._copies,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.device.restore(state["device"])
        self._plan.restore(state["plan"])
        self._flying = {urb.number: urb for urb in map(urb_of, state["flying"])}
        self._waiting.restore(state["waiting"])
        self._cable.restore(state["cable"])
        self._said = {endpoint: deque(queue, MAX_SAID) for endpoint, queue in state["said"]}
        self._copies = state["copies"]
        self._events.clear()
        self._look()
