"""Keyboard layouts, with libxkbcommon (what Linux desktops use) as the judge."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from pathlib import Path
from unicodedata import normalize

import pytest

from gadgets.hid.layouts import ALT_GR, LAYOUTS, SHIFT, Stroke, strokes
from gadgets.hid.usages import KEYS

LATIN_1 = [chr(code) for code in (9, 10, *range(0x20, 0x7F), *range(0xA0, 0x100))]
XKB_DATA = Path("/usr/share/X11/xkb")
XKB_OFFSET = 8
NAMES = {"uk": "gb"}
DEAD = {0xFE50: "\u0300", 0xFE51: "\u0301", 0xFE52: "\u0302", 0xFE53: "\u0303", 0xFE57: "\u0308"}
SPACING = {"\u0300 ": "`", "\u0302 ": "^", "\u0303 ": "~"}

EVDEV = dict(
    zip(
        [KEYS[key] for key in (*"1234567890", "minus", "equal", *"qwertyuiop", "leftbrace", "rightbrace")]
        + [KEYS[key] for key in (*"asdfghjkl", "semicolon", "apostrophe", "grave")]
        + [
            KEYS[key]
            for key in ("backslash", *"zxcvbnm", "comma", "dot", "slash", "102nd", "enter", "tab", "space")
        ]
        + [KEYS["ro"], KEYS["yen"]],
        [*range(2, 14), *range(16, 28), *range(30, 42), *range(43, 54), 86, 28, 15, 57, 89, 124],
        strict=True,
    )
)
"""Usage → key code. linux/input-event-codes.h"""


class Names(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("rules", "model", "layout", "variant", "options")]


class Xkb:
    """One keymap of libxkbcommon."""

    def __init__(self, library: ctypes.CDLL, layout: str) -> None:
        self.library = library
        for name in ("xkb_context_new", "xkb_keymap_new_from_names", "xkb_state_new"):
            getattr(library, name).restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(library.xkb_context_new(0))
        names = Names(b"evdev", b"pc105", NAMES.get(layout, layout).encode(), None, None)
        self.keymap = ctypes.c_void_p(library.xkb_keymap_new_from_names(self.context, ctypes.byref(names), 0))

    def close(self) -> None:
        self.library.xkb_keymap_unref(self.keymap)
        self.library.xkb_context_unref(self.context)

    def types(self, stroke: Stroke) -> str:
        state = ctypes.c_void_p(self.library.xkb_state_new(self.keymap))
        for modifier, code in ((SHIFT, 42), (ALT_GR, 100)):
            if stroke.modifiers & modifier:
                self.library.xkb_state_update_key(state, code + XKB_OFFSET, 1)
        code = EVDEV[stroke.usage] + XKB_OFFSET
        symbol = self.library.xkb_state_key_get_one_sym(state, code)
        text = ctypes.create_string_buffer(16)
        self.library.xkb_state_key_get_utf8(state, code, text, len(text))
        self.library.xkb_state_unref(state)
        return DEAD.get(symbol) or text.value.decode().replace("\r", "\n")


@pytest.fixture(params=[name for name in LAYOUTS if not name.endswith("-windows")])
def xkb(request: pytest.FixtureRequest) -> Iterator[tuple[str, Xkb]]:
    found = ctypes.util.find_library("xkbcommon")
    if found is None or not XKB_DATA.exists():
        pytest.skip("libxkbcommon or xkb-data is not installed; they judge the layouts")
    keymap = Xkb(ctypes.CDLL(found), request.param)
    yield request.param, keymap
    keymap.close()


def test_every_stroke_types_on_a_linux_desktop_what_the_table_says(xkb: tuple[str, Xkb]) -> None:
    name, keymap = xkb
    layout = LAYOUTS[name]
    wrong = {}
    for character in {*layout.table, *LATIN_1}:
        typed = "".join(keymap.types(stroke) for stroke in layout.strokes(character))
        if len(typed) == 2:
            typed = SPACING.get(typed) or normalize("NFC", typed[1] + typed[0])
        if typed not in ("", character):
            wrong[character] = typed
    assert not wrong


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_types_all_of_ascii(layout: str) -> None:
    text = "".join(LATIN_1[:97])
    assert len(list(strokes(text, layout))) >= len(text)


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("us", 'The quick brown fox, 3 < 4 && "quoted"; $HOME/~user {a[1]|b} `date`\n'),
        ("de", "Zwölf Boxkämpfer jagen Viktor über den großen Sylter Deich: 5 € für 3 m², Café à la carte"),
        ("uk", "It's £5 or €6: ~/it \\ #1 @home"),
        ("ch", "Zürich, <là-bas>: 5 ° é à ö ç [@] {~} ñ ô"),
        ("es", "¿Qué pasó? El pingüino añade 5 € (@home) [ç] {ñ}"),
        ("it", "Perché città è più {bella}: 5 €, ò@ù #1 [ì]"),
        ("jp", "{user@home} ~ `date` \\ _ | ^"),
        ("fr", "Voilà l'été: où sont les garçons? Noël coûte 5 €, l'île & la forêt"),
    ],
)
def test_a_sentence_of_the_language_can_be_typed(layout: str, text: str) -> None:
    assert len(list(strokes(text, layout))) >= len(text)


def test_decomposed_text_types_like_composed_text() -> None:
    assert list(strokes("u\u0308", "de")) == list(strokes("ü", "de"))


def test_shift_and_alt_gr_are_the_modifiers() -> None:
    assert list(strokes("@", "us")) == [Stroke(0x1F, SHIFT)]
    assert list(strokes("@", "de")) == [Stroke(0x14, ALT_GR)]
    assert list(strokes("@", "fr")) == [Stroke(0x27, ALT_GR)]


def test_windows_wants_a_space_after_tilde_and_grave_on_azerty() -> None:
    assert list(strokes("~", "fr")) == [Stroke(0x1F, ALT_GR)]
    assert list(strokes("~", "fr-windows")) == [Stroke(0x1F, ALT_GR), Stroke(0x2C)]
    assert list(strokes("ñ", "fr-windows")) == [Stroke(0x1F, ALT_GR), Stroke(0x11)]
