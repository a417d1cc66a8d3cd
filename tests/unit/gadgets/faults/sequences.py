"""Any faults, and any inputs, in any order: what determinism is tried with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from appliance.errors import TwinhubError
from gadgets.faults.bus import Disconnect, Flapping, Give, Reenumeration
from gadgets.faults.cable import Replug
from gadgets.faults.catalogue import FAULTS, AddFault, AnyFault, RemoveFault
from gadgets.faults.classes import DtrDrop, Overrun
from gadgets.faults.fault import Deed, Until
from gadgets.faults.faulty import Faulty
from gadgets.faults.waiting import plain_completion
from gadgets.hid.keyboard import Keyboard
from gadgets.usb.compose import compose
from gadgets.usb.device import Device
from gadgets.usb.urb import Completion
from tests.unit.gadgets.host import IDENTITY, Bench, Say
from tests.unit.gadgets.usb.test_determinism import Input, sequences

MODEM_ONLY = (Overrun, DtrDrop)
OWN_FIELDS: dict[type, dict[str, st.SearchStrategy[Any]]] = {
    Reenumeration: {"serial": st.just("0002")},
    Give: {"input": st.sampled_from([{"press": ["a"]}, {"say": "00"}, Say(b"x")])},
    Disconnect: {"back_after": st.sampled_from([0.0, 1.0])},
    Flapping: {"times": st.integers(1, 3)},
}


@st.composite
def faults(draw: st.DrawFn) -> AnyFault:
    kind = draw(st.sampled_from([kind for kind in FAULTS if kind not in MODEM_ONLY]))
    when = {
        "endpoint": st.sampled_from([None, None, 0, 0x81, 0x82, 0x01, 0x02, 0x83]),
        "request": st.sampled_from([None, None, None, 0x06, 0x09]),
        "prefix": st.sampled_from([b"", b"", b"x"]),
        "nth": st.integers(0, 3),
        "every": st.integers(0, 2),
        "chance": st.sampled_from([1.0, 1.0, 0.5]),
        "since": st.sampled_from([0.0, 0.0, 1.0]),
        "count": st.integers(0, 2),
        "lasting": st.sampled_from([0.0, 0.0, 2.0]),
        "until": st.sampled_from(Until),
    }
    if issubclass(kind, Deed):
        when["at"] = st.sampled_from([None, None, 0.0, 1.0])
    return kind(**{name: draw(field) for name, field in (when | OWN_FIELDS.get(kind, {})).items()})


@st.composite
def plans(draw: st.DrawFn) -> list[AnyFault]:
    """Named by their places; some wait for the one before them."""
    found = draw(st.lists(faults(), max_size=4))
    return [
        replace(fault, name=f"{place}", after=f"{place - 1}" if place and draw(st.booleans()) else "")
        for place, fault in enumerate(found)
    ]


def locally(value: object) -> Input:
    def step(device: Device) -> object:
        try:
            return device.local(value)
        except TwinhubError as error:
            return str(error)

    return step


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[AnyFault], list[Input]]:
    """Faults at the beginning; steps, between which faults come and go."""
    steps = draw(sequences())
    changes = st.one_of(
        st.builds(AddFault, faults()),
        st.builds(RemoveFault, st.sampled_from(["", "stall", "drop"])),
        st.just(Replug()),
    )
    for change in draw(st.lists(changes, max_size=3)):
        steps.insert(draw(st.integers(0, len(steps))), locally(change))
    return draw(plans()), steps


def faulty(plan: list[AnyFault], seed: int = 7) -> Faulty:
    return Faulty(compose(IDENTITY, [Keyboard(), Bench()], remote_wakeup=True), plan, seed)


def run(device: Device, steps: list[Input]) -> list[object]:
    """What each step gives, what was told, and when the device wants the time."""
    return [(shown(step(device)), device.take_events(), device.wake_at) for step in steps]


def shown(outcome: object) -> object:
    """A completion that was written down has the number of its status, another one its name."""
    if isinstance(outcome, list | tuple):
        return [shown(each) for each in outcome]
    return plain_completion(outcome) if isinstance(outcome, Completion) else outcome


def ended(outcome: object) -> list[int]:
    """The numbers of the URBs that completed."""
    if isinstance(outcome, Completion):
        return [outcome.number]
    return [number for each in outcome for number in ended(each)] if isinstance(outcome, list | tuple) else []
