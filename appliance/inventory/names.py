"""Names of vendors, products and classes out of the usb.ids database (Debian: usb.ids, hwdata)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Final

PLACES: Final = ("usr/share/hwdata/usb.ids", "usr/share/misc/usb.ids", "var/lib/usbutils/usb.ids")
MAX_LINES: Final = 200_000
MAX_LINE: Final = 120
"""Characters; a longer name is cut."""

_ENTRY: Final = re.compile(r"(\t|C |)([0-9a-fA-F]{2,4})  (\S.*)")


@dataclass(frozen=True, slots=True)
class Names:
    vendors: dict[int, str] = field(default_factory=dict)
    products: dict[tuple[int, int], str] = field(default_factory=dict)
    classes: dict[int, str] = field(default_factory=dict)


def parse(lines: Iterable[str]) -> Names:
    """The vendor, product and class entries of a usb.ids file; all else in it is passed over. Never raises.

    `VVVV  vendor`, below it `<tab>PPPP  product`; `C cc  class`, whose subclasses we do not need.
    """
    names = Names()
    vendor: int | None = None
    for line in islice(lines, MAX_LINES):
        entry = _ENTRY.match(line[:MAX_LINE].rstrip())
        if entry is None:
            if not line.startswith(("#", "\t")) and line.strip():
                vendor = None  # another section: HID usages, languages, …
            continue
        kind, code, name = entry[1], int(entry[2], 16), entry[3]
        match kind:
            case "C ":
                vendor = None
                names.classes[code] = name
            case "":
                vendor = code
                names.vendors[code] = name
            case _ if vendor is not None:
                names.products[vendor, code] = name
    return names


@lru_cache(maxsize=2)
def load(root: str) -> Names:
    """The database of the system under `root`, read once; empty where it is not installed."""
    for place in PLACES:
        try:
            with Path(root, place).open(encoding="utf-8", errors="replace") as lines:
                return parse(lines)
        except OSError:
            continue
    return Names()
