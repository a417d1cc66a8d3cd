"""The boot keyboard's reports. HID 1.11 appendix B.1 and E.6."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gadgets.hid.descriptor_text import to_bytes
from gadgets.hid.usages import FIRST_MODIFIER

KEYBOARD_REPORT_DESCRIPTOR = to_bytes("""
    Usage Page (Generic Desktop), Usage (Keyboard), Collection (Application)
        Report Size (1), Report Count (8)    # modifiers
        Usage Page (Keyboard), Usage Minimum (0xE0), Usage Maximum (0xE7)
        Logical Minimum (0), Logical Maximum (1), Input (Data, Variable, Absolute)
        Report Size (8), Report Count (1), Input (Constant)
        Report Size (1), Report Count (5)    # lights
        Usage Page (LED), Usage Minimum (Num Lock), Usage Maximum (Kana), Output (Data, Variable, Absolute)
        Report Size (3), Report Count (1), Output (Constant)
        Report Size (8), Report Count (6)    # keys
        Usage Page (Keyboard), Usage Minimum (0), Usage Maximum (0xDD)
        Logical Minimum (0), Logical Maximum (0xDD), Input (Data, Array, Absolute)
    End Collection
    """)

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
