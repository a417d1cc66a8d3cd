"""What a faulty device tells about its faults; see also Unplugged and Plugged (cable.py)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FaultFired:
    """A fault did what it does, the `times`-th time; `urb` and `endpoint` are the transfer's, if any."""

    fault: str
    kind: str
    times: int
    urb: int | None = None
    endpoint: int | None = None


@dataclass(frozen=True, slots=True)
class FaultFailed:
    """A local input that a fault gave was refused."""

    fault: str
    reason: str
