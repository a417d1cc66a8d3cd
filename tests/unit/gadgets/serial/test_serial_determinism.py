"""A serial port and the test devices: same inputs, same bytes out, whenever they were written down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadgets.serial.acm import Serial
from gadgets.serial.line import WINDOW, Break, Consumed, LineErrors, Respond, Send, SetLines
from gadgets.testdevice.loopback import Loopback
from gadgets.testdevice.sourcesink import SourceSink
from gadgets.usb.compose import compose
from gadgets.usb.device import BusEvent, GadgetDevice
from tests.unit.gadgets.host import IDENTITY, setup_of
from tests.unit.gadgets.usb.test_determinism import Input, locally, on_bus, plain, run, submitted, unlinked

DEVICES = {
    "serial": lambda: compose(IDENTITY, [Serial(connect="pty")]),
    "loopback": lambda: compose(IDENTITY, [Loopback()]),
    "source and sink": lambda: compose(IDENTITY, [SourceSink()]),
}
"""The pty is never opened: what it would do, the inputs do."""
SETUPS = [
    setup_of(request)
    for request in (
        "00 09 0001 0000 0000", "00 09 0000 0000 0000", "21 22 0003 0000 0000", "21 22 0000 0000 0000",
        "21 20 0000 0000 0007", "a1 21 0000 0000 0007", "a1 01 0000 0000 0010", "02 03 0000 0081 0000",
        "02 01 0000 0081 0000", "40 5b 0000 0000 0005", "c0 5c 0000 0000 0005", "01 0b 0001 0000 0000",
    )
]  # fmt: skip
CODING = bytes.fromhex("00c20100 00 00 08")
counts = st.integers(0, 2000)
local_inputs = st.one_of(
    st.builds(Send, st.text("aé", max_size=3), st.sampled_from([b"", bytes(100), bytes(WINDOW - 5)])),
    st.builds(Consumed, counts),
    st.builds(SetLines, *[st.none() | st.booleans()] * 3),
    st.builds(Break, st.integers(0, 3)),
    st.builds(LineErrors, *[st.booleans()] * 3),
    st.builds(Respond, st.binary(max_size=5)),
)
endpoints = st.sampled_from([0x81, 0x82, 0x01])
payloads = st.sampled_from([b"", bytes(5), bytes(512), bytes(WINDOW), b"wrong"])


@st.composite
def sequences(draw: st.DrawFn) -> list[Input]:
    steps: list[Input] = [submitted(0, 0, b"", SETUPS[0])] if draw(st.integers(0, 9)) else []
    for number in range(1, draw(st.integers(1, 40))):
        match draw(st.sampled_from("cssssllub")):
            case "c":
                setup = draw(st.sampled_from(SETUPS))
                steps.append(submitted(number, setup.request_type & 0x80, CODING[: setup.length], setup))
            case "s":
                steps.append(submitted(number, draw(endpoints), draw(payloads)))
            case "l":
                steps.append(locally(draw(local_inputs)))
            case "u":
                steps.append(unlinked(draw(st.integers(0, number))))
            case "b":
                steps.append(on_bus(draw(st.sampled_from(BusEvent))))
    return steps


@pytest.mark.parametrize("name", DEVICES)
@given(sequences(), st.data())
def test_a_restored_snapshot_goes_on_as_if_nothing_had_happened(
    name: str, steps: list[Input], data: st.DataObject
) -> None:
    def fresh() -> GadgetDevice:
        return DEVICES[name]()

    at = data.draw(st.integers(0, len(steps)))
    whole, original, restored = fresh(), fresh(), fresh()
    run(original, steps[:at])
    original.take_events()
    restored.restore(original.snapshot())
    assert plain(restored.snapshot()) == plain(original.snapshot())
    rest = repr(run(original, steps[at:]))
    assert repr(run(restored, steps[at:])) == rest
    assert repr(run(whole, steps)[at:]) == rest
    assert restored.take_events() == original.take_events()
    assert plain(restored.snapshot()) == plain(original.snapshot()) == plain(whole.snapshot())
