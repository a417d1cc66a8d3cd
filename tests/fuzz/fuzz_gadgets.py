"""What a device describes, and what a host may do to a software device."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from appliance.errors import ProtocolError, TwinhubError
from appliance.inventory.descriptors import configurations, interfaces_of
from gadgets.hid.keyboard import Press, Release, TypeText, keyboard
from gadgets.usb.configuration import emit, parse_configuration
from gadgets.usb.device import BusEvent, Device, GadgetDevice
from gadgets.usb.urb import SHORT_NOT_OK, ZERO_PACKET, Completion, IsoPacket, SetupPacket, Urb
from tests.fuzz.harness import parser
from tests.fuzz.mutation import flip, invent, number
from tests.unit.gadgets.host import Say, Take, bench
from tests.unit.sessions.pdus import CONFIGURATION, DESCRIPTORS

KEYBOARD, BENCH = keyboard(), bench(remote_wakeup=True)[0]
CONFIGURATIONS = (CONFIGURATION, *(emit(d.configurations[0]) for d in (KEYBOARD, BENCH)))


def read_configuration(random: Random, data: bytes) -> None:
    """What can be read comes back when it is written and read again (looked at now and then: it is slow)."""
    found = parse_configuration(data)
    if random.random() < 0.2:
        assert parse_configuration(emit(found)) == found


def read_sysfs(random: Random, data: bytes) -> None:
    """The inventory makes something of everything, and never more than there is."""
    for configuration in configurations(data):
        assert len(interfaces_of(configuration, {0: random.randrange(3)})) <= len(data) // 9


SETUPS = tuple(
    bytes.fromhex(request)
    for request in (
        "8006000100001200", "800600020000ff00", "800600030000ff00", "810600220000ff00", "8000000000000200",
        "0005070000000000", "0009010000000000", "0009000000000000", "010b000000000000", "010b010000000000",
        "8008000000000100", "810a000000000100", "0003010000000000", "0203000081000000", "0201000081000000",
        "8200000081000200", "2109000200000100", "210a000000000000", "210b000000000000", "a101000100000800",
        "a102000000000100", "2303040000000000", "c05c000000000600", "405b000000000400",
    )
)  # fmt: skip
ENDPOINTS = (0x81, 0x81, 0x01, 0x82, 0x02, 0x83, 0x00, 0x80, 0x8F)
INPUTS = (
    TypeText("Hé!"), Press(("leftctrl", "a")), Press(tuple("abcdefgh")), Press(("nokey",)), Release(),
    Say(b""), Say(bytes(1300)), Take(False), Take(True),
)  # fmt: skip


def invent_urb(random: Random) -> Urb:
    endpoint, setup = random.choice(ENDPOINTS), None
    packets: tuple[IsoPacket, ...] = ()
    length = random.choice((0, 1, 8, 64, 100, 512, 1024))
    if endpoint & 0x7F == 0 or random.random() < 0.5:
        setup = invent_setup(random, SETUPS)
        endpoint = setup.request_type & 0x80
        length = setup.length if random.random() < 0.9 else length
    elif random.random() < 0.3:
        packets = tuple(IsoPacket(at, 16) for at in range(0, length, 16))
    data = b"" if endpoint & 0x80 else random.choice((bytes(length), b"refuse", b"halt"))
    flags = random.choice((0, 0, SHORT_NOT_OK, ZERO_PACKET))
    return Urb(0, endpoint, length if endpoint & 0x80 else len(data), data, setup, flags, packets)


def invent_control(random: Random, setups: Sequence[bytes], stages: Sequence[bytes]) -> Urb:
    """A request much like one of `setups`; its data stage, if OUT, begins like one of `stages`."""
    setup = invent_setup(random, setups)
    if setup.request_type & 0x80:
        return Urb(0, 0x80, setup.length, setup=setup)
    stage = random.choice(stages).ljust(setup.length, b"\3")[: setup.length]
    return Urb(0, 0, setup.length, stage, setup)


def invent_setup(random: Random, setups: Sequence[bytes]) -> SetupPacket:
    data = bytearray(random.choice(setups))
    if random.random() < 0.3:
        random.choice((flip, number))(random, data)
    return SetupPacket(*struct.unpack("<BBHHH", data[:8].ljust(8, b"\0")))


Step = Urb | int | BusEvent | Press | Release | TypeText | Say | Take | None
"""Submit; unlink the nth last; something on the cable; a local input; a tick."""


@dataclass(frozen=True)
class Script:
    device: GadgetDevice
    steps: list[Step]

    def __repr__(self) -> str:
        return f"{self.device.string(2)}: {self.steps}"


def invent_script(random: Random) -> Script:
    steps: list[Step] = [] if random.random() < 0.2 else [Urb(0, 0, setup=CONFIGURE)]
    for _ in range(random.randrange(10)):
        match random.random():
            case chance if chance < 0.6:
                steps.append(invent_urb(random))
            case chance if chance < 0.75:
                steps.append(random.randrange(8))
            case chance if chance < 0.8:
                steps.append(random.choice(tuple(BusEvent)))
            case chance if chance < 0.95:
                steps.append(random.choice(INPUTS))
            case _:
                steps.append(None)
    return Script(random.choice((KEYBOARD, BENCH)), steps)


CONFIGURE = SetupPacket(0x00, 0x09, 1)
FRESH = {device: device.snapshot() for device in (KEYBOARD, BENCH)}


def play(random: Random, script: Script) -> None:
    script.device.restore(FRESH[script.device])
    perform(script.device, script.steps)


def perform(device: Device, steps: list[Step]) -> None:
    """Each URB completes once, never after its unlink, with no more than asked; at the end none is left."""
    in_flight, last, now = dict[int, Urb](), 0, 0
    for step in steps:
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
        elif step is None:
            now += 600_000_000
            done = device.tick(now)
        else:
            try:
                done = device.local(step)
            except TwinhubError:
                pass
        finish(in_flight, done)
        device.take_events()
    finish(in_flight, device.bus(BusEvent.DETACH))
    assert not in_flight


def finish(in_flight: dict[int, Urb], done: list[Completion]) -> None:
    for completion in done:
        urb = in_flight.pop(completion.number)
        room = min(urb.length, urb.setup.length) if urb.setup and urb.is_in else urb.length
        assert completion.actual_length <= room
        assert len(completion.data) == (completion.actual_length if urb.is_in else 0)
        assert len(completion.packets) == len(urb.packets) or not completion.packets


TARGETS = (
    parser("configuration", lambda r: invent(r, CONFIGURATIONS), read_configuration, (ProtocolError,)),
    parser("sysfs-descriptors", lambda r: invent(r, (DESCRIPTORS,)), read_sysfs, (), share=5),
    parser("gadget", invent_script, play, ()),
)
