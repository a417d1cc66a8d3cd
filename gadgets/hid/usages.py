"""Keys by name, as evdev has them in lower case, with their usages. HID Usage Tables 1.4 §10."""

from __future__ import annotations

from difflib import get_close_matches

from appliance.errors import UsageError

FIRST_MODIFIER = 0xE0

_FROM_A = """
a b c d e f g h i j k l m n o p q r s t u v w x y z 1 2 3 4 5 6 7 8 9 0
enter esc backspace tab space minus equal leftbrace rightbrace backslash nonushash semicolon
apostrophe grave comma dot slash capslock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12 sysrq scrolllock
pause insert home pageup delete end pagedown right left down up numlock kpslash kpasterisk kpminus
kpplus kpenter kp1 kp2 kp3 kp4 kp5 kp6 kp7 kp8 kp9 kp0 kpdot 102nd compose
power kpequal f13 f14 f15 f16 f17 f18 f19 f20 f21 f22 f23 f24 open help props front stop again undo
cut copy paste find mute volumeup volumedown
"""
_FROM_INTERNATIONAL_1 = "ro katakanahiragana yen henkan muhenkan kpjpcomma"
_MODIFIERS = "leftctrl leftshift leftalt leftmeta rightctrl rightshift rightalt rightmeta"

KEYS: dict[str, int] = dict(
    [(name, usage) for usage, name in enumerate(_FROM_A.split(), 0x04)]
    + [(name, usage) for usage, name in enumerate(_FROM_INTERNATIONAL_1.split(), 0x87)]
    + [(name, usage) for usage, name in enumerate(_MODIFIERS.split(), FIRST_MODIFIER)]
)


def usage_of(key: str) -> int:
    """Raises UsageError for an unknown name, with the nearest one."""
    usage = KEYS.get(key.lower())
    if usage is None:
        near = get_close_matches(key.lower(), KEYS, 1)
        hint = (
            f"; did you mean {near[0]!r}?"
            if near
            else "; names are evdev's in lower case, such as 'leftctrl'"
        )
        raise UsageError(f"there is no key {key!r}{hint}")
    return usage
