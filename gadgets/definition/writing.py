"""A definition as TOML text: the inverse of `parse`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from gadgets.definition.model import Definition
from gadgets.definition.toml import APART
from gadgets.usb.records import options, to_plain

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_IN_HEX = {"vendor_id", "product_id", "bcd_device"}
_WIDEST = 90


def to_toml(definition: Definition) -> str:
    """What is at its default is left out, and so is the folder."""
    plain = to_plain(definition)
    defaults = to_plain(Definition("x"))
    about = {
        option.name: plain[option.name]
        for option in options(Definition)
        if option.name not in APART and plain[option.name] != defaults[option.name]
    }
    sections = [("[gadget]", {"name": definition.name, **about})]
    if plain["pinned"]:
        sections.append(("[pinned]", {key: value for key, value in plain["pinned"].items() if value}))
    for part in plain["functions"]:
        own = {key: part[key] for key in ("kind", "label", "interfaces") if part[key]}
        sections.append(("[[function]]", {**own, **part["options"]}))
    sections += [("[[fault]]", fault) for fault in plain["faults"]]
    return "\n".join(f"{header}\n{_lines(table)}" for header, table in sections)


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(
        f"{_key(key)} = {toml_of(key, value)}\n" for key, value in table.items() if value is not None
    )


def toml_of(key: str, value: Any) -> str:
    """The value of that key; ids are in hex."""
    return f"{value:#06x}" if key in _IN_HEX else toml_value(value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    """A basic string; JSON's escapes are TOML's, but for DEL, and surrogates, which TOML does not have."""
    quoted = json.dumps(
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), ensure_ascii=False
    )
    return quoted.replace("\x7f", "\\u007f")


def toml_value(value: Any) -> str:
    """A plain value as TOML writes it."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Mapping):
        inside = ", ".join(
            f"{_key(key)} = {toml_value(each)}" for key, each in value.items() if each is not None
        )
        return f"{{ {inside} }}" if inside else "{}"
    items = [toml_value(item) for item in value]
    short = f"[{', '.join(items)}]"
    return short if len(short) <= _WIDEST else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
