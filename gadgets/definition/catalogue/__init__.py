"""Ready gadgets: the TOML files beside this one, by their names."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from appliance.errors import NotFound
from appliance.explain import did_you_mean
from gadgets.definition.model import Definition
from gadgets.definition.toml import load

FOLDER = Path(__file__).parent


@cache
def catalogue() -> dict[str, Definition]:
    """Name → definition, in alphabetical order."""
    return {path.stem: load(path) for path in sorted(FOLDER.glob("*.toml"))}


def ready(name: str) -> Definition:
    """The one of this name. Raises NotFound."""
    found = catalogue().get(name)
    if found is None:
        raise NotFound(f"the catalogue has no {name!r}{did_you_mean(name, catalogue())}")
    return found
