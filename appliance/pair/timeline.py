"""How long each step of a takeover took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Timeline:
    """Begins now. `steps`: name → milliseconds since the beginning."""

    what: str
    epoch: int
    steps: dict[str, float] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    """exports whose clients noticed nothing"""
    lost: list[str] = field(default_factory=list)
    """exports whose clients were reset, and why"""
    began: float = field(default_factory=time.monotonic)
    at: float = field(default_factory=time.time)
    """seconds since 1970"""

    def reached(self, step: str) -> None:
        self.steps[step] = round((time.monotonic() - self.began) * 1000, 3)

    def to_json(self) -> dict[str, Any]:
        told = {"what": self.what, "epoch": self.epoch, "at": self.at, "steps_ms": self.steps}
        return {**told, "kept": self.kept, "lost": self.lost}
