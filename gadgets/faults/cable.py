"""The cable between host and device, when faults pull at it. Who drives the device obeys its events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Unplugged:
    """Event: the device is gone. End the session, and let no host have it before `Plugged`."""


@dataclass(frozen=True, slots=True)
class Plugged:
    """Event: the device is there again, to be attached anew. `serial`: its number, if it has another."""

    serial: str = ""


@dataclass(frozen=True, slots=True)
class Replug:
    """Input: plug in what a fault pulled out."""


@dataclass(slots=True)
class Cable:
    """`left`: how often it will still be pulled out after it comes back. `wait`: ns until the next change, to
    be counted from the next tick; `due`: then when. Both None: nothing changes by itself."""

    plugged: bool = True
    serial: str = ""
    left: int = 0
    down_ns: int | None = None
    up_ns: int = 0
    wait: int | None = None
    due: int | None = None

    def pull(self, times: int, down_ns: int | None, up_ns: int, serial: str) -> None:
        self.left, self.down_ns, self.up_ns = times - 1, down_ns, up_ns
        self.serial = serial or self.serial
        self._unplug()

    def _unplug(self) -> None:
        self.plugged, self.wait, self.due = False, self.down_ns, None

    def replug(self) -> None:
        self.plugged, self.due = True, None
        self.wait = self.up_ns if self.left else None

    def tick(self, now_ns: int) -> bool:
        """True: it was just plugged in, or pulled out."""
        if self.wait is not None:
            self.due, self.wait = now_ns + self.wait, None
        if self.due is None or now_ns < self.due:
            return False
        if self.plugged:
            self.left -= 1
            self._unplug()
        else:
            self.replug()
        return True

    @property
    def wake_at(self) -> int | None:
        return self.due if self.wait is None else 0

    def snapshot(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, state[name])
