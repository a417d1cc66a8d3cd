"""The rule on which replay, hot standby and migration rest: same inputs, same bytes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import TwinhubError
from gadgets.hid.keyboard import Keyboard, Press, Release, TypeText
from gadgets.usb.compose import compose
from gadgets.usb.device import BusEvent, GadgetDevice
from gadgets.usb.urb import SetupPacket, Urb
from tests.unit.gadgets.host import IDENTITY, Bench, Say, Take, iso, setup_of

Input = Callable[[GadgetDevice], object]
"""One step of a sequence; what it gives is compared."""


def device() -> GadgetDevice:
    return compose(IDENTITY, [Keyboard(), Bench()], remote_wakeup=True)


def locally(value: object) -> Input:
    def step(device: GadgetDevice) -> object:
        try:
            return device.local(value)
        except TwinhubError as error:
            return str(error)

    return step


def submitted(number: int, endpoint: int, data: bytes, setup: SetupPacket | None = None) -> Input:
    is_in = endpoint & 0x80
    packets = iso(8, 8) if endpoint & 0x7F == 3 else ()
    length = 64 if is_in else len(data)
    return lambda device: device.submit(
        Urb(number, endpoint, length, b"" if is_in else data, setup, packets=packets)
    )


def unlinked(number: int) -> Input:
    return lambda device: device.unlink(number)


def on_bus(event: BusEvent) -> Input:
    return lambda device: device.bus(event)


def ticked(now: int) -> Input:
    return lambda device: (device.tick(now), device.wake_at)


SETUPS = [
    setup_of(request)
    for request in (
        "00 09 0001 0000 0000",
        "00 09 0000 0000 0000",
        "01 0b 0001 0001 0000",
        "01 0b 0000 0001 0000",
        "02 03 0000 0081 0000",
        "02 01 0000 0081 0000",
        "02 03 0000 0082 0000",
        "02 01 0000 0082 0000",
        "00 03 0001 0000 0000",
        "21 09 0200 0000 0001",
        "21 0a 0100 0000 0000",
        "a1 01 0100 0000 0008",
        "23 03 0004 0000 0000",
        "80 06 0200 0000 ffff",
    )
]
endpoints = st.sampled_from([0x81, 0x82, 0x01, 0x83, 0x02, 0x8F])
payloads = st.sampled_from([b"halt", b"refuse", b"x"]) | st.binary(max_size=80)
keys = st.lists(st.sampled_from(["a", "b", "leftshift", "no such key"]), max_size=3).map(tuple)
local_inputs = st.one_of(
    st.builds(Press, keys),
    st.builds(Release, keys),
    st.builds(TypeText, st.text("aé~\n☃", max_size=4), st.sampled_from(["us", "fr", "xx"])),
    st.builds(Say, payloads),
    st.builds(Take, st.booleans()),
)


@st.composite
def sequences(draw: st.DrawFn) -> list[Input]:
    """Configured in most cases, then anything in any order; numbers are those of the steps."""
    steps: list[Input] = [submitted(0, 0, b"", SETUPS[0])] if draw(st.integers(0, 9)) else []
    for number in range(1, draw(st.integers(1, 40))):
        kind = draw(st.sampled_from("cssssllluubt"))
        match kind:
            case "c":
                setup = draw(st.sampled_from(SETUPS))
                steps.append(submitted(number, setup.request_type & 0x80, b"\x02", setup))
            case "s":
                steps.append(submitted(number, draw(endpoints), draw(payloads)))
            case "l":
                steps.append(locally(draw(local_inputs)))
            case "u":
                steps.append(unlinked(draw(st.integers(0, number))))
            case "b":
                steps.append(on_bus(draw(st.sampled_from(BusEvent))))
            case "t":
                steps.append(ticked(number * draw(st.integers(0, 10**9))))
    return steps


def run(device: GadgetDevice, steps: list[Input]) -> list[object]:
    return [step(device) for step in steps]


def plain(value: Any) -> str:
    """The value as JSON with bytes in hex; fails for anything else."""
    return json.dumps(value, default=lambda data: {"bytes": bytes.fromhex(data.hex()).hex()}, sort_keys=True)


@given(sequences())
def test_same_inputs_give_byte_identical_completions(steps: list[Input]) -> None:
    first, second = device(), device()
    assert repr(run(first, steps)) == repr(run(second, steps))
    assert plain(first.snapshot()) == plain(second.snapshot())


@given(sequences(), st.data())
def test_a_restored_snapshot_goes_on_as_if_nothing_had_happened(
    steps: list[Input], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(steps)))
    original, restored = device(), device()
    run(original, steps[:at])
    original.take_events()
    restored.restore(original.snapshot())
    assert plain(restored.snapshot()) == plain(original.snapshot())
    assert restored.wake_at == original.wake_at
    assert repr(run(restored, steps[at:])) == repr(run(original, steps[at:]))
    assert restored.take_events() == original.take_events()
    assert plain(restored.snapshot()) == plain(original.snapshot())


@given(sequences())
def test_a_snapshot_does_not_change_with_the_device_it_was_taken_of(steps: list[Input]) -> None:
    subject = device()
    run(subject, steps[: len(steps) // 2])
    snapshot = subject.snapshot()
    before = plain(snapshot)
    run(subject, steps[len(steps) // 2 :])
    assert plain(snapshot) == before


@given(sequences())
def test_no_transfer_ends_twice_and_none_is_left_after_a_detach(steps: list[Input]) -> None:
    subject = device()
    outcomes = [*run(subject, steps), subject.bus(BusEvent.DETACH)]
    ended = [done.number for outcome in outcomes if isinstance(outcome, list) for done in outcome]
    assert len(ended) == len(set(ended))
    assert not any(subject.unlink(number) for number in range(len(steps) + 2))
