"""What a disk tells: what hosts do with it that the operator may want to know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ejected:
    """Event: the host took the medium out; it is closed and everything on it is durable."""

    lun: int


@dataclass(frozen=True, slots=True)
class Prevented:
    """Event: the host locked the medium in (True) or let it go."""

    on: bool
    lun: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """Event: the host spun the disk down (True) or up again."""

    on: bool
    lun: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """Event: the host asked for it, and all that it wrote is durable now."""

    lun: int
