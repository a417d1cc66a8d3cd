"""Ready test devices, under the ids by which Linux' usbtest knows them."""

from __future__ import annotations

from typing import Any

from gadgets.testdevice.loopback import Loopback
from gadgets.testdevice.sourcesink import SourceSink
from gadgets.usb.compose import Identity, compose
from gadgets.usb.device import GadgetDevice
from gadgets.usb.function import Function
from gadgets.usb.urb import Speed

NETCHIP, GADGET_ZERO, USER_MODE = 0x0525, 0xA4A0, 0xA4A4
"""Of usbtest's table: all tests, or those of chapter 9 and bulk only."""


def gadget_zero(*, speed: Speed = Speed.HIGH, serial: str = "", **options: Any) -> GadgetDevice:
    """Every kind of endpoint; `options` are `SourceSink`'s."""
    return _device(GADGET_ZERO, "Gadget Zero", SourceSink(**options), speed, serial)


def bulk_only(*, speed: Speed = Speed.HIGH, serial: str = "", **options: Any) -> GadgetDevice:
    """One setting, bulk both ways."""
    only_bulk = SourceSink(isochronous=False, interrupt=False, **options)
    return _device(USER_MODE, "Source and Sink", only_bulk, speed, serial)


def loopback(*, speed: Speed = Speed.HIGH, serial: str = "", burst: int = 0) -> GadgetDevice:
    return _device(GADGET_ZERO, "Loopback", Loopback(burst=burst), speed, serial)


def _device(product_id: int, product: str, function: Function, speed: Speed, serial: str) -> GadgetDevice:
    return compose(Identity(NETCHIP, product_id, "Twinhub", product, serial), [function], speed=speed)
