"""A boot mouse with five buttons and two wheels. HID 1.11 appendix B.2."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gadgets.hid.buttons import Buttons, Click, PressButtons, ReleaseButtons
from gadgets.hid.descriptor_text import to_bytes

POINTER_BUTTONS = ("left", "right", "middle", "side", "extra")
MOST = 127
"""That a report can tell of a movement; a longer one takes several."""

_REPORT = struct.Struct("<B4b")
_BOOT_SIZE = 3


@dataclass(frozen=True, slots=True)
class Move:
    """Input: so many counts to the right and down, in a straight line."""

    dx: int
    dy: int = 0


@dataclass(frozen=True, slots=True)
class Scroll:
    """Input: so many notches up and to the right; less than 0 is down, left."""

    up: int
    right: int = 0


class Mouse(Buttons):
    """A boot mouse, interface 03/01/02: the buttons left, right, middle, side and extra, and two wheels."""

    inputs = (Move, Scroll, *Buttons.inputs)
    buttons = POINTER_BUTTONS

    name = "Mouse"
    subclass = 1
    protocol_code = 2
    report_descriptor = to_bytes("""
        Usage Page (Generic Desktop), Usage (Mouse), Collection (Application)
            Usage (Pointer), Collection (Physical)
                Report Size (1), Report Count (5), Logical Minimum (0), Logical Maximum (1)
                Usage Page (Button), Usage Minimum (1), Usage Maximum (5), Input (Data, Variable, Absolute)
                Report Size (3), Report Count (1), Input (Constant)
                Report Size (8), Report Count (3), Logical Minimum (-127), Logical Maximum (127)
                Usage Page (Generic Desktop), Usage (X), Usage (Y), Usage (Wheel)
                Input (Data, Variable, Relative)
                Report Count (1), Usage Page (Consumer), Usage (AC Pan), Input (Data, Variable, Relative)
            End Collection
        End Collection
        """)

    def local(self, input: Move | Scroll | Click | PressButtons | ReleaseButtons) -> None:
        match input:
            case Move():
                self.queue(_REPORT.pack(self.held, dx, dy, 0, 0) for dx, dy in steps(input.dx, input.dy))
            case Scroll():
                self.queue(_REPORT.pack(self.held, 0, 0, *step) for step in steps(input.up, input.right))
            case _:
                super().local(input)

    def report_of(self, held: int) -> bytes:
        return _REPORT.pack(held, 0, 0, 0, 0)

    def boot_report(self, report: bytes) -> bytes:
        return report[:_BOOT_SIZE]


def steps(x: int, y: int, most: int = MOST) -> Iterator[tuple[int, int]]:
    """A straight way to (x, y) in the fewest steps of at most `most` each way; one of (0, 0) at least."""
    count = max(-(-max(abs(x), abs(y)) // most), 1)
    for n in range(count):
        yield x * (n + 1) // count - x * n // count, y * (n + 1) // count - y * n // count
