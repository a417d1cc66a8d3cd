"""Who hears what a running gadget tells."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.loop import Loop
from appliance.sessions.running import Running
from gadgets.definition import parse
from gadgets.serial.line import ControlLines, Received
from gadgets.usb.urb import SetupPacket, Urb

CONFIGURE, RAISE_DTR = SetupPacket(0x00, 0x09, 1), SetupPacket(0x21, 0x22, 1)


@pytest.fixture
def told_by() -> Callable[[str], list[object]]:
    """What a follower of a serial port hears, to which a host sends a word."""

    def told_by(connect: str) -> list[object]:
        told: list[object] = []
        gadget = parse(f'[[function]]\nkind = "serial"\nconnect = "{connect}"', "port.toml").build()
        loop = Loop()
        running = Running(loop, gadget, lambda each: told.append(each.event))
        for number, setup in enumerate((CONFIGURE, RAISE_DTR)):
            running.device.submit(Urb(number, 0, setup=setup))
        running.device.submit(Urb(2, 0x01, 4, b"word"))
        running.act(())
        running.close()
        loop.close()
        return told

    return told_by


def test_a_follower_hears_data_that_nobody_else_takes(told_by: Callable[[str], list[object]]) -> None:
    assert Received(b"word") in told_by("")


def test_data_for_a_companion_is_told_to_nobody_else(told_by: Callable[[str], list[object]]) -> None:
    told = told_by("listen:0")
    assert ControlLines(dtr=True, rts=False) in told
    assert Received(b"word") not in told
