"""The same against this machine's kernel, where every program sees the gadget: takes root and vhci_hcd."""

from __future__ import annotations

import struct

from gadgets.hid.report import Leds

EVENT = struct.Struct("llHHi")
KEY, LED = 0x01, 0x11
KEY_H, KEY_I, CAPS_LOCK = 35, 23, 1


def pressed(events, count):
    keys = []
    while len(keys) < count:
        *_, kind, code, value = EVENT.unpack(events.read(EVENT.size))
        if kind == KEY and value == 1:
            keys.append(code)
    return keys


def test_typing_and_lights(attached):
    keyboard = attached("keyboard")
    node = keyboard.wait_for(lambda: next(keyboard.syspath.glob("*/*/input/input*/event*"), None))
    with open(f"/dev/input/{node.name}", "r+b", buffering=0) as events:
        keyboard.send(type_text="hi")
        assert pressed(events, 2) == [KEY_H, KEY_I]
        events.write(EVENT.pack(0, 0, LED, CAPS_LOCK, 1))
        assert keyboard.wait_for(Leds).caps_lock
