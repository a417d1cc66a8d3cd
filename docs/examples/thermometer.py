"""A USB thermometer, as an example of a device class of one's own: everything it takes is in this file.

A reading is a signed 16-bit number of hundredths of a degree Celsius, little-endian.
    GET_READING    c1 01 0000 if 0002   the reading now
    SET_ALARM      41 02 val  if 0000   tell when it is warmer than `val` hundredths
    interrupt IN                        the reading, each time it changed
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.errors import UsageError
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.function import Answer, Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.urb import SetupPacket

STATE = ("reading", "alarm", "configured", "fetched")


@dataclass(frozen=True, slots=True)
class SetTemperature:
    """Input: it is this warm now, in degrees Celsius."""

    celsius: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """Event: it is warmer than the host allowed."""

    celsius: float


class Thermometer(Function):
    """Interface FF/00/00. `start` is the temperature it begins with, in degrees Celsius."""

    inputs = (SetTemperature,)

    def __init__(self, *, start: float = 20.0) -> None:
        self.reading = hundredths(start)
        self.alarm: int | None = None
        self.configured = False
        self.fetched = True

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        endpoint = take.interrupt_in(2, interval_ms=100)
        self.endpoint = endpoint.address
        return [
            AlternateSetting(take.interface(), string_index=take.string("Thermometer"), endpoints=(endpoint,))
        ]

    def setup(self, setup: SetupPacket, data: bytes) -> Answer:
        match (setup.request_type, setup.request):
            case (0xC1, 0x01):
                return struct.pack("<h", self.reading)
            case (0x41, 0x02):
                (self.alarm,) = struct.unpack("<h", setup.value.to_bytes(2, "little"))
                return b""
        return None

    def fill(self, endpoint: int, length: int) -> bytes | None:
        if self.fetched:
            return None
        self.fetched = True
        return struct.pack("<h", self.reading)

    def local(self, input: SetTemperature) -> None:
        self.reading = hundredths(input.celsius)
        self.fetched = False
        if self.configured:
            self.ready(self.endpoint)
        if self.alarm is not None and self.reading > self.alarm:
            self.tell(Alarm(input.celsius))

    def on_configured(self) -> None:
        self.configured = True

    def on_reset(self) -> None:
        self.configured = False
        self.alarm = None

    def snapshot(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in STATE}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name in STATE:
            setattr(self, name, state[name])


def hundredths(celsius: float) -> int:
    if not -273.15 <= celsius <= 327.67:
        raise UsageError(f"the thermometer shows -273.15 to 327.67 degrees, not {celsius}")
    return round(celsius * 100)
