"""How software is tested against a gadget: docs/gadgets.md explains it."""

from __future__ import annotations

import pytest
import usb.core
from room import Room


@pytest.fixture
def thermometer(gadget):
    return gadget("thermometer.toml")


def test_it_reads_the_temperature(thermometer):
    assert Room().temperature() == 21.5
    thermometer.send(set_temperature=-3.25)
    assert Room().temperature() == -3.25


def test_it_hears_of_a_change(thermometer):
    room = Room()
    thermometer.send(set_temperature=22)
    assert room.next_change() == 22


def test_without_a_change_it_waits_in_vain(thermometer):
    with pytest.raises(usb.core.USBTimeoutError):
        Room().next_change(timeout=0.01)


def test_the_thermometer_knows_when_it_is_too_warm(thermometer):
    Room().warn_above(25)
    (request,) = thermometer.requested(0x41, 0x02)
    assert request.setup.value == 2500
    thermometer.send(set_temperature=26)
    assert [event.celsius for event in thermometer.events if type(event).__name__ == "Alarm"] == [26]


def test_it_tries_again_when_the_device_stalls(gadget):
    thermometer = gadget("thermometer.toml", faults=[{"kind": "stall", "request": 0x01, "count": 2}])
    assert Room().temperature() == 21.5
    assert len(thermometer.requested(0xC1, 0x01)) == 3


def test_it_says_so_when_the_device_never_answers(gadget):
    gadget("thermometer.toml", faults=[{"kind": "stall", "request": 0x01}])
    with pytest.raises(RuntimeError, match="does not answer"):
        Room().temperature()


def test_it_says_so_when_there_is_none(gadget):
    gadget("keyboard")
    with pytest.raises(RuntimeError, match="plugged in"):
        Room()
