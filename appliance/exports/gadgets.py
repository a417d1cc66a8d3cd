"""How software gadgets are written: one table of keys for `[[gadget]]` in TOML and in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.explain import BadKey
from appliance.exports import names
from appliance.exports.keys import NETWORKS, Key, Kind, choice, read, require, seconds, text, whole
from appliance.exports.rules import DEFAULTS, ExportOptions
from appliance.exports.words import LONGEST_IDLE

MOST = 64
"""Gadgets of one table."""


@dataclass(frozen=True)
class GadgetTable:
    """Gadgets of one definition: a name of the catalogue, a file, or the definition's plain values."""

    names: tuple[str, ...]
    definition: str | Path | Mapping[str, Any]
    options: ExportOptions


def _name(found: object) -> str:
    require(isinstance(found, str) and names.is_name(found))
    return str(found)


def _definition(found: object) -> str | Mapping[str, Any]:
    """In JSON it may stand there itself."""
    return found if isinstance(found, Mapping) else str(_TEXT.parse(found))


_TEXT = text(longest=4096)

POLICY_KEYS = (
    Key("allow", NETWORKS, (),
        "The clients that may list and import it, out of those that [listen] `allow` admits; counts for"
        " loopback too.",
        "all that are admitted"),
    Key("take_over", choice("never", "same-host", "anyone"), None,
        "Who may take it while it is in use: no one, the same client address again, or everyone who may"
        " import it.",
        "as [sessions]"),
    Key("idle", seconds(0, LONGEST_IDLE), None,
        "Ends a session that was idle for so long; 0: never.",
        "as [sessions]"),
)  # fmt: skip

GADGET_KEYS = (
    Key("definition", Kind("a gadget of the catalogue, or the path of a file", _definition), None,
        "What it is: a name that `twinhub gadget list --catalogue` prints, or a file, told by a `/`, `.toml`"
        " or `.py` in its name; a relative path counts from the configuration's directory."),
    Key("name", Kind(names.WANTED, _name), None,
        "The name to offer it under.",
        "that of the catalogue or the file"),
    Key("count", whole(1, MOST), 1,
        "How many of them. The first has the name, the others are numbered: `keyboard-2` and so on."),
    *POLICY_KEYS,
)  # fmt: skip

GADGET_HELP = """Software devices to serve; they need no USB hardware and no root. Each runs in a process
of its own from the daemon's start on; one whose definition has changed is started anew with the daemon.
Others can be added and removed while the daemon runs: `twinhub gadget add`.

```toml
[[gadget]]
definition = "keyboard"
count = 2
```"""


def parse_gadget(
    table: Mapping[str, Any], defaults: ExportOptions = DEFAULTS, base: Path = Path()
) -> GadgetTable:
    """What `table` writes; BadKey for what is wrong in it. Relative paths count from `base`."""
    value = read(GADGET_KEYS, table)
    definition, name = value["definition"], value["name"]
    if definition is None:
        raise BadKey("definition", f"is missing; wanted {GADGET_KEYS[0].kind.wanted}")
    if isinstance(definition, Mapping):
        name = name or definition.get("name")
    elif is_path(definition):
        definition = base / definition
        name = name or definition.stem
    all_names = numbered(str(name or definition), value["count"])
    for each in all_names:
        if not names.is_name(each):
            raise BadKey("name", f"{each!r} cannot name a gadget; wanted {names.WANTED}")
    return GadgetTable(all_names, definition, options_of(value, defaults))


def options_of(value: Mapping[str, Any], defaults: ExportOptions) -> ExportOptions:
    return ExportOptions(
        mode=defaults.mode,
        allow=value["allow"],
        take_over=value["take_over"] or defaults.take_over,
        idle_seconds=defaults.idle_seconds if value["idle"] is None else value["idle"] or None,
    )


def is_path(definition: str) -> bool:
    """The path of a file, not a name of the catalogue."""
    return "/" in definition or definition.endswith((".toml", ".py"))


def numbered(name: str, count: int) -> tuple[str, ...]:
    """("keyboard", "keyboard-2", …): the first goes without a number."""
    return tuple(name if number == 1 else f"{name}-{number}" for number in range(1, count + 1))
