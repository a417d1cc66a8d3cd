"""Sizes as people write them."""

from __future__ import annotations

import re

from appliance.errors import UsageError

SIZE = re.compile(r"(\d{1,19})([KMGTP]?)(?:i?B)?", re.ASCII | re.IGNORECASE)
LARGEST = 1 << 62


def parse_size(text: str) -> int:
    """Bytes of "4096", "64M", "1 GiB", "3T"; the prefixes are powers of 1024."""
    found = SIZE.fullmatch(text.replace(" ", ""))
    if not found:
        raise UsageError(f"{text!r} is no size; write a number and K, M, G or T, such as 64M")
    size = int(found[1]) << 10 * " KMGTP".index(found[2].upper() or " ")
    if not 0 < size <= LARGEST:
        raise UsageError(f"a size of {text} is not possible")
    return size


def as_text(size: int) -> str:
    """The shortest text that `parse_size` reads as `size`."""
    step = max(step for step in range(6) if size % (1 << 10 * step) == 0)
    return f"{size >> 10 * step}{' KMGTP'[step]}".rstrip() if step else str(size)
