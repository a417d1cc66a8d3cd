"""Definitions in TOML. What is wrong in a file is told with file, line and key, and what may be there.

[gadget]            the fields of `Definition`
[[function]]        `kind`, `label`, and the options of that kind's class
[[fault]]           `kind`, and the fields of that fault
[pinned]            the fields of `Pinned`; then a function says its `interfaces`
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appliance.errors import ConfigError, UsageError
from appliance.explain import BadKey, did_you_mean, locate, read_file, shown
from gadgets.definition.kinds import class_of, fault_from, load_file, running
from gadgets.definition.model import Definition, Part, Pinned
from gadgets.usb.records import read, read_options, to_plain

SECTIONS = {"gadget": "[gadget]", "function": "[[function]]", "fault": "[[fault]]", "pinned": "[pinned]"}
LARGEST_FILE = 4 << 20
OWN_KEYS = {"kind", "label", "interfaces"}
"""Of [[function]]: not the class's."""
APART = {"functions", "faults", "pinned", "folder"}
"""Fields of a Definition that are not keys of [gadget]."""


def load(path: Path | str) -> Definition:
    """From a .toml file, or a .py file whose `gadget()` returns a Definition. Raises UsageError."""
    path = Path(path)
    if path.suffix == ".py":
        return load_python(path)
    return parse(read_file(path, LARGEST_FILE), str(path))


def load_python(path: Path) -> Definition:
    make = getattr(load_file(path), "gadget", None)
    with running(path):
        found = make() if callable(make) else None
    if not isinstance(found, Definition):
        raise UsageError(f"{path} must have a function gadget() that returns a Definition")
    return found


def parse(source: str, where: str = "gadget.toml") -> Definition:
    """The definition that `source` writes. Relative paths in it count from the folder of `where`; a gadget
    without a name has that of the file. Raises ConfigError."""
    try:
        document = tomllib.loads(source)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not TOML: {error}") from None

    @contextmanager
    def explained(section: str, nth: int = 0) -> Iterator[None]:
        """What is wrong in the `nth` of these sections is told with its place."""
        try:
            yield
        except (BadKey, UsageError) as error:
            line = line_of(source, section, error.key if isinstance(error, BadKey) else "", nth)
            raise ConfigError(f"{where}, line {line}: {SECTIONS.get(section, section)} {error}") from None

    for name, found in document.items():
        with explained(name):
            check_place(name, found)
    file = Path(where).absolute()
    functions, faults = [], []
    for nth, table in enumerate(document.get("function", [])):
        with explained("function", nth):
            functions.append(part_of(table, file.parent))
    for nth, table in enumerate(document.get("fault", [])):
        with explained("fault", nth):
            faults.append(fault_of(table, file.parent))
    with explained("pinned"):
        pinned = read(Pinned, document["pinned"]) if "pinned" in document else None
    with explained("gadget"):
        about = about_of({"name": file.stem, **document.get("gadget", {})})
        return Definition(
            **about, functions=tuple(functions), faults=tuple(faults), pinned=pinned, folder=file.parent
        )


def check_place(name: str, found: object) -> None:
    """Raises BadKey if `name = found` cannot be at the top of the file."""
    if name not in SECTIONS:
        raise BadKey("", f"is no section{did_you_mean(name, SECTIONS)}")
    several = SECTIONS[name].startswith("[[")
    tables = found if several else [found]
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise BadKey("", f"found {shown(found)}, wanted {SECTIONS[name]} above its keys")


def line_of(source: str, section: str, key: str, nth: int) -> int:
    """Where `key` (dotted) stands, or else what is around it."""
    path = (section, *key.split("."))
    around = locate(source, (section,), nth)
    lines = (locate(source, path[:size], nth) for size in range(len(path), 1, -1))
    return next((line for line in lines if line != around), around)


def about_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of [gadget], read. Raises BadKey."""
    known = [option for option in to_plain(Definition("x")) if option not in APART]
    for name in table:
        if name not in known:
            raise BadKey(name, f"unknown key{did_you_mean(name, known)}")
    return read_options(Definition, table)


def part_of(table: Mapping[str, Any], folder: Path) -> Part:
    """One [[function]], its options checked but not yet acted upon. Raises BadKey."""
    options = {name: found for name, found in table.items() if name not in OWN_KEYS}
    own = {name: found for name, found in table.items() if name in OWN_KEYS}
    part = read(Part, {**own, "options": options})
    try:
        kind = class_of(part.kind, folder)
    except UsageError as error:
        raise BadKey("kind", f"found {shown(part.kind)}: {error}") from None
    read_options(kind, options, folder)
    return part


def fault_of(table: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """One [[fault]], checked. Raises BadKey."""
    fault_from(table, folder)
    return dict(table)
