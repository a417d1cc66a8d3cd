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


def read_input(kinds: Iterable[type], given: object, where: str = "", base: Path | None = None) -> object:
    """One of `kinds`, `To` a function where that is named. What is an input already stays as it is. Raises
    UsageError."""
    if is_dataclass(given):
        return given
    if not isinstance(given, Mapping) or "function" not in given:
        return from_tagged(kinds, given, where, base)
    label = given["function"]
    if not isinstance(label, str):
        raise UsageError(f"{where}: function: found {label!r}, wanted the label of a function")
    rest = {key: value for key, value in given.items() if key != "function"}
    return To(label, from_tagged(kinds, rest, where, base))


def plain_input(input: Any) -> dict[str, Any]:
    """The inverse of `read_input`."""
    if isinstance(input, Mapping):
        return dict(input)
    return (
        {**to_tagged(input.input), "function": input.function} if isinstance(input, To) else to_tagged(input)
    )
