"""A pointer that knows where it is: what virtual machines and remote consoles have."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.errors import UsageError
from gadgets.hid.buttons import Buttons, Click, PressButtons, ReleaseButtons
from gadgets.hid.descriptor_text import to_bytes
from gadgets.hid.mouse import POINTER_BUTTONS, Scroll, steps

LARGEST = 0x7FFF
"""The coordinates of the right and lower edge; the left and upper ones are 0."""

_REPORT = struct.Struct("<BHH2b")


@dataclass(frozen=True, slots=True)
class MoveTo:
    """Input: to these coordinates, 0 to 32767."""

    x: int
    y: int


@dataclass(frozen=True, slots=True)
class PointAt:
    """Input: to these fractions of the width and the height, 0 to 1."""

    x: float
    y: float


class Tablet(Buttons):
    """A pointer that knows where it is, interface 03/00/00, with a mouse's buttons and wheels."""

    inputs = (MoveTo, PointAt, Scroll, *Buttons.inputs)
    buttons = POINTER_BUTTONS

    name = "Tablet"
    report_descriptor = to_bytes("""
        Usage Page (Generic Desktop), Usage (Mouse), Collection (Application)
            Usage (Pointer), Collection (Physical)
                Report Size (1), Report Count (5), Logical Minimum (0), Logical Maximum (1)
                Usage Page (Button), Usage Minimum (1), Usage Maximum (5), Input (Data, Variable, Absolute)
                Report Size (3), Report Count (1), Input (Constant)
                Report Size (16), Report Count (2), Logical Minimum (0), Logical Maximum (0x7FFF)
                Usage Page (Generic Desktop), Usage (X), Usage (Y), Input (Data, Variable, Absolute)
                Report Size (8), Report Count (1), Logical Minimum (-127), Logical Maximum (127)
                Usage (Wheel), Input (Data, Variable, Relative)
                Usage Page (Consumer), Usage (AC Pan), Input (Data, Variable, Relative)
            End Collection
        End Collection
        """)

    def _forget(self) -> None:
        super()._forget()
        self.position = (0, 0)

    def local(self, input: MoveTo | PointAt | Scroll | Click | PressButtons | ReleaseButtons) -> None:
        match input:
            case MoveTo():
                self._move(input.x, input.y)
            case PointAt():
                if not (0 <= input.x <= 1 and 0 <= input.y <= 1):
                    raise UsageError(f"({input.x:g}, {input.y:g}) is outside: fractions are from 0 to 1")
                self._move(round(input.x * LARGEST), round(input.y * LARGEST))
            case Scroll():
                ways = steps(input.up, input.right)
                self.queue(_REPORT.pack(self.held, *self.position, *way) for way in ways)
            case _:
                super().local(input)

    def _move(self, x: int, y: int) -> None:
        if not (0 <= x <= LARGEST and 0 <= y <= LARGEST):
            raise UsageError(f"({x}, {y}) is outside: coordinates are from 0 to {LARGEST}")
        self.queue([_REPORT.pack(self.held, x, y, 0, 0)])
        self.position = (x, y)

    def report_of(self, held: int) -> bytes:
        return _REPORT.pack(held, *self.position, 0, 0)

    def snapshot(self) -> dict[str, Any]:
        return {**super().snapshot(), "position": list(self.position)}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        x, y = state["position"]
        self.position = (x, y)
