"""The software under test in docs/gadgets.md: reads a USB thermometer, by pyusb."""

from __future__ import annotations

import struct

import usb.core


class Room:
    def __init__(self) -> None:
        self.device = usb.core.find(idVendor=0x1209, idProduct=0x0010)
        if self.device is None:
            raise RuntimeError("no thermometer is plugged in")

    def temperature(self) -> float:
        for _ in range(3):
            try:
                answer = self.device.ctrl_transfer(0xC1, 0x01, 0, 0, 2)
                return struct.unpack("<h", answer.tobytes())[0] / 100
            except usb.core.USBError:
                continue
        raise RuntimeError("the thermometer does not answer")

    def warn_above(self, celsius: float) -> None:
        self.device.ctrl_transfer(0x41, 0x02, round(celsius * 100) & 0xFFFF, 0)

    def next_change(self, timeout: float = 1.0) -> float:
        data = self.device.read(0x81, 2, timeout=round(timeout * 1000))
        return struct.unpack("<h", data.tobytes())[0] / 100
