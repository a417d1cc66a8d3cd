"""The faults of a device, in order, and which of them fire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, count
from typing import Any, Final

from appliance.errors import UsageError
from appliance.explain import did_you_mean
from gadgets.faults.armed import Armed
from gadgets.faults.bus import Give
from gadgets.faults.catalogue import AnyFault, fault_from_plain
from gadgets.faults.fault import Stage
from gadgets.usb.records import options, snake, to_plain, to_tagged
from gadgets.usb.urb import Completion, SetupPacket, Urb

MAX_FAULTS: Final = 256


class Plan:
    """`requests` and `answers`: those of `armed` that may befall such."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._set([])

    def _set(self, armed: list[Armed]) -> None:
        self.armed = armed
        self.requests = [each for each in armed if each.fault.stage is not Stage.ANSWER]
        self.answers = [each for each in armed if each.fault.stage is not Stage.REQUEST]

    @property
    def over(self) -> bool:
        return all(armed.over for armed in self.armed)

    def add(self, fault: AnyFault) -> None:
        """Raises UsageError for what cannot be beside the others."""
        if len(self.armed) >= MAX_FAULTS:
            raise UsageError(f"a device has at most {MAX_FAULTS} faults; remove some first")
        names = {armed.name for armed in self.armed}
        if fault.name in names:
            raise UsageError(f"there is a fault {fault.name!r} already; give this one another name")
        if fault.after and fault.after not in names:
            raise UsageError(f"after: there is no fault {fault.after!r}{did_you_mean(fault.after, names)}")
        free = chain((kind_of(fault),), (f"{kind_of(fault)}-{n}" for n in count(2)))
        name = fault.name or next(name for name in free if name not in names)
        armed = Armed.begin(
            fault.plain() if isinstance(fault, Give) else fault, name, self._has_fired(fault.after)
        )
        self._set([*self.armed, armed])

    def remove(self, name: str) -> None:
        """ "": all. Raises UsageError where there is none."""
        names = [armed.name for armed in self.armed]
        if name and name not in names:
            raise UsageError(f"there is no fault {name!r}{did_you_mean(name, names)}")
        self._set([armed for armed in self.armed if name and armed.name != name])

    def at_request(self, setup: SetupPacket) -> None:
        for armed in self.armed:
            armed.at_request(setup)

    def at_reset(self) -> None:
        for armed in self.armed:
            armed.at_reset()

    def at_attach(self) -> None:
        for armed in self.armed:
            armed.at_attach()

    def fires(self, armed: Armed, urb: Urb, done: Completion | None = None) -> bool:
        """At this request or, with `done`, answer. If it does, that is counted."""
        if armed.fault.stage is Stage.DATA and urb.is_in != bool(done):
            return False
        data = done.data if done else urb.data
        return armed.hit(urb, data) and armed.fault.suits(urb, done) and self._decide(armed)

    def ticked(self, now_ns: int) -> Iterator[Armed]:
        """Those that fire by themselves now."""
        for armed in self.armed:
            if armed.tick(now_ns) and self._decide(armed):
                yield armed

    def wakes(self) -> Iterator[int]:
        return chain.from_iterable(armed.wakes() for armed in self.armed)

    def _decide(self, armed: Armed) -> bool:
        after = armed.fault.after
        if (after and not self._has_fired(after)) or not armed.fires(self.seed):
            return False
        for other in self.armed:
            other.at_firing(armed.name)
        return True

    def _has_fired(self, name: str) -> bool:
        return any(armed.fired for armed in self.armed if armed.name == name)

    def describe(self) -> list[dict[str, Any]]:
        """What was said of each, as plain values; how often it fired and whether it is over."""
        return [
            {"name": a.name, "kind": kind_of(a.fault), **said(a.fault), "fired": a.fired, "over": a.over}
            for a in self.armed
        ]

    def snapshot(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "armed": [[to_tagged(armed.fault), armed.snapshot()] for armed in self.armed],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.seed = state["seed"]
        self._set([Armed.restored(fault_from_plain(fault), saved) for fault, saved in state["armed"]])


def kind_of(fault: AnyFault) -> str:
    return snake(type(fault).__name__)


def said(fault: AnyFault) -> dict[str, Any]:
    """Its fields, but for the name, that are not at their defaults."""
    plain = to_plain(fault)
    return {
        option.name: plain[option.name]
        for option in options(type(fault))
        if option.name != "name" and getattr(fault, option.name) != option.default
    }
