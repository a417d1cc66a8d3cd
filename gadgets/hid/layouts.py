"""Which keys type a text, by keyboard layout.

The tables are those of xkeyboard-config. Windows' agree in all that is here, but for these: AZERTY's tilde
and grave and the Spanish tilde are dead keys there (`fr-windows`, `es-windows`), and an Italian keyboard has
neither tilde nor grave. Each row is up to four strings, the characters of its keys from left to right:
alone, with shift, with AltGr, with both; a blank is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple, get_args
from unicodedata import normalize

from appliance.errors import UsageError

SHIFT, ALT_GR = 0x02, 0x40
"""Modifier bits of left shift and right alt."""


class Stroke(NamedTuple):
    """One key pressed with modifiers held, and released."""

    usage: int
    modifiers: int = 0


_ROWS = tuple(
    bytes.fromhex(row)
    for row in (
        "35 1E 1F 20 21 22 23 24 25 26 27 2D 2E 89",  # left of 1, then 1 to the last before backspace
        "14 1A 08 15 17 1C 18 0C 12 13 2F 30",  # from Q
        "04 16 07 09 0A 0B 0D 0E 0F 33 34 31",  # from A to the key left of, or above, enter
        "64 1D 1B 06 19 05 11 10 36 37 38 87",  # from the key right of left shift, then from Z
    )
)
_SAME_EVERYWHERE = {"\n": Stroke(0x28), "\t": Stroke(0x2B), " ": Stroke(0x2C)}

GRAVE, CIRCUMFLEX, TILDE = "\u0300", "\u0302", "\u0303"
ACUTE, DIAERESIS = "\u0301", "\u0308"
_SPACING = {"`": GRAVE, "^": CIRCUMFLEX, "~": TILDE}
"""What a dead key and the space bar type alike on Linux and Windows."""
LAST_COMPOSED = "ÿ"
"""Beyond Latin-1 the two differ in what a dead key combines with."""


@dataclass(frozen=True)
class Layout:
    """`dead`: combining character → the dead key that makes it."""

    rows: tuple[tuple[str, ...], ...]
    dead: Mapping[str, Stroke] = field(default_factory=dict)

    @cached_property
    def table(self) -> dict[str, Stroke]:
        """Character → its one stroke; the first that has it, with the fewest modifiers."""
        found = dict(_SAME_EVERYWHERE)
        for level, modifiers in enumerate((0, SHIFT, ALT_GR, SHIFT | ALT_GR)):
            for row, usages in zip(self.rows, _ROWS, strict=True):
                for character, usage in zip("".join(row[level : level + 1]), usages, strict=False):
                    if character != " ":
                        found.setdefault(character, Stroke(usage, modifiers))
        return found

    def strokes(self, character: str) -> tuple[Stroke, ...]:
        """Empty for a character this layout cannot type."""
        if character in self.table:
            return (self.table[character],)
        base, mark = character, _SPACING.get(character, "")
        if mark:
            base = " "
        elif character <= LAST_COMPOSED and len(parts := normalize("NFD", character)) == 2:
            base, mark = parts[0], parts[1]
        if mark in self.dead and base in self.table:
            return (self.dead[mark], self.table[base])
        return ()


US = Layout(
    (
        ("`1234567890-=", "~!@#$%^&*()_+"),
        ("qwertyuiop[]", "QWERTYUIOP{}"),
        ("asdfghjkl;'\\", 'ASDFGHJKL:"|'),
        (" zxcvbnm,./", " ZXCVBNM<>?"),
    )
)
UK = Layout(
    (
        ("`1234567890-=", '¬!"£$%^&*()_+', "    €"),
        ("qwertyuiop[]", "QWERTYUIOP{}"),
        ("asdfghjkl;'#", "ASDFGHJKL:@~"),
        ("\\zxcvbnm,./", "|ZXCVBNM<>?"),
    )
)
DE = Layout(
    (
        (" 1234567890ß ", '°!"§$%&/()=? ', "  ²³   {[]}\\ "),
        ("qwertzuiopü+", "QWERTZUIOPÜ*", "@ €        ~"),
        ("asdfghjklöä#", "ASDFGHJKLÖÄ'"),
        ("<yxcvbnm,.-", ">YXCVBNM;:_", "|      µ"),
    ),
    {CIRCUMFLEX: Stroke(0x35), ACUTE: Stroke(0x2E), GRAVE: Stroke(0x2E, SHIFT)},
)
CH = Layout(
    (
        ("§1234567890' ", '°+"*ç%&/()=? ', "  @#  ¬|¢"),
        ("qwertzuiopü ", "QWERTZUIOPè!", "  €       []"),
        ("asdfghjklöä$", "ASDFGHJKLéà£", "          {}"),
        ("<yxcvbnm,.-", ">YXCVBNM;:_", "\\"),
    ),
    {
        CIRCUMFLEX: Stroke(0x2E),
        GRAVE: Stroke(0x2E, SHIFT),
        TILDE: Stroke(0x2E, ALT_GR),
        ACUTE: Stroke(0x2D, ALT_GR),
        DIAERESIS: Stroke(0x30),
    },
)
FR = Layout(
    (
        ("²&é\"'(-è_çà)=", " 1234567890°+", "  ~#{[|`\\^@]}"),
        ("azertyuiop $", "AZERTYUIOP £", "  €        ¤"),
        ("qsdfghjklmù*", "QSDFGHJKLM%µ"),
        ("<wxcvbn,;:!", ">WXCVBN?./§"),
    ),
    {CIRCUMFLEX: Stroke(0x2F), DIAERESIS: Stroke(0x2F, SHIFT)},
)
FR_WINDOWS = replace(
    FR,
    rows=(("²&é\"'(-è_çà)=", " 1234567890°+", "   #{[| \\^@]}"), *FR.rows[1:]),
    dead={**FR.dead, TILDE: Stroke(0x1F, ALT_GR), GRAVE: Stroke(0x24, ALT_GR)},
)
ES = Layout(
    (
        ("º1234567890'¡", 'ª!"·$%&/()=?¿', "\\|@#~ ¬"),
        ("qwertyuiop +", "QWERTYUIOP *", "  €       []"),
        ("asdfghjklñ ç", "ASDFGHJKLÑ Ç", "          {}"),
        ("<zxcvbnm,.-", ">ZXCVBNM;:_"),
    ),
    {
        GRAVE: Stroke(0x2F),
        CIRCUMFLEX: Stroke(0x2F, SHIFT),
        ACUTE: Stroke(0x34),
        DIAERESIS: Stroke(0x34, SHIFT),
    },
)
ES_WINDOWS = replace(
    ES,
    rows=(("º1234567890'¡", 'ª!"·$%&/()=?¿', "\\|@#  ¬"), *ES.rows[1:]),
    dead={**ES.dead, TILDE: Stroke(0x21, ALT_GR)},
)
IT = Layout(
    (
        ("\\1234567890'ì", '|!"£$%&/()=?^', "           `~"),
        ("qwertyuiopè+", "QWERTYUIOPé*", "  €       []", "          {}"),
        ("asdfghjklòàù", "ASDFGHJKLç°§", "         @#"),
        ("<zxcvbnm,.-", ">ZXCVBNM;:_"),
    )
)
JP = Layout(
    (
        (" 1234567890-^\\", " !\"#$%&'() =~|"),
        ("qwertyuiop@[", "QWERTYUIOP`{"),
        ("asdfghjkl;:]", "ASDFGHJKL+*}"),
        (" zxcvbnm,./\\", " ZXCVBNM<>?_"),
    )
)
"""Of 106 keys, with no input method at work: Latin only."""

LayoutName = Literal["us", "uk", "de", "ch", "fr", "fr-windows", "es", "es-windows", "it", "jp"]
LAYOUTS: dict[str, Layout] = dict(
    zip(get_args(LayoutName), (US, UK, DE, CH, FR, FR_WINDOWS, ES, ES_WINDOWS, IT, JP), strict=True)
)


def strokes(text: str, layout: str = "us") -> Iterator[Stroke]:
    """The strokes that type `text`. Raises UsageError for an unknown layout, and for what it cannot type."""
    table = layout_of(layout)
    for at, character in enumerate(normalize("NFC", text)):
        found = table.strokes(character)
        if not found:
            raise UsageError(
                f"the layout {layout!r} cannot type {character!r} (character {at + 1} of the text)"
            )
        yield from found


def layout_of(name: str) -> Layout:
    """Raises UsageError for an unknown one."""
    if name not in LAYOUTS:
        raise UsageError(f"there is no keyboard layout {name!r}; there are {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
