"""Report descriptors as readable text, both ways, in the notation of HID 1.11 appendix E.

    Usage Page (Generic Desktop), Usage (Mouse), Collection (Application),   # a comment
        Usage Page (Button), Usage Minimum (1), Usage Maximum (3),
        Logical Minimum (0), Logical Maximum (1), Report Count (3), Report Size (1),
        Input (Data, Variable, Absolute),
        …
    End Collection

Commas and line ends separate items. A value is a number (255, 0xFF, -127) or a name, looked up in
gadgets/hid/names.py; a usage's in the page at hand. An item takes the fewest bytes that hold its value, and
that is not always what a device has: `Logical Minimum (0, 2 bytes)`. `Bytes (FC 01 02)` is anything else.
Plain bytes are read too: "05 01 09 02", or a C array with its comments, which many tools print.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from appliance.errors import UsageError
from gadgets.hid.items import WITHOUT_DATA, Item, Tag, parse_items, short_item
from gadgets.hid.names import PAGES, USAGES

MAX_DESCRIPTOR = 0xFFFF
"""Bytes; wDescriptorLength has no room for more."""

_NAMES = {tag: tag.name.replace("_", " ").title().replace("Id", "ID") for tag in Tag}
_TAGS = {name.lower(): tag for tag, name in _NAMES.items()}
_COLLECTIONS = dict(
    enumerate(
        ("Physical", "Application", "Logical", "Report", "Named Array", "Usage Switch", "Usage Modifier")
    )
)
_FLAGS = (
    ("Data", "Constant"),
    ("Array", "Variable"),
    ("Absolute", "Relative"),
    ("No Wrap", "Wrap"),
    ("Linear", "Nonlinear"),
    ("Preferred State", "No Preferred"),
    ("No Null Position", "Null State"),
    ("Non-volatile", "Volatile"),
    ("Bit Field", "Buffered Bytes"),
)
"""Of Input, Output and Feature items, from bit 0: clear, set. HID 1.11 §6.2.2.5."""
_ALWAYS_TOLD = 3
_FLAG_BITS = {name.lower(): (bit, at) for bit, pair in enumerate(_FLAGS) for at, name in enumerate(pair)}
_FLAG_BITS |= {"cnst": (0, 1), "arr": (1, 0), "var": (1, 1), "abs": (2, 0), "rel": (2, 1)}
_FLAGGED = (Tag.INPUT, Tag.OUTPUT, Tag.FEATURE)
_USAGE_TAGS = (Tag.USAGE, Tag.USAGE_MINIMUM, Tag.USAGE_MAXIMUM)
_HEXADECIMAL = (Tag.USAGE_PAGE, Tag.UNIT, *_USAGE_TAGS)

_PIECE = re.compile(r"[^,\n()]+(?:\([^()]*\)?)?|[()][^,\n]*")
_ITEM = re.compile(r"([a-z][a-z ]*?)\s*(?:\((.*)\))?", re.IGNORECASE | re.DOTALL)
_SIZE = re.compile(r"(.*?)\s*(?:(?:^|,)\s*([0124]) bytes?)?", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(r"-?(?:0x[0-9a-f]{1,16}|[0-9]{1,20})", re.IGNORECASE)
_AROUND_HEX = re.compile(r"(?://|#).*|\b0x|,", re.IGNORECASE)
_HEX_BYTES = re.compile(r"[0-9a-f\s]+", re.IGNORECASE)


class _Pages:
    """The usage page at each item: a global, which Push and Pop keep. HID 1.11 §6.2.2.7."""

    def __init__(self) -> None:
        self.now = 0
        self._pushed: list[int] = []

    def pass_by(self, item: Item) -> None:
        match item.tag:
            case Tag.USAGE_PAGE:
                self.now = item.value
            case Tag.PUSH:
                self._pushed.append(self.now)
            case Tag.POP if self._pushed:
                self.now = self._pushed.pop()

    def names(self, tag: Tag) -> Mapping[int, str]:
        """What the values of such an item are called here."""
        if tag is Tag.USAGE_PAGE:
            return PAGES
        if tag is Tag.COLLECTION:
            return _COLLECTIONS
        return USAGES.get(self.now, {}) if tag in _USAGE_TAGS else {}


# Bytes to text


def to_text(descriptor: bytes) -> str:
    """One item a line, collections indented. `to_bytes` gives the same bytes. Raises UsageError as
    `parse_items` does."""
    return "\n".join(_lines(parse_items(descriptor)))


def _lines(items: Iterable[Item]) -> Iterator[str]:
    pages, depth = _Pages(), 0
    for item in items:
        depth -= item.tag is Tag.END_COLLECTION
        yield "    " * max(depth, 0) + _item_text(item, pages)
        depth += item.tag is Tag.COLLECTION
        pages.pass_by(item)


def _item_text(item: Item, pages: _Pages) -> str:
    tag = item.tag
    if tag is None:
        return f"Bytes ({item.emit().hex(' ').upper()})"
    told = [_value_text(tag, item.value, pages.names(tag))]
    if tag in WITHOUT_DATA and not item.value:
        told = []
    if item != short_item(tag, item.value):
        told.append(f"{len(item.data)} byte{'s' * (len(item.data) != 1)}")
    return f"{_NAMES[tag]} ({', '.join(told)})" if told else _NAMES[tag]


def _value_text(tag: Tag, value: int, names: Mapping[int, str]) -> str:
    if tag in _FLAGGED and value >> len(_FLAGS) == 0:
        told = (
            pair[value >> bit & 1]
            for bit, pair in enumerate(_FLAGS)
            if bit < _ALWAYS_TOLD or value >> bit & 1
        )
        return ", ".join(told)
    if value in names:
        return names[value]
    return f"0x{value:02X}" if tag in _HEXADECIMAL else str(value)


# Text to bytes


def to_bytes(text: str) -> bytes:
    """The inverse; takes plain bytes as well. Raises UsageError, which names the item."""
    bare = _AROUND_HEX.sub(" ", text)
    descriptor = _hex(bare) if _HEX_BYTES.fullmatch(bare) else b"".join(_items(text))
    if len(descriptor) > MAX_DESCRIPTOR:
        raise UsageError(f"the report descriptor has {len(descriptor)} bytes; {MAX_DESCRIPTOR} is the most")
    return descriptor


def _items(text: str) -> Iterator[bytes]:
    pages = _Pages()
    for line in text.splitlines():
        for piece in _PIECE.findall(line.partition("#")[0]):
            if piece.strip():
                yield _parse(piece.strip(), pages)


def _parse(piece: str, pages: _Pages) -> bytes:
    match = _ITEM.fullmatch(piece)
    if match is None:
        raise UsageError(f"{piece!r} is no item of a report descriptor; one looks like 'Usage (Mouse)'")
    name, inner = " ".join(match[1].lower().split()), match[2]
    if name == "bytes":
        return _hex(inner or "")
    if name not in _TAGS:
        raise UsageError(f"a report descriptor has no item {match[1]!r}{_hint(name, _NAMES.values())}")
    tag = _TAGS[name]
    value, size = _SIZE.fullmatch(inner or "").groups()  # type: ignore[union-attr]
    item = short_item(tag, _value(piece, tag, value, pages.names(tag)), int(size) if size else None)
    pages.pass_by(item)
    return item.emit()


def _value(piece: str, tag: Tag, text: str, names: Mapping[int, str]) -> int:
    if tag in WITHOUT_DATA and not text:
        return 0
    if _NUMBER.fullmatch(text):
        number = int(text, 0) if "x" in text.lower() else int(text)
        return number & 0xF if tag is Tag.UNIT_EXPONENT and number < 0 else number
    if tag in _FLAGGED:
        return _flags(piece, text)
    wanted = " ".join(text.lower().split())
    for number, name in names.items():
        if name.lower() == wanted:
            return number
    raise UsageError(
        f"{piece!r}: there is no {text!r} here{_hint(wanted, names.values())}; a number always does"
    )


def _flags(piece: str, text: str) -> int:
    value = 0
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word.lower() not in _FLAG_BITS:
            raise UsageError(f"{piece!r}: there is no {word!r}{_hint(word.lower(), sum(_FLAGS, ()))}")
        bit, on = _FLAG_BITS[word.lower()]
        value |= on << bit
    return value


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise UsageError(f"{text[:40]!r} are no bytes in hexadecimal, such as '05 01 09 02'") from None


def _hint(wrong: str, names: Iterable[str]) -> str:
    by_lower = {name.lower(): name for name in names}
    near = get_close_matches(wrong, by_lower, 1)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""
