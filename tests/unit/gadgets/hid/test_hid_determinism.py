"""Every HID class goes on from its snapshot as if nothing had been: same inputs, same bytes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import TwinhubError
from gadgets.hid.buttons import Click, PressButtons, ReleaseButtons
from gadgets.hid.ctaphid import packets_of
from gadgets.hid.custom import Custom, FeatureReport, InputReport
from gadgets.hid.fido import Answer, Fido, Reply, Touch
from gadgets.hid.function import HidFunction
from gadgets.hid.gamepad import Gamepad, Hat, Stick, Trigger
from gadgets.hid.keyboard import Keyboard, Press, TypeText
from gadgets.hid.mouse import Mouse, Move, Scroll
from gadgets.hid.tablet import MoveTo, Tablet
from gadgets.usb.compose import compose
from gadgets.usb.device import BusEvent, GadgetDevice
from gadgets.usb.urb import Urb
from tests.unit.gadgets.hid.test_custom import THREE
from tests.unit.gadgets.host import IDENTITY, setup_of

MS = 1_000_000
REPLIES = (Reply(b"\x01", b"\0yes", touch=True), Reply(b"\x02", b"\0late", delay_ms=250))
NONCE = bytes(8)
PACKETS = [
    packet
    for message in (
        (0xFFFFFFFF, 0x06, NONCE),
        (1, 0x10, b"\x01"),
        (1, 0x10, b"\x02"),
        (1, 0x10, b"\x04"),
        (2, 0x10, b"\x05"),
        (1, 0x01, bytes(100)),
        (1, 0x11, b""),
        (1, 0x08, b""),
    )
    for packet in packets_of(*message)
]
MAKERS: dict[str, tuple[Callable[[], HidFunction], list[Any]]] = {
    "keyboard": (lambda: Keyboard(keys_per_second=20), [TypeText("aB"), Press(("a",))]),
    "mouse": (Mouse, [Move(300, 5), Scroll(1), Click(), PressButtons(("left",)), ReleaseButtons()]),
    "tablet": (Tablet, [MoveTo(5, 6), Scroll(0, 1), Click("right")]),
    "gamepad": (Gamepad, [Stick(1, 0), Trigger(1, "right"), Hat("up"), PressButtons(("a",))]),
    "custom": (
        lambda: Custom(descriptor=THREE, out_endpoint=True),
        [InputReport(b"\1ab"), InputReport(b"\2abc"), FeatureReport(b"\3wxyz")],
    ),
    "fido": (lambda: Fido(replies=REPLIES, ask=True), [Touch(), Answer(b"\0me")]),
}
SETUPS = [
    setup_of(request)
    for request in (
        "00 09 0001 0000 0000",
        "21 0a 0200 0000 0000",
        "21 0a 0001 0000 0000",
        "21 0b 0000 0000 0000",
        "a1 01 0101 0000 0040",
        "a1 01 0100 0000 0040",
        "21 09 0202 0000 0002",
        "21 09 0200 0000 0040",
        "02 03 0000 0081 0000",
        "02 01 0000 0081 0000",
    )
]

Step = Callable[[GadgetDevice, int], object]


def in_transfer(device: GadgetDevice, number: int) -> object:
    return device.submit(Urb(number, 0x81, 64))


def sent(data: bytes) -> Step:
    return lambda device, number: device.submit(Urb(number, 0x01, len(data), data))


def asked(at: int) -> Step:
    setup = SETUPS[at]
    data = b"" if setup.request_type & 0x80 else (PACKETS[0] if setup.length == 64 else bytes(setup.length))
    return lambda device, number: device.submit(
        Urb(number, setup.request_type & 0x80, setup.length, data, setup)
    )


def locally(input: object) -> Step:
    def step(device: GadgetDevice, number: int) -> object:
        try:
            return device.local(input)
        except TwinhubError as error:
            return str(error)

    return step


def ticked(milliseconds: int) -> Step:
    return lambda device, number: device.tick(number * 40 * MS + milliseconds * MS)


def steps_of(inputs: list[Any]) -> st.SearchStrategy[list[Step]]:
    return st.lists(
        st.one_of(
            st.just(in_transfer),
            st.sampled_from(PACKETS).map(sent),
            st.integers(0, len(SETUPS) - 1).map(asked),
            st.sampled_from(inputs).map(locally),
            st.integers(0, 30).map(ticked),
            st.sampled_from([BusEvent.RESET, BusEvent.ATTACH]).map(lambda e: lambda d, n: d.bus(e)),
        ),
        max_size=30,
    )


def played(device: GadgetDevice, steps: list[Step], first: int) -> list[object]:
    return [
        (step(device, number), device.wake_at, device.take_events())
        for number, step in enumerate(steps, first)
    ]


def as_json(state: object) -> str:
    """Bytes apart, a snapshot is what JSON can say."""
    return json.dumps(state, default=lambda value: bytes(value).hex(), sort_keys=True)


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=40)
@given(data=st.data())
def test_a_restored_device_goes_on_exactly_as_the_first(name: str, data: st.DataObject) -> None:
    make, inputs = MAKERS[name]
    before, after = data.draw(steps_of(inputs)), data.draw(steps_of(inputs))
    device, other = (compose(IDENTITY, [make()]) for _ in range(2))
    played(device, [asked(0), *before], 1)
    other.restore(device.snapshot())
    assert as_json(other.snapshot()) == as_json(device.snapshot())
    assert played(other, after, 100) == played(device, after, 100)
