"""A fault in use: its counters, and whether its time has come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gadgets.faults.catalogue import AnyFault
from gadgets.faults.chance import SCALE, draw
from gadgets.faults.fault import Deed, Until, nanoseconds
from gadgets.usb.urb import SetupPacket, Urb

_BEFORE, _WITHIN, _PAST = 0, 1, 2

_RESETS: Final = ((0x00, 0x09, None), (0x23, 0x03, 4), (0x21, 0xFF, None))
"""(bmRequestType, bRequest, wValue) of SET_CONFIGURATION, SET_PORT_FEATURE(RESET), Bulk-Only Reset."""


@dataclass(slots=True)
class Armed:
    """`hits`: transfers that fitted. `draws`: random numbers used. `attached_at`, `first_at`: ns, None until
    a tick tells. `phase`: before, within or past the time it may fire in. `waits`: its time does not begin
    before another fault has fired."""

    fault: AnyFault
    name: str
    hits: int = 0
    fired: int = 0
    draws: int = 0
    over: bool = False
    phase: int = _BEFORE
    attached_at: int | None = None
    first_at: int | None = None
    waits: bool = False

    @classmethod
    def begin(cls, fault: AnyFault, name: str, after_fired: bool) -> Armed:
        armed = cls(fault, name)
        armed.waits = armed.by_time and bool(fault.after) and not after_fired
        armed.at_attach()
        return armed

    @property
    def opens_at(self) -> float:
        """When it may fire, in seconds after the attach."""
        deed_at = self.fault.at if isinstance(self.fault, Deed) else None
        return self.fault.since if deed_at is None else deed_at

    @property
    def by_time(self) -> bool:
        return isinstance(self.fault, Deed) and self.fault.at is not None

    # Inputs

    def at_attach(self) -> None:
        """The window of time begins anew."""
        timed = self.by_time or self.fault.since or self.fault.before
        self.phase = _BEFORE if self.by_time or self.fault.since else _WITHIN
        self.attached_at = None if timed else 0

    def at_firing(self, name: str) -> None:
        """Of another fault."""
        if self.waits and self.fault.after == name:
            self.waits = False
            self.at_attach()

    def at_reset(self) -> None:
        if self.fired and self.fault.until is Until.RESET:
            self.over = True

    def at_request(self, setup: SetupPacket) -> None:
        """A control request that may end it."""
        if not self.fired or self.fault.until is Until.NEVER:
            return
        if any(
            (kind, request) == (setup.request_type, setup.request) and value in (None, setup.value)
            for kind, request, value in _RESETS
        ):
            self.at_reset()
        clears_halt = (setup.request_type, setup.request, setup.value) == (0x02, 0x01, 0)
        if clears_halt and self.fault.until is Until.CLEAR:
            self.over = self.fault.endpoint in (None, setup.index & 0xFF)

    def tick(self, now_ns: int) -> bool:
        """True: a deed is to be done now."""
        if self.over or self.waits:
            return False
        if self.attached_at is None:
            self.attached_at = now_ns
        if self.fired and self.fault.lasting:
            self.first_at = now_ns if self.first_at is None else self.first_at
            self.over = now_ns >= self.first_at + nanoseconds(self.fault.lasting)
        opened = self.phase == _BEFORE and now_ns >= self.attached_at + nanoseconds(self.opens_at)
        if opened:
            self.phase = _PAST if self.by_time else _WITHIN
        if self.fault.before and now_ns >= self.attached_at + nanoseconds(self.fault.before):
            self.phase = _PAST
        return opened and self.by_time and not self.over

    def wakes(self) -> Iterator[int]:
        """The ticks it wants."""
        if self.over or self.waits:
            return
        if self.attached_at is None:
            yield 0
        elif self.phase == _BEFORE:
            yield self.attached_at + nanoseconds(self.opens_at)
        elif self.phase == _WITHIN and self.fault.before:
            yield self.attached_at + nanoseconds(self.fault.before)
        if self.fired and self.fault.lasting:
            yield 0 if self.first_at is None else self.first_at + nanoseconds(self.fault.lasting)

    def hit(self, urb: Urb, data: bytes) -> bool:
        """May it befall this transfer, as far as it knows? Counts nothing."""
        return not self.over and self.phase == _WITHIN and self.fault.matches(urb, data)

    def fires(self, seed: int) -> bool:
        """A hit: does it fire this time? All is counted."""
        fault = self.fault
        self.hits += 1
        first = fault.nth or fault.every or 1
        if fault.nth and not fault.every:
            due = self.hits == first
        else:
            due = self.hits >= first and (self.hits - first) % (fault.every or 1) == 0
        fires = due and (fault.chance >= 1 or self.draw(seed, SCALE) < fault.chance * SCALE)
        self.fired += fires
        self.over = self.over or (fires and self.fired == fault.count)
        return fires

    def draw(self, seed: int, below: int) -> int:
        self.draws += 1
        return draw(seed, self.name, self.draws) * below // SCALE

    # Written down

    def snapshot(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if name != "fault"}

    @classmethod
    def restored(cls, fault: AnyFault, state: Mapping[str, Any]) -> Armed:
        return cls(fault, **dict(state))
