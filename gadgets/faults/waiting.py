"""Transfers that a fault keeps: held back before the device gets them, or late with their answer.

Per endpoint, transfers go and answers come in order. What is unlinked is forgotten. Time comes by `tick`
only: whatever begins to wait learns when it began from the next one, so that asks for one at once. Only what
is in flight at the host waits here, and its driver bounds that (appliance/usbip/stream.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gadgets.usb.urb import Completion, IsoPacket, SetupPacket, Urb


@dataclass(slots=True)
class Held:
    """The transfer at the front of an endpoint that NAKs; those behind it. `ns` None: until unlinked."""

    front: Urb | None
    ns: int | None
    due: int | None = None
    behind: deque[Urb] = field(default_factory=deque)


@dataclass(slots=True)
class Late:
    """An answer that comes `delay` after it was there and `pace` after the one before it."""

    urb: Urb
    done: Completion
    delay: int
    pace: int
    due: int | None = None


class Waiting:
    def __init__(self) -> None:
        self.held: dict[int, Held] = {}
        self.late: dict[int, deque[Late]] = {}
        self.silent: dict[int, Urb] = {}
        """by number: those that never complete"""
        self._last: dict[int, int] = {}
        """endpoint → when its last late answer came"""

    def __bool__(self) -> bool:
        return bool(self.held or self.late or self.silent)

    def hold(self, urb: Urb, ns: int | None) -> None:
        self.held[pipe_of(urb)] = Held(urb, ns)

    def stands_behind(self, urb: Urb) -> bool:
        """Its endpoint is held: it waits with the others."""
        held = self.held.get(pipe_of(urb))
        if held:
            held.behind.append(urb)
        return held is not None

    def delay(self, urb: Urb, done: Completion, delay: int, pace: int) -> None:
        self.late.setdefault(urb.endpoint, deque()).append(Late(urb, done, delay, pace))

    def unlink(self, number: int) -> bool:
        """True if it was here. What waited behind it goes on at the next tick."""
        if self.silent.pop(number, None):
            return True
        for held in self.held.values():
            if held.front and held.front.number == number:
                held.front, held.ns, held.due = None, 0, None
                return True
            for urb in held.behind:
                if urb.number == number:
                    held.behind.remove(urb)
                    return True
        for queue in self.late.values():
            for late in queue:
                if late.urb.number == number:
                    queue.remove(late)
                    return True
        return False

    def clear(self) -> list[Urb]:
        """Everything goes; what waited, in order of arrival at each endpoint."""
        gone = [late.urb for queue in self.late.values() for late in queue]
        gone += self.silent.values()
        for held in self.held.values():
            gone += [held.front] if held.front else []
            gone += held.behind
        self.held, self.late, self.silent, self._last = {}, {}, {}, {}
        return gone

    def released(self, now_ns: int) -> list[Held]:
        """The endpoints that may go on."""
        for held in self.held.values():
            if held.ns is not None and held.due is None:
                held.due = now_ns + held.ns
        free = [at for at, held in self.held.items() if held.due is not None and held.due <= now_ns]
        return [self.held.pop(at) for at in free]

    def arrived(self, now_ns: int) -> Iterator[Completion]:
        """The late answers whose time has come."""
        for endpoint, queue in list(self.late.items()):
            for late in queue:
                if late.due is None:
                    late.due = max(now_ns + late.delay, self._last.get(endpoint, 0)) + late.pace
                    self._last[endpoint] = late.due
            while queue and queue[0].due is not None and queue[0].due <= now_ns:
                yield queue.popleft().done
            if not queue:
                del self.late[endpoint]

    def wakes(self) -> Iterator[int]:
        for held in self.held.values():
            if held.ns is not None:
                yield held.due or 0
        for queue in self.late.values():
            yield 0 if any(late.due is None for late in queue) else min(late.due or 0 for late in queue)

    # Written down

    def snapshot(self) -> dict[str, Any]:
        return {
            "held": [
                [plain_urb(h.front) if h.front else None, h.ns, h.due, at, [plain_urb(u) for u in h.behind]]
                for at, h in self.held.items()
            ],
            "late": [
                [plain_urb(late.urb), plain_completion(late.done), late.delay, late.pace, late.due]
                for queue in self.late.values()
                for late in queue
            ],
            "silent": [plain_urb(urb) for urb in self.silent.values()],
            "last": [[endpoint, at] for endpoint, at in self._last.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.clear()
        for front, ns, due, at, behind in state["held"]:
            self.held[at] = Held(front and urb_of(front), ns, due, deque(map(urb_of, behind)))
        for urb, done, delay, pace, due in state["late"]:
            late = Late(urb_of(urb), completion_of(done), delay, pace, due)
            self.late.setdefault(late.urb.endpoint, deque()).append(late)
        self.silent = {urb.number: urb for urb in map(urb_of, state["silent"])}
        self._last = dict(state["last"])


def pipe_of(urb: Urb) -> int:
    """Its endpoint; 0 is the control pipe, of both directions."""
    return urb.endpoint if urb.endpoint & 0x7F else 0


def plain_urb(urb: Urb) -> list[Any]:
    setup = urb.setup.emit() if urb.setup else None
    packets = plain_packets(urb.packets)
    return [urb.number, urb.endpoint, urb.length, urb.data, setup, urb.flags, packets, urb.interval,
            urb.start_frame]  # fmt: skip


def urb_of(plain: list[Any]) -> Urb:
    number, endpoint, length, data, setup, flags, packets, interval, start_frame = plain
    packet = SetupPacket.parse(setup) if setup is not None else None
    return Urb(number, endpoint, length, data, packet, flags, packets_of(packets), interval, start_frame)


def plain_completion(done: Completion) -> list[Any]:
    return [done.number, int(done.status), done.actual_length, done.data, plain_packets(done.packets),
            done.start_frame, done.error_count]  # fmt: skip


def completion_of(plain: list[Any]) -> Completion:
    number, status, actual_length, data, packets, start_frame, error_count = plain
    return Completion(number, status, actual_length, data, packets_of(packets), start_frame, error_count)


def plain_packets(packets: tuple[IsoPacket, ...]) -> list[list[int]]:
    return [[p.offset, p.length, p.actual_length, int(p.status)] for p in packets]


def packets_of(plain: list[list[int]]) -> tuple[IsoPacket, ...]:
    return tuple(IsoPacket(*packet) for packet in plain)
