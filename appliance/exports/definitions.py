"""What a gadget is, from each of the ways to say it. Apart from gadgets.py, since it needs all classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gadgets.definition import Definition, catalogue, load
from gadgets.definition.catalogue import ready
from gadgets.usb.records import from_plain, to_plain


def resolve(given: str | Path | Mapping[str, Any]) -> Definition:
    """Of the catalogue, a file, or plain values. UsageError for what makes no sense, with file and line."""
    if isinstance(given, Path):
        return load(given.resolve())
    if isinstance(given, str):
        return ready(given)
    return from_plain(Definition, given, "definition")


def plain(definition: Definition) -> dict[str, Any]:
    """As JSON carries it: what it is compared with has gone that way."""
    return dict(json.loads(json.dumps(to_plain(definition))))


def catalogue_told() -> list[dict[str, Any]]:
    """For lists: those that can be said by name."""
    return [{"name": name, "definition": to_plain(definition)} for name, definition in catalogue().items()]
