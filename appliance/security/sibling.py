"""Whom this appliance is paired with: one other, whose certificate is pinned."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from appliance.errors import Unavailable, UsageError
from appliance.security.identity import node_of, write_private

FILE: Final = "sibling.json"
LONGEST_NAME: Final = 64
LONGEST_CERTIFICATE: Final = 4096


@dataclass(frozen=True, slots=True)
class Sibling:
    name: str
    """What it calls itself; for people."""
    certificate: str
    """PEM; its very own, and no other is trusted."""
    host: str
    port: int
    """Where its daemon listens for this one."""

    @property
    def node(self) -> str:
        return node_of(self.certificate)


def parse_sibling(said: dict[str, Any]) -> Sibling:
    """UsageError unless it is one."""
    kinds = {"name": str, "certificate": str, "host": str, "port": int}
    if said.keys() != kinds.keys() or any(type(said[key]) is not kind for key, kind in kinds.items()):
        raise UsageError(f"a sibling has exactly {', '.join(kinds)}")
    sibling = Sibling(**said)
    if not sibling.name.isprintable() or not 0 < len(sibling.name) <= LONGEST_NAME:
        raise UsageError(f"an appliance's name has 1 to {LONGEST_NAME} printable characters")
    if len(sibling.certificate) > LONGEST_CERTIFICATE or not 0 < sibling.port < 65536:
        raise UsageError("a sibling's certificate or port is out of bounds")
    node_of(sibling.certificate)
    return sibling


def sibling_in(directory: Path) -> Sibling | None:
    """The one kept in `directory`. Unavailable if what is there cannot be read."""
    path = directory / FILE
    try:
        said = json.loads(path.read_text())
        return parse_sibling(said if isinstance(said, dict) else {})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, UsageError) as error:
        raise Unavailable(f"cannot read {path}: {error}; 'twinhub unpair', then pair again") from error


def keep_sibling(directory: Path, sibling: Sibling) -> None:
    try:
        write_private(directory / FILE, json.dumps(asdict(sibling), indent=2) + "\n")
    except OSError as error:
        raise Unavailable(f"cannot remember the sibling in {directory}: {error}") from error


def forget_sibling(directory: Path) -> None:
    (directory / FILE).unlink(missing_ok=True)
