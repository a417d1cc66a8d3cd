"""A presented gadget: events of the kernel, companions, local inputs, time and the cable, on one loop."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from appliance.errors import UsageError
from appliance.loop import Loop
from gadgets.definition import Definition, Part
from gadgets.udc.bridge import Bridge
from gadgets.udc.presented import Presented
from gadgets.usb.device import Told
from tests.unit.gadgets.host import setup_of
from tests.unit.gadgets.udc.kernels import Kernel


class Stop(Exception):
    """Ends a loop."""


class Source:
    """An eventfd, and what is done when it is readable."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        reader, self.writer = os.pipe()
        self.eventfd = os.fdopen(reader, "rb", 0)
        self.requests: list[str] = []

    def process(self) -> None:
        self.eventfd.read(1)
        for words in self.requests:
            self.bridge.request(setup_of(words), b"\x02")
        raise Stop

    def close(self) -> None:
        os.close(self.writer)
        self.eventfd.close()


class Cable:
    def __init__(self) -> None:
        self.done: list[str] = []

    def unplug(self) -> None:
        self.done.append("unplug")

    def plug(self, serial: str) -> None:
        self.done.append(f"plug {serial}")


class World:
    def __init__(self, definition: Definition) -> None:
        gadget = definition.build()
        self.kernel, self.cable, self.told = Kernel(), Cable(), list[Told]()
        self.source = Source(Bridge(gadget.device, self.kernel))
        self.source.bridge.attach()
        self.source.bridge.enable({0x81: 8})
        self.loop = Loop()
        self.presented = Presented(self.loop, gadget, self.source, self.cable, self.told.append)

    def kinds(self) -> list[str]:
        return [type(told.event).__name__ for told in self.told]


@pytest.fixture
def keyboard() -> Iterator[World]:
    faults = ({"kind": "reenumeration", "serial": "0002", "back_after": 0.001, "request": 0x0B},)
    world = World(Definition("desk", serial="0001", functions=(Part("keyboard"),), faults=faults))
    yield world
    world.presented.close()
    world.source.close()
    world.loop.close()


def run(world: World, *requests: str) -> None:
    world.source.requests = list(requests)
    os.write(world.source.writer, b"!")
    with pytest.raises(Stop):
        world.presented.run()
    world.presented.act(())


def test_a_local_input_reaches_the_host(keyboard: World) -> None:
    keyboard.presented.local_plain({"type_text": "a"})
    assert keyboard.kernel.written == [(0x81, bytes([0, 0, 4, 0, 0, 0, 0, 0])), (0x81, bytes(8))]


def test_a_wrong_input_is_refused(keyboard: World) -> None:
    with pytest.raises(UsageError):
        keyboard.presented.local_plain({"insert": "disk.img"})


def test_what_the_host_does_is_told(keyboard: World) -> None:
    run(keyboard, "21 09 0200 0000 0001")
    assert keyboard.kinds()[-1] == "Leds"
    assert keyboard.told[-1].function == "keyboard"


def test_a_device_that_a_fault_pulls_out_leaves_the_bus_and_comes_back_under_another_number(
    keyboard: World,
) -> None:
    run(keyboard, "21 0b 0000 0000 0000")
    assert keyboard.cable.done == ["unplug"]
    for now in (1, 10**9):
        keyboard.presented.act(keyboard.presented.gadget.device.tick(now))
    assert keyboard.cable.done == ["unplug", "plug 0002"]
