"""What describes an HID device, and what a host may do to one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from appliance.errors import TwinhubError, UsageError
from gadgets.hid.buttons import Click, PressButtons, ReleaseButtons
from gadgets.hid.ctaphid import packets_of
from gadgets.hid.custom import Custom, FeatureReport, InputReport
from gadgets.hid.descriptor_text import to_bytes, to_text
from gadgets.hid.fido import Answer, Fido, Reply, Touch
from gadgets.hid.function import MAX_WAITING, HidFunction
from gadgets.hid.gamepad import Gamepad, Hat, Stick, Trigger
from gadgets.hid.items import MAX_REPORT, report_sizes
from gadgets.hid.keyboard import Keyboard, Press, TypeText
from gadgets.hid.media_keys import MediaKeys, TapKeys
from gadgets.hid.mouse import Mouse, Move, Scroll
from gadgets.hid.tablet import MoveTo, PointAt, Tablet
from gadgets.usb.compose import Identity, compose
from gadgets.usb.device import BusEvent, GadgetDevice
from gadgets.usb.urb import Completion, Urb
from tests.fuzz.fuzz_gadgets import CONFIGURE, finish, invent_control
from tests.fuzz.harness import parser
from tests.fuzz.mutation import invent

KINDS = (Keyboard, Mouse, Tablet, Gamepad, MediaKeys, Fido)
DESCRIPTORS = tuple(kind.report_descriptor for kind in KINDS)
TEXTS = tuple(to_text(descriptor).encode() for descriptor in DESCRIPTORS)
WORDS = (
    b"Usage (0xFFFFFFFF)", b"Report Count (4294967295)", b"Report ID (3)", b"Push", b"Pop", b"\n", b",",
    b"End Collection", b"Bytes (FE 02 80)", b"(", b")", b"#", b"9" * 5000, b"Constant", b"4 bytes", b"\xff",
)  # fmt: skip


def read_descriptor(random: Random, data: bytes) -> None:
    """It comes back from its text byte for byte, and its reports have sizes that can be."""
    assert to_bytes(to_text(data)) == data
    assert all(0 < size <= MAX_REPORT for size in report_sizes(data).values())


def read_text(random: Random, data: bytes) -> None:
    """What can be read has a text that says the same."""
    descriptor = to_bytes(data.decode(errors="replace"))
    try:
        again = to_text(descriptor)
    except UsageError:
        return
    assert to_bytes(again) == descriptor


THREE = """
    Report Size (8), Report ID (1), Report Count (2), Input (Data)
    Report ID (2), Report Count (3), Input (Data), Report Count (1), Output (Data)
    Report ID (3), Report Count (300), Feature (Data)
"""
REPLIES = (Reply(b"\x01", b"\0yes", touch=True), Reply(b"\x02", bytes(7000), delay_ms=250))
DEVICES: dict[GadgetDevice, tuple[Any, ...]] = {
    compose(Identity(0x1209, 1, product=type(function).__name__), [function]): inputs
    for function, inputs in (
        (Keyboard(keys_per_second=20), (TypeText("aB"), Press(("a",)), Press(("nokey",)))),
        (Mouse(), (Move(300, 5), Move(10**9), Scroll(1), Click(), PressButtons(("left",)), ReleaseButtons())),
        (Tablet(), (MoveTo(5, 6), MoveTo(-1, 0), PointAt(0.5, 1), Scroll(0, 1), Click("right"))),
        (Gamepad(), (Stick(1, 0), Trigger(1, "right"), Hat("up"), PressButtons(("a",)), Click("no"))),
        (MediaKeys(), (TapKeys(("mute",)), TapKeys(("louder",)))),
        (
            Custom(descriptor=THREE, out_endpoint=True, boot="mouse"),
            (InputReport(b"\1ab"), InputReport(b"\2"), FeatureReport(b"\3" + bytes(300))),
        ),
        (Fido(replies=REPLIES), (Touch(), Answer(b""))),
        (Fido(ask=True), (Touch(), Answer(b"\0me"), Answer(bytes(8000)))),
    )
}
FRESH = {device: device.snapshot() for device in DEVICES}
SETUPS = tuple(
    bytes.fromhex(request)
    for request in (
        "810600210000ff00", "810600220000ff00", "2109000200000100", "2109000200004000", "2109020200000200",
        "2109030300002d01", "210a000000000000", "210a000200000000", "210a020100000000", "210b000000000000",
        "210b010000000000", "a101000100004000", "a101000200004000", "a101020100004000", "a10103030000ffff",
        "a102000000000100", "a102010000000100", "a103000000000100", "0203000081000000", "0201000081000000",
        "0203000001000000", "0009010000000000", "0009000000000000",
    )
)  # fmt: skip
PACKETS = tuple(
    packet
    for message in (
        (0xFFFFFFFF, 0x06, bytes(8)), (1, 0x06, bytes(8)), (1, 0x10, b"\1"), (1, 0x10, b"\2"),
        (1, 0x10, b"\4"), (1, 0x01, bytes(200)), (1, 0x11, b""), (1, 0x08, b""), (2, 0x03, b"\0\3\0\0"),
    )
    for packet in packets_of(*message)
)  # fmt: skip

Step = Urb | int | BusEvent | object
"""Submit; a tick so many milliseconds later; something on the cable; a local input."""


@dataclass(frozen=True)
class Script:
    device: GadgetDevice
    steps: list[Step]

    def __repr__(self) -> str:
        return f"{self.device.string(1)}: {self.steps}"


def invent_script(random: Random) -> Script:
    device = random.choice(tuple(DEVICES))
    steps: list[Step] = [] if random.random() < 0.1 else [Urb(0, 0, setup=CONFIGURE)]
    for _ in range(random.randrange(12)):
        match random.random():
            case chance if chance < 0.3:
                steps.append(invent_control(random, SETUPS, PACKETS))
            case chance if chance < 0.55:
                data = invent(random, (*PACKETS, b"\2a"))
                steps.append(Urb(0, 0x01, len(data), data))
            case chance if chance < 0.75:
                steps.append(Urb(0, 0x81, random.choice((0, 3, 8, 64, 1024))))
            case chance if chance < 0.8:
                steps.append(random.choice(tuple(BusEvent)))
            case chance if chance < 0.9:
                steps.append(random.choice(DEVICES[device]))
            case _:
                steps.append(random.choice((0, 60, 600)))
    return Script(device, steps)


def play(random: Random, script: Script) -> None:
    """Each URB completes once, with no more than asked; what waits has a bound, and a snapshot it all."""
    device, in_flight, last, now = script.device, dict[int, Urb](), 0, 1
    device.restore(FRESH[device])
    for step in script.steps:
        done: list[Completion] = []
        if isinstance(step, Urb):
            last += 1
            step.number = last
            in_flight[last] = step
            done = device.submit(step)
        elif isinstance(step, int):
            now += step * 1_000_000
            done = device.tick(now)
        elif isinstance(step, BusEvent):
            if step is BusEvent.ATTACH:
                in_flight.clear()
            done = device.bus(step)
        else:
            try:
                done = device.local(step)
            except TwinhubError:
                pass
        finish(in_flight, done)
        device.take_events()
    (function,) = device.functions
    assert isinstance(function, HidFunction)
    assert function.waiting <= MAX_WAITING
    state = device.snapshot()
    device.restore(state)
    assert device.snapshot() == state
    finish(in_flight, device.bus(BusEvent.DETACH))
    assert not in_flight


TARGETS = (
    parser("report-descriptor", lambda r: invent(r, DESCRIPTORS), read_descriptor, (UsageError,)),
    parser("report-descriptor-text", lambda r: invent(r, TEXTS, WORDS), read_text, (UsageError,), share=5),
    parser("hid", invent_script, play, ()),
)
