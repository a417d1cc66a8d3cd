"""`Gadget`: a definition that was built: the device, and what to know of it to drive it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gadgets.definition.model import Definition
from gadgets.usb.companion import Companion
from gadgets.usb.device import Device, GadgetDevice
from gadgets.usb.function import Function
from gadgets.usb.inputs import read_input
from gadgets.usb.records import Option, options, snake


@dataclass(frozen=True)
class InputHelp:
    """One local input: its key, its fields (the first is the key's own value), what it does."""

    name: str
    functions: tuple[str, ...]
    """Labels of those that take it; the first one gets it unless the input says `function`."""
    fields: tuple[Option, ...]
    help: str


@dataclass(frozen=True)
class Gadget:
    """`device` is what hosts see; `bare` is the same without the faults around it. To be closed at the end,
    for which it is a context manager."""

    definition: Definition
    device: Device
    bare: GadgetDevice

    def __enter__(self) -> Gadget:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def functions(self) -> tuple[Function, ...]:
        return self.bare.functions

    @property
    def companions(self) -> dict[str, Sequence[Companion]]:
        """Those of each function, by its label."""
        return {function.label: function.companions for function in self.functions}

    def close(self) -> None:
        """Give back what its functions hold of the outside. Its companions are closed by who started them."""
        for function in self.functions:
            function.close()

    def input(self, given: Mapping[str, Any]) -> object:
        """A local input for `device.local`, of {"type_text": "hello", "function": "keyboard"}. Raises
        UsageError."""
        return read_input(self._kinds, given, self.definition.name, self.definition.folder)

    def inputs(self) -> tuple[InputHelp, ...]:
        """All that `input` takes."""
        return tuple(
            InputHelp(
                snake(kind.__name__),
                tuple(function.label for function in self.functions if kind in function.inputs),
                options(kind),
                " ".join((kind.__doc__ or "").removeprefix("Input: ").split()),
            )
            for kind in self._kinds
        )

    @property
    def _kinds(self) -> tuple[type, ...]:
        """Of the functions, and of what is around them."""
        return tuple(dict.fromkeys(self.device.inputs))
