"""Keyboard layouts, with libxkbcommon (what Linux desktops use) as the judge."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gadgets.hid.layouts import ALT_GR, LAYOUTS, SHIFT, Stroke, strokes
from gadgets.hid.usages import KEYS
from tests.unit.gadgets.hid.xkb import IS_HERE, Keymap, keymap

LATIN_1 = [chr(code) for code in (9, 10, *range(0x20, 0x7F), *range(0xA0, 0x100))]
NAMES = {"uk": "gb"}
"""Of layouts that xkeyboard-config calls otherwise."""

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
"""Usage → evdev's key code. linux/input-event-codes.h"""


LEFT_SHIFT, RIGHT_ALT = 42, 100


@pytest.fixture(params=[name for name in LAYOUTS if not name.endswith("-windows")])
def judged(request: pytest.FixtureRequest) -> Iterator[tuple[str, Keymap]]:
    if not IS_HERE:
        pytest.skip("libxkbcommon or xkb-data is not installed; they judge the layouts")
    name: str = request.param
    with keymap(NAMES.get(name, name)) as judge:
        yield name, judge


def events_of(stroke: Stroke) -> Iterator[tuple[int, int]]:
    """As evdev tells it: key code, pressed or released."""
    modifiers = [code for bit, code in ((SHIFT, LEFT_SHIFT), (ALT_GR, RIGHT_ALT)) if stroke.modifiers & bit]
    for code in (*modifiers, EVDEV[stroke.usage]):
        yield code, 1
    for code in (EVDEV[stroke.usage], *modifiers):
        yield code, 0


def test_every_stroke_types_on_a_linux_desktop_what_the_table_says(judged: tuple[str, Keymap]) -> None:
    name, judge = judged
    layout = LAYOUTS[name]
    wrong = {}
    for character in {*layout.table, *LATIN_1}:
        found = layout.strokes(character)
        typed = judge.text(event for stroke in found for event in events_of(stroke))
        if found and typed != character:
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
