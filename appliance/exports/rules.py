"""A rule says which devices are shared, and how: `[[share]]` in the configuration, or `twinhub share …`.

Both ways of writing it give the same table of keys (`RULE_KEYS`). All conditions of a rule must hold; the first
matching rule wins. Rules made by `twinhub share` come first, the newest before the older; then those of the
configuration, in the order of the file. So what was said last, wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from appliance.exports.keys import Network

Mode = Literal["relayed", "direct"]
TakeOver = Literal["never", "same-host", "anyone"]


@dataclass(frozen=True)
class ExportOptions:
    """How an export is served."""

    mode: Mode = "relayed"
    allow: tuple[Network, ...] = ()
    """Who may list and import it; empty: everyone whom the listener admits."""
    take_over: TakeOver = "same-host"
    """Who may take it while it is in use."""
    idle_seconds: float = 0.0
    """A session without a URB for so long is ended; 0: never."""


@dataclass(frozen=True)
class Condition:
    """One thing that must hold of a device: `key` is of CONDITIONS."""

    key: str
    value: str


@dataclass(frozen=True)
class Match:
    """All `conditions` hold; at least one."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Rule:
    id: str
    """Names it to the user: "share-7" (made by `twinhub share`), "config-2" (the second [[share]])."""
    match: Match
    name: str | None = None
    """The export name that the operator chose."""
    exclude: bool = False
    """What matches is not shared."""
    options: ExportOptions = ExportOptions()
