"""A gamepad as Linux, SDL and Windows know one without being told (Linux: Documentation/input/gamepad.rst).

Linux makes BTN_SOUTH (A) of the first button and goes on from there, so the names are evdev's. SDL derives
its mapping from those; Windows' DirectInput numbers them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from appliance.errors import UsageError
from gadgets.hid.buttons import Buttons, Click, PressButtons, ReleaseButtons
from gadgets.hid.descriptor_text import to_bytes

STICK_MOST, TRIGGER_MOST = 32767, 255

Side = Literal["left", "right"]
Direction = Literal["centre", "up", "up-right", "right", "down-right", "down", "down-left", "left", "up-left"]
DIRECTIONS: tuple[str, ...] = get_args(Direction)
"""Of the hat, by the value in the report."""

_REPORT = struct.Struct("<HB4h2B")


@dataclass(frozen=True, slots=True)
class Stick:
    """Input: a stick is held there, from -1 (left, up) to 1 (right, down)."""

    x: float
    y: float
    side: Side = "left"


@dataclass(frozen=True, slots=True)
class Trigger:
    """Input: a trigger is held so far, from 0 to 1."""

    pull: float
    side: Side = "left"


@dataclass(frozen=True, slots=True)
class Hat:
    """Input: the directional pad is held that way."""

    direction: Direction


@dataclass(frozen=True, slots=True)
class Controls:
    """What is not a button, as reported."""

    hat: int = 0
    left: tuple[int, int] = (0, 0)
    right: tuple[int, int] = (0, 0)
    triggers: tuple[int, int] = (0, 0)


class Gamepad(Buttons):
    """A gamepad, interface 03/00/00: two sticks (X Y, Rx Ry), two triggers (Z, Rz), a hat, and the buttons
    a, b, c, x, y, z, tl, tr, tl2, tr2, select, start, mode, thumbl and thumbr."""

    inputs = (Stick, Trigger, Hat, *Buttons.inputs)
    buttons = (
        "a", "b", "c", "x", "y", "z", "tl", "tr", "tl2", "tr2", "select", "start", "mode", "thumbl", "thumbr"
    )  # fmt: skip

    name = "Gamepad"
    interval_ms = 4
    report_descriptor = to_bytes("""
        Usage Page (Generic Desktop), Usage (Gamepad), Collection (Application)
            Report Size (1), Report Count (15), Logical Minimum (0), Logical Maximum (1)
            Usage Page (Button), Usage Minimum (1), Usage Maximum (15), Input (Data, Variable, Absolute)
            Report Count (1), Input (Constant)
            Usage Page (Generic Desktop), Usage (Hat Switch), Report Size (4)
            Logical Minimum (1), Logical Maximum (8)
            Physical Minimum (0), Physical Maximum (315), Unit (0x14)    # degrees
            Input (Data, Variable, Absolute, Null State)
            Input (Constant), Physical Maximum (0), Unit (0)
            Report Size (16), Report Count (4), Logical Minimum (-32767), Logical Maximum (32767)
            Usage (X), Usage (Y), Usage (Rx), Usage (Ry), Input (Data, Variable, Absolute)
            Report Size (8), Report Count (2), Logical Minimum (0), Logical Maximum (255)
            Usage (Z), Usage (Rz), Input (Data, Variable, Absolute)
        End Collection
        """)

    def _forget(self) -> None:
        super()._forget()
        self.controls = Controls()

    def local(self, input: Stick | Trigger | Hat | Click | PressButtons | ReleaseButtons) -> None:
        match input:
            case Stick():
                self._set(_stick(self.controls, input))
            case Trigger():
                self._set(_trigger(self.controls, input))
            case Hat():
                if input.direction not in DIRECTIONS:
                    raise UsageError(f"the hat knows no {input.direction!r}, but {', '.join(DIRECTIONS)}")
                self._set(replace(self.controls, hat=DIRECTIONS.index(input.direction)))
            case _:
                super().local(input)

    def _set(self, controls: Controls) -> None:
        self.queue([_report(self.held, controls)])
        self.controls = controls

    def report_of(self, held: int) -> bytes:
        return _report(held, self.controls)

    def snapshot(self) -> dict[str, Any]:
        c = self.controls
        return {**super().snapshot(), "controls": [c.hat, list(c.left), list(c.right), list(c.triggers)]}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        hat, *pairs = state["controls"]
        self.controls = Controls(hat, *((x, y) for x, y in pairs))


def _report(held: int, controls: Controls) -> bytes:
    return _REPORT.pack(held, controls.hat, *controls.left, *controls.right, *controls.triggers)


def _stick(controls: Controls, input: Stick) -> Controls:
    if not (-1 <= input.x <= 1 and -1 <= input.y <= 1):
        raise UsageError(f"a stick moves from -1 to 1 each way, not to ({input.x:g}, {input.y:g})")
    at = round(input.x * STICK_MOST), round(input.y * STICK_MOST)
    return replace(controls, left=at) if _is_left(input.side) else replace(controls, right=at)


def _trigger(controls: Controls, input: Trigger) -> Controls:
    if not 0 <= input.pull <= 1:
        raise UsageError(f"a trigger is pulled from 0 to 1, not {input.pull:g}")
    pull, (left, right) = round(input.pull * TRIGGER_MOST), controls.triggers
    return replace(controls, triggers=(pull, right) if _is_left(input.side) else (left, pull))


def _is_left(side: str) -> bool:
    if side not in ("left", "right"):
        raise UsageError(f"there is a left and a right one, no {side!r}")
    return side == "left"
