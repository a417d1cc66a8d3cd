"""Media keys: volume, play, brightness. A function of its own, so that a boot keyboard stays one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.errors import UsageError
from gadgets.hid.descriptor_text import to_bytes
from gadgets.hid.function import HidFunction

MEDIA_KEYS = {
    "power": 0x030,
    "sleep": 0x032,
    "menu": 0x040,
    "brightnessup": 0x06F,
    "brightnessdown": 0x070,
    "fastforward": 0x0B3,
    "rewind": 0x0B4,
    "nextsong": 0x0B5,
    "previoussong": 0x0B6,
    "stopcd": 0x0B7,
    "ejectcd": 0x0B8,
    "playpause": 0x0CD,
    "mute": 0x0E2,
    "volumeup": 0x0E9,
    "volumedown": 0x0EA,
    "mail": 0x18A,
    "calc": 0x192,
    "search": 0x221,
    "homepage": 0x223,
    "back": 0x224,
    "forward": 0x225,
    "refresh": 0x227,
    "bookmarks": 0x22A,
}
"""By evdev's names in lower case. HID Usage Tables 1.5 §15."""


@dataclass(frozen=True, slots=True)
class TapKeys:
    """Input: these media keys are pressed and released, one after the other."""

    keys: tuple[str, ...]


class MediaKeys(HidFunction):
    """Keys for volume, playback and the like, interface 03/00/00, one at a time. Their names are evdev's in
    lower case: "volumeup", "playpause"; an unknown one is answered with all there are."""

    inputs = (TapKeys,)

    name = "Media keys"
    report_descriptor = to_bytes("""
        Usage Page (Consumer), Usage (Consumer Control), Collection (Application)
            Usage Minimum (0), Usage Maximum (0x3FF), Logical Minimum (0), Logical Maximum (0x3FF)
            Report Size (16), Report Count (1), Input (Data, Array, Absolute)
        End Collection
        """)

    def local(self, input: TapKeys) -> None:
        self.queue(_taps(input.keys))


def _taps(keys: tuple[str, ...]) -> Iterator[bytes]:
    for key in keys:
        if key not in MEDIA_KEYS:
            raise UsageError(f"there is no media key {key!r}; there are {', '.join(MEDIA_KEYS)}")
        yield MEDIA_KEYS[key].to_bytes(2, "little")
        yield bytes(2)
