"""What has buttons: pointers, gamepads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, ClassVar

from appliance.errors import UsageError
from gadgets.hid.function import HidFunction


@dataclass(frozen=True, slots=True)
class Click:
    """Input: a button goes down and up again, `count` times."""

    button: str = "left"
    count: int = 1


@dataclass(frozen=True, slots=True)
class PressButtons:
    """Input: these buttons go down and stay."""

    buttons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReleaseButtons:
    """Input: these buttons go up; none named: all."""

    buttons: tuple[str, ...] = ()


class Buttons(HidFunction):
    """A class on top of it names its `buttons`, in the order of their bits, and makes reports of them."""

    inputs: ClassVar[tuple[type, ...]] = (Click, PressButtons, ReleaseButtons)
    buttons: ClassVar[tuple[str, ...]]

    def _forget(self) -> None:
        super()._forget()
        self.held = 0
        """one bit a button"""

    def report_of(self, held: int) -> bytes:
        """The input report that tells these buttons, and all else as it is."""
        raise NotImplementedError

    def local(self, input: Click | PressButtons | ReleaseButtons) -> None:
        match input:
            case Click():
                if input.count < 1:
                    raise UsageError(f"a button can be clicked once or more often, not {input.count} times")
                held = self.held & ~self._bits((input.button,))
                down = self.report_of(self.held | self._bits((input.button,)))
                self.queue(chain.from_iterable(repeat((down, self.report_of(held)), input.count)))
            case PressButtons():
                held = self.held | self._bits(input.buttons)
                self.queue([self.report_of(held)])
            case ReleaseButtons():
                held = self.held & ~self._bits(input.buttons) if input.buttons else 0
                self.queue([self.report_of(held)])
        self.held = held

    def _bits(self, names: Iterable[str]) -> int:
        bits = 0
        for name in names:
            if name not in self.buttons:
                raise UsageError(f"there is no button {name!r}; there are {', '.join(self.buttons)}")
            bits |= 1 << self.buttons.index(name)
        return bits

    def snapshot(self) -> dict[str, Any]:
        return {**super().snapshot(), "held": self.held}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.held = state["held"]
