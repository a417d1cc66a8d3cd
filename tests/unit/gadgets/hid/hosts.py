"""A host of one HID function, as Linux leaves it: configured, idle switched off."""

from __future__ import annotations

from gadgets.hid.function import HidFunction
from gadgets.usb.compose import compose
from gadgets.usb.urb import Speed
from tests.unit.gadgets.host import IDENTITY, Host

LENGTH = 1024
"""Of the IN transfers: more than any report here."""


def host_of(function: HidFunction, speed: Speed = Speed.FULL) -> Host:
    host = Host(compose(IDENTITY, [function], speed=speed))
    host.control("21 0a 0000 0000 0000")
    host.device.take_events()
    return host


def fetched(host: Host) -> list[bytes]:
    """What the host's transfers bring until one has to wait; that one is unlinked."""
    reports = []
    while done := host.submit(0x81, LENGTH):
        reports.append(done[0].data)
    host.device.unlink(host.number)
    return reports


def told(host: Host) -> list[object]:
    return [told.event for told in host.device.take_events()]
