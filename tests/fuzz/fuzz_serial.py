"""What a host may do to a serial port and to the test devices, and what a serial port's script may say."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from random import Random
from typing import Any

from appliance.errors import TwinhubError, UsageError
from gadgets.serial.acm import Serial
from gadgets.serial.companions.script import Dialogue, Table
from gadgets.serial.line import (
    WINDOW,
    Break,
    Consumed,
    LineErrors,
    Received,
    Respond,
    Send,
    Sent,
    SetLines,
)
from gadgets.testdevice.loopback import Loopback
from gadgets.testdevice.pattern import Pattern
from gadgets.testdevice.sourcesink import SourceSink
from gadgets.usb.compose import Identity, compose
from gadgets.usb.device import BusEvent, GadgetDevice
from gadgets.usb.records import from_plain
from gadgets.usb.urb import SHORT_NOT_OK, ZERO_PACKET, Completion, IsoPacket, Urb
from tests.fuzz.fuzz_gadgets import CONFIGURE, finish, invent_control
from tests.fuzz.harness import parser
from tests.fuzz.mutation import invent

NEWS = Identity(0x1209, 1, product="Fuzzed")
SERIAL_INPUTS = (
    Send("hello"), Send(data=bytes(5000)), Send(data=bytes(WINDOW)), Send(), Consumed(1), Consumed(600),
    Consumed(-1), SetLines(dcd=False), SetLines(ri=True), Break(), Break(-5), Break(10**9), Respond(b"OK"),
    LineErrors(overrun=True), LineErrors(),
)  # fmt: skip
DEVICES: dict[GadgetDevice, tuple[Any, ...]] = {
    compose(NEWS, [Serial()]): SERIAL_INPUTS,
    compose(NEWS, [Serial(connect="pty")]): SERIAL_INPUTS,
    compose(NEWS, [SourceSink()]): (),
    compose(NEWS, [SourceSink(pattern=Pattern.MOD63, iso_transactions=3)]): (),
    compose(NEWS, [Loopback()]): (),
}
"""The pty is not opened: what it would consume, the inputs do."""
FRESH = {device: device.snapshot() for device in DEVICES}
SETUPS = tuple(
    bytes.fromhex(request)
    for request in (
        "2120000000000700", "a121000000000700", "2122030000000000", "2122000000000000", "2123ffff00000000",
        "2100000000001000", "a101000000004000", "405b000000004000", "c05c000000004000", "010b000000000000",
        "010b010000000000", "010b020000000000", "0203000081000000", "0201000081000000", "0203000001000000",
        "0201000001000000", "0009010000000000", "0009000000000000", "8200000081000200",
    )
)  # fmt: skip
CODINGS = tuple(bytes.fromhex(coding) for coding in ("00c20100000008", "80250000020107", "00000000000000"))
LENGTHS = (0, 1, 7, 64, 511, 512, 513, 4096, 70_000)

Step = Urb | int | BusEvent | object
"""Submit; unlink the nth last; something on the cable; a local input."""


@dataclass(frozen=True)
class Script:
    device: GadgetDevice
    steps: list[Step]

    def __repr__(self) -> str:
        (function,) = self.device.functions
        return f"{type(function).__name__}: {self.steps}"


def invent_script(random: Random) -> Script:
    device = random.choice(tuple(DEVICES))
    steps: list[Step] = [] if random.random() < 0.1 else [Urb(0, 0, setup=CONFIGURE)]
    for _ in range(random.randrange(12)):
        match random.random():
            case chance if chance < 0.25:
                steps.append(invent_control(random, SETUPS, CODINGS))
            case chance if chance < 0.75:
                steps.append(invent_transfer(random))
            case chance if chance < 0.8:
                steps.append(random.choice(tuple(BusEvent)))
            case chance if chance < 0.95 and DEVICES[device]:
                steps.append(random.choice(DEVICES[device]))
            case _:
                steps.append(random.randrange(8))
    return Script(device, steps)


def invent_transfer(random: Random) -> Urb:
    endpoint = random.choice((0x81, 0x82, 0x83, 0x01, 0x02, 0x03))
    length = random.choice(LENGTHS)
    packets: tuple[IsoPacket, ...] = ()
    if random.random() < 0.2:
        packets = tuple(IsoPacket(at, min(1024, length - at)) for at in range(0, length, 1024))
    data = b"" if endpoint & 0x80 else random.choice((bytes(length), random.randbytes(length)))
    flags = random.choice((0, 0, SHORT_NOT_OK, ZERO_PACKET))
    return Urb(0, endpoint, length, data, None, flags, packets)


def play(random: Random, script: Script) -> None:
    """Each URB completes once; a serial port loses nothing; a snapshot has it all."""
    device, in_flight, last, now_sent, told_sent = script.device, dict[int, Urb](), 0, 0, 0
    device.restore(FRESH[device])
    arrived, received = 0, 0
    for step in [*script.steps, BusEvent.DETACH]:
        done: list[Completion] = []
        if isinstance(step, Urb):
            last += 1
            step.number = last
            in_flight[last] = step
            done = device.submit(step)
        elif isinstance(step, int):
            assert device.unlink(last - step) == (last - step in in_flight)
            in_flight.pop(last - step, None)
        elif isinstance(step, BusEvent):
            if step is BusEvent.ATTACH:
                in_flight.clear()
            done = device.bus(step)
        else:
            try:
                done = device.local(step)
                now_sent += len(step.text) + len(step.data) if isinstance(step, Send) else 0
            except TwinhubError:
                pass
        arrived += sum(
            each.actual_length for each in done if in_flight[each.number].endpoint in (0x01, 0x02, 0x03)
        )
        finish(in_flight, done)
        events = [told.event for told in device.take_events()]
        told_sent += sum(event.count for event in events if isinstance(event, Sent))
        received += sum(len(event.data) for event in events if isinstance(event, Received))
    assert not in_flight
    if isinstance(device.functions[0], Serial):
        assert (told_sent, received) == (now_sent, arrived)
    state = device.snapshot()
    device.restore(state)
    assert device.snapshot() == state


TABLES = (
    b'start = "login: "\n[[rule]]\nwhen = "(\\\\w+)\\r"\nsend = "hi \\\\1"\nonce = true\n',
    b"[[rule]]\nwhen = 'a'\nsend = ''\n[[rule]]\nwhen = '[bc]+'\nsend = '\\g<0>'\n",
)
WORDS = (
    b"(",
    b")",
    b"[",
    b"*",
    b"?",
    b"\\",
    b"\\1",
    b"|",
    b"{2}",
    b"''",
    b"[[rule]]",
    b"once",
    b"\xff",
    b"^",
)


def read_table(random: Random, data: bytes) -> None:
    """What can be read answers any text, and comes to an end."""
    try:
        plain = tomllib.loads(data.decode(errors="replace"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(str(error)) from None
    dialogue = Dialogue(from_plain(Table, plain, "script"), "script")
    text = random.choices(b"abchi \r1", k=40)
    dialogue.hear(bytes(text))
    answers = 0
    while dialogue.answer() is not None:
        answers += 1
    assert answers <= len(text)


TARGETS = (
    parser("serial", invent_script, play, ()),
    parser("serial-script", lambda r: invent(r, TABLES, WORDS), read_table, (UsageError,), share=5),
)
