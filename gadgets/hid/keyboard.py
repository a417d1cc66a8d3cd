"""A boot keyboard: types text, presses keys, has lights. HID 1.11 appendix B.1, F.5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from appliance.errors import UsageError
from gadgets.hid.function import HidFunction
from gadgets.hid.items import ReportKind
from gadgets.hid.layouts import LayoutName, layout_of, strokes
from gadgets.hid.report import (
    KEYBOARD_REPORT_DESCRIPTOR,
    Leds,
    keyboard_report,
    stroke_report,
)
from gadgets.hid.usages import usage_of
from gadgets.usb.compose import Identity, compose
from gadgets.usb.device import GadgetDevice
from gadgets.usb.records import Range
from gadgets.usb.urb import Speed

RELEASED = keyboard_report(())
REPORTS_PER_KEY = 2
FASTEST = 1000
"""Keys a second; a full-speed host cannot look more often than twice as often."""


@dataclass(frozen=True, slots=True)
class Press:
    """Input: these keys go down and stay, by name ("leftctrl", "a"); more than six others are roll-over."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Input: these keys go up; none named: all."""

    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TypeText:
    """Input: type this, for a host that thinks the keyboard has this layout; unless given, the keyboard's
    own. Held keys are let go first."""

    text: str
    layout: str = ""


class Keyboard(HidFunction):
    """A boot keyboard, interface 03/01/01; its lights are told as `Leds`. `layout` is what text is typed for,
    and `keys_per_second` how fast, where 0 is as fast as the host looks."""

    inputs = (Press, Release, TypeText)

    name = "Keyboard"
    subclass = 1
    protocol_code = 1
    report_descriptor = KEYBOARD_REPORT_DESCRIPTOR
    idle_after_reset = 125
    """500 ms, as HID 1.11 §7.2.4 recommends for keyboards"""

    def __init__(
        self, *, layout: LayoutName = "us", keys_per_second: Annotated[float, Range(0, FASTEST)] = 0
    ) -> None:
        if not 0 <= keys_per_second <= FASTEST:
            raise UsageError(f"keys_per_second is a number from 0 (no limit) to {FASTEST}")
        layout_of(layout)
        self.layout = layout
        self.pause_ns = int(1e9 / keys_per_second / REPORTS_PER_KEY) if keys_per_second else 0
        super().__init__()

    def _forget(self) -> None:
        super()._forget()
        self.leds = Leds()
        self._held: frozenset[int] = frozenset()

    def local(self, input: Press | Release | TypeText) -> None:
        if isinstance(input, TypeText):
            self.queue(self._typed(input))
            self._held = frozenset()
            return
        named = frozenset(map(usage_of, input.keys))
        if isinstance(input, Press):
            held = self._held | named
        else:
            held = self._held - named if named else frozenset()
        self.queue([keyboard_report(held)])
        self._held = held

    def _typed(self, input: TypeText) -> Iterator[bytes]:
        """Each stroke is two reports: key down with its modifiers, and everything up."""
        if self._held:
            yield RELEASED
        for stroke in strokes(input.text, input.layout or self.layout):
            yield stroke_report(*stroke)
            yield RELEASED

    def on_report(self, kind: ReportKind, report: bytes) -> None:
        leds = Leds.parse(report[0])
        if leds != self.leds:
            self.leds = leds
            self.tell(leds)

    def snapshot(self) -> dict[str, Any]:
        lights = (getattr(self.leds, name) << bit for bit, name in enumerate(Leds.__slots__))
        return {**super().snapshot(), "leds": sum(lights), "held": sorted(self._held)}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.leds = Leds.parse(state["leds"])
        self._held = frozenset(state["held"])


def keyboard(*, serial: str = "", speed: Speed = Speed.FULL) -> GadgetDevice:
    """A ready USB keyboard. The ids are of pid.codes' test range (1209:0001)."""
    identity = Identity(0x1209, 0x0001, manufacturer="Twinhub", product="Twinhub Keyboard", serial=serial)
    return compose(identity, [Keyboard()], speed=speed, remote_wakeup=True)
