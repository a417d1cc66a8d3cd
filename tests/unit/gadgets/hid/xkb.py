"""What a Linux desktop makes of keys: libxkbcommon with xkeyboard-config's keymaps, as a judge."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unicodedata import normalize

LIBRARY = ctypes.util.find_library("xkbcommon")
DATA = Path("/usr/share/X11/xkb")
IS_HERE = LIBRARY is not None and DATA.exists()

_CODE_OFFSET = 8
_RELEASED, _PRESSED = 0, 1
_DEAD = {0xFE50: "\u0300", 0xFE51: "\u0301", 0xFE52: "\u0302", 0xFE53: "\u0303", 0xFE57: "\u0308"}
_SPACING = {"\u0300": "`", "\u0302": "^", "\u0303": "~"}
"""What a dead key and the space bar give."""


class _Names(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("rules", "model", "layout", "variant", "options")]


class Keymap:
    """One layout by its name in xkeyboard-config: "us", "gb", "de"."""

    def __init__(self, library: ctypes.CDLL, keymap: ctypes.c_void_p) -> None:
        self._library = library
        self._keymap = keymap

    def text(self, events: Iterable[tuple[int, int]]) -> str:
        """What (evdev key code, 1 pressed, 0 released or 2 repeated) types, dead keys combined."""
        state = ctypes.c_void_p(self._library.xkb_state_new(self._keymap))
        typed, mark = "", ""
        for code, value in events:
            key = code + _CODE_OFFSET
            if value == _PRESSED:
                symbol = self._library.xkb_state_key_get_one_sym(state, key)
                character = self._character(state, key)
                if symbol in _DEAD:
                    mark = _DEAD[symbol]
                elif character:
                    typed += _combined(character, mark)
                    mark = ""
            if value in (_PRESSED, _RELEASED):
                self._library.xkb_state_update_key(state, key, value)
        self._library.xkb_state_unref(state)
        return typed

    def _character(self, state: ctypes.c_void_p, key: int) -> str:
        buffer = ctypes.create_string_buffer(16)
        self._library.xkb_state_key_get_utf8(state, key, buffer, len(buffer))
        return buffer.value.decode().replace("\r", "\n")


def _combined(character: str, mark: str) -> str:
    if not mark:
        return character
    return _SPACING.get(mark, mark) if character == " " else normalize("NFC", character + mark)


@contextmanager
def keymap(layout: str) -> Iterator[Keymap]:
    """Only where `IS_HERE`."""
    library = ctypes.CDLL(LIBRARY)
    for name in ("xkb_context_new", "xkb_keymap_new_from_names", "xkb_state_new"):
        getattr(library, name).restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.xkb_context_new(0))
    names = _Names(b"evdev", b"pc105", layout.encode(), None, None)
    found = ctypes.c_void_p(library.xkb_keymap_new_from_names(context, ctypes.byref(names), 0))
    try:
        yield Keymap(library, found)
    finally:
        library.xkb_keymap_unref(found)
        library.xkb_context_unref(context)
