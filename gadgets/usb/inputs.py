"""Local inputs as plain values: {"type_text": "hello", "layout": "de", "function": "keyboard-2"}.

The notation is records.py's tagged one; the key `function` picks the function where several take such.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from appliance.errors import UsageError
from gadgets.usb.device import To
from gadgets.usb.records import from_tagged, to_tagged

FOLDER = "$folder"
"""A key that goes along with an input which is read later: where its relative paths count from."""


def read_input(kinds: Iterable[type], given: object, where: str = "", base: Path | None = None) -> object:
    """One of `kinds`, `To` a function where that is named. What is an input already stays as it is. Raises
    UsageError."""
    if is_dataclass(given):
        return given
    if not isinstance(given, Mapping):
        return from_tagged(kinds, given, where, base)
    rest = dict(given)
    if FOLDER in rest:
        base = Path(str(rest.pop(FOLDER)))
    if "function" not in rest:
        return from_tagged(kinds, rest, where, base)
    label = rest.pop("function")
    if not isinstance(label, str):
        raise UsageError(f"{where}: function: found {label!r}, wanted the label of a function")
    return To(label, from_tagged(kinds, rest, where, base))


def rooted(given: object, folder: Path) -> object:
    """The same plain input, to be read later and anywhere."""
    return {FOLDER: str(folder), **given} if isinstance(given, Mapping) else given


def plain_input(input: Any) -> dict[str, Any]:
    """The inverse of `read_input`."""
    if isinstance(input, Mapping):
        return dict(input)
    return (
        {**to_tagged(input.input), "function": input.function} if isinstance(input, To) else to_tagged(input)
    )
