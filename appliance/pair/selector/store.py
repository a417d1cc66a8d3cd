"""Standings on the disk of witness and arbiter: what they have answered, a crash does not take back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from appliance.errors import ConfigError, Unavailable
from appliance.pair.model import Standing
from appliance.pair.selector.register import is_epoch, is_node

LARGEST: Final = 4 << 20
"""Bytes of the file: far more than a witness' groups need."""

LOST: Final = (
    "the epochs in it protect every group: restore it, or move it away and start once with --first-epoch, "
    "above the epoch that `twinhub pair status` shows"
)


def load(path: Path) -> dict[str, Standing]:
    """What `save` wrote; nothing when there is no file yet. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read the state {path}: {error.strerror}") from None
    try:
        return {name: _standing(found) for name, found in json.loads(data)["standings"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ConfigError(f"{path} is not what was written there; {LOST}") from None


def save(path: Path, standings: Mapping[str, Standing]) -> None:
    """On the disk when this returns; a crash leaves the old file or the new. Raises Unavailable."""
    written = {name: [s.owner, s.epoch, s.heir] for name, s in standings.items()}
    fresh = path.with_name(path.name + ".new")
    try:
        with open(fresh, "w", encoding="utf-8", opener=_private) as file:
            json.dump({"standings": written}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Unavailable(f"cannot write the state {path}: {error.strerror}; is the disk full?") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _standing(found: Any) -> Standing:
    owner, epoch, heir = found
    if not (is_epoch(epoch) and all(node is None or is_node(node) for node in (owner, heir))):
        raise ValueError
    return Standing(owner, epoch, heir)
