"""Values as people read them. Pure; the time now is handed in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

Row = Sequence[object]


def table(header: Sequence[str], rows: Iterable[Row], empty: str) -> str:
    """Aligned columns under `header`, "-" for None; `empty` if there are no rows. Ends with a newline."""
    cells = [[safe("-" if value in (None, "") else str(value)) for value in row] for row in rows]
    if not cells:
        return f"{empty}\n"
    lines = [list(header), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def safe(text: str) -> str:
    """`text` with what a terminal would obey, or lay out, made visible as U+FFFD."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def size(count: float) -> str:
    """Bytes, in three digits: 999 B, 1.21 KiB, 512 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"


def duration(seconds: float) -> str:
    """In its two largest units: 5 s, 2 min 5 s, 3 h 20 min, 1 d 2 h."""
    left = max(int(seconds), 0)
    parts: list[tuple[int, str]] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts or unit == "s":
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count or len(parts) == 1)


def moment(time: float) -> str:
    """A time since the epoch, by the clock on the wall here."""
    return datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def plural(count: int, thing: str) -> str:
    """1 session, 2 sessions, no sessions."""
    return f"{count or 'no'} {thing}{'' if count == 1 else 's'}"
