"""Faults of the cable, and of the world behind the device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from appliance.errors import UsageError
from gadgets.faults.fault import Deed, Fault, Hands, nanoseconds
from gadgets.usb.device import Device
from gadgets.usb.inputs import plain_input, read_input, rooted
from gadgets.usb.records import Located


@dataclass(frozen=True, slots=True)
class Disconnect(Deed):
    """The device is pulled out, and plugged in again so many seconds later; 0: when a `Replug` says so."""

    back_after: float = 1.0

    def do(self, hands: Hands) -> None:
        hands.unplug(1, nanoseconds(self.back_after) or None, 0, "")


@dataclass(frozen=True, slots=True)
class Flapping(Deed):
    """A loose contact: gone for `down` seconds, there for `up`, so many times."""

    times: int = 3
    down: float = 0.5
    up: float = 1.0

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        if self.times < 1 or self.down <= 0 or self.up <= 0:
            raise UsageError("flapping needs times of at least 1, and down and up above 0")

    def do(self, hands: Hands) -> None:
        hands.unplug(self.times, nanoseconds(self.down), nanoseconds(self.up), "")


@dataclass(frozen=True, slots=True)
class Reenumeration(Deed):
    """The device goes and comes back under another serial number."""

    serial: str
    back_after: float = 1.0

    def check(self, device: Device) -> None:
        if not device.device_descriptor.serial_index:
            raise UsageError("this device has no serial number that could become another; give it one")

    def do(self, hands: Hands) -> None:
        hands.unplug(1, nanoseconds(self.back_after) or None, 0, self.serial)


@dataclass(frozen=True, slots=True)
class Give(Deed):
    """A local input, as if the operator gave it: {"eject": true}. What only a class itself can break (a bad
    block, a write-protected disk) is broken so."""

    input: Annotated[object, Located(rooted)]

    def check(self, device: Device) -> None:
        read_input(device.inputs, self.input, "give")

    def plain(self) -> Give:
        """With the input as plain values, whichever way it was given."""
        return replace(self, input=plain_input(self.input))

    def do(self, hands: Hands) -> None:
        hands.give(self.input)
