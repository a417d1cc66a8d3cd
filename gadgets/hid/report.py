"""The boot keyboard's reports. HID 1.11 appendix B.1 and E.6."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gadgets.hid.usages import FIRST_MODIFIER

KEYBOARD_REPORT_DESCRIPTOR = bytes.fromhex(
    "0501 0906 A101"  # usage page generic desktop, usage keyboard, collection application
    "0507 19E0 29E7 1500 2501 7501 9508 8102"  # 8 modifier bits
    "7508 9501 8101"  # a reserved byte
    "0508 1901 2905 7501 9505 9102 7503 9501 9101"  # out: 5 LEDs and 3 bits to fill the byte
    "0507 1900 2965 1500 2565 7508 9506 8100"  # 6 keys
    "C0"
)

REPORT_SIZE = 8
SLOTS = 6
ROLL_OVER = 0x01
"""In all six slots: more keys are down than the report can tell."""


def keyboard_report(usages: Collection[int]) -> bytes:
    """Modifiers, a reserved byte, at most six other keys in ascending order; more give roll-over."""
    modifiers = sum(1 << usage - FIRST_MODIFIER for usage in usages if usage >= FIRST_MODIFIER)
    keys = sorted(usage for usage in usages if usage < FIRST_MODIFIER)
    slots = bytes(keys).ljust(SLOTS, b"\x00") if len(keys) <= SLOTS else bytes((ROLL_OVER,)) * SLOTS
    return bytes((modifiers, 0)) + slots


def stroke_report(usage: int, modifiers: int) -> bytes:
    """One key with modifier bits."""
    return bytes((modifiers, 0, usage, 0, 0, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Leds:
    """Event: the lights the host wants lit."""

    num_lock: bool = False
    caps_lock: bool = False
    scroll_lock: bool = False
    compose: bool = False
    kana: bool = False

    @classmethod
    def parse(cls, byte: int) -> Leds:
        """The output report, bits 0 to 4. HID Usage Tables 1.4 §11."""
        return cls(*(bool(byte >> bit & 1) for bit in range(5)))
