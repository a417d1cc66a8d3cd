"""The selector `gpio:CHIP:LINE,side=0|1[,oe=LINE][,sense=LINE][,pause=MS]`: an analog multiplexer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from appliance.errors import DeviceFailed, Unavailable, UsageError
from appliance.pair.selector.emulated import Emulated
from appliance.pair.selector.spec import Spec

MOST_LINES: Final = 1 << 16
SHORTEST_PAUSE: Final = 50
"""Milliseconds in which a host notices that the hub went."""
DEFAULT_PAUSE: Final = 100
MISSING: Final = "GPIO needs the Python package gpiod, version 2: `pip install 'twinhub[gpio]'`"


def open_spec(spec: Spec) -> GpioSelector:
    if "side" not in spec.options:
        raise spec.wrong("say with side=0 or side=1 at which level of the line the hub is ours")
    pause = spec.optional_number("pause", SHORTEST_PAUSE, 10_000)
    return GpioSelector(Multiplexer.of(spec), spec.number("side", spec.options["side"], 0, 1), pause)


class GpioSelector(Emulated):
    """The select line of a multiplexer, and its enable line if it is wired: then break before make.

    Not atomic, steals, keeps no epoch. Fences a hung peer, whose hub is gone, if our line alone decides
    (docs/selectors.md has the wiring); without `oe` it cannot leave the hub to nobody.
    """

    def __init__(self, multiplexer: Multiplexer, side: int, pause: int | None = None) -> None:
        super().__init__()
        self._multiplexer, self._side = multiplexer, side
        self._pause = (pause or DEFAULT_PAUSE) / 1000

    async def is_mine(self) -> bool:
        return self._multiplexer.read() == self._side

    async def take(self) -> None:
        if self._multiplexer.can_isolate:
            self._multiplexer.isolate()
            await asyncio.sleep(self._pause)
        self._multiplexer.connect(self._side)

    async def leave(self) -> None:
        if self._multiplexer.can_isolate:
            self._multiplexer.isolate()

    async def close(self) -> None:
        self._multiplexer.close()


@dataclass(frozen=True, slots=True)
class Multiplexer:
    """Such as TS3USB221 and FSUSB42: SEL chooses the side, OE# (low: connected) isolates both."""

    gpiod: Any
    request: Any
    settings: dict[int, Any]
    """of every line: they are given together, lest one loses its own when another is set"""
    select: int
    enable: int | None
    sense: int

    @classmethod
    def of(cls, spec: Spec) -> Multiplexer:
        """Takes the lines without changing them. Raises Unavailable."""
        chip, _, line = spec.place.rpartition(":")
        select = spec.number("the line", line, 0, MOST_LINES)
        enable = spec.optional_number("oe", 0, MOST_LINES)
        sense = spec.optional_number("sense", 0, MOST_LINES)
        try:
            import gpiod
        except ImportError as error:
            raise Unavailable(MISSING) from error
        lines = {select: gpiod.LineSettings(direction=gpiod.line.Direction.AS_IS)}
        if enable is not None:
            lines[enable] = gpiod.LineSettings(direction=gpiod.line.Direction.AS_IS, active_low=True)
        if sense is not None:
            lines[sense] = gpiod.LineSettings(direction=gpiod.line.Direction.INPUT)
        try:
            request = gpiod.request_lines(chip, consumer="twinhub", config=lines)
        except OSError as error:
            why = f"{error.strerror}; who else uses them?"
            raise Unavailable(f"cannot take the lines of {chip}: {why}") from error
        return cls(gpiod, request, lines, select, enable, select if sense is None else sense)

    @property
    def can_isolate(self) -> bool:
        return self.enable is not None

    def read(self) -> int | None:
        """The side that has the hub; None while it is isolated."""
        if self.enable is not None and not self._is_active(self.enable):
            return None
        return int(self._is_active(self.sense))

    def isolate(self) -> None:
        """Raises DeviceFailed when it reads back otherwise."""
        if self.enable is None:
            raise UsageError("a multiplexer isolates by its enable line: wire OE#, and say oe=LINE")
        self._set(self.enable, False)
        self._check(None)

    def connect(self, side: int) -> None:
        """Raises DeviceFailed when it reads back otherwise."""
        level = bool(side)
        if self.sense != self.select:
            # Behind an exclusive-or with the other appliance's line: the sense line turns when ours does.
            level ^= self._is_active(self.sense) ^ self._is_active(self.select)
        self._set(self.select, level)
        if self.enable is not None:
            self._set(self.enable, True)
        self._check(side)

    def close(self) -> None:
        self.request.release()

    def _is_active(self, line: int) -> bool:
        return bool(self.request.get_value(line) == self.gpiod.line.Value.ACTIVE)

    def _set(self, line: int, active: bool) -> None:
        value = self.gpiod.line.Value.ACTIVE if active else self.gpiod.line.Value.INACTIVE
        self.settings[line] = self.gpiod.LineSettings(
            direction=self.gpiod.line.Direction.OUTPUT, output_value=value, active_low=line == self.enable
        )
        self.request.reconfigure_lines(self.settings)

    def _check(self, wanted: int | None) -> None:
        if (found := self.read()) != wanted:
            sides = {None: "isolated", 0: "at side 0", 1: "at side 1"}
            raise DeviceFailed(f"the multiplexer is {sides[found]}, not {sides[wanted]}; check the wiring")
