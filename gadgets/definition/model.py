"""`Definition`: everything that makes a gadget what it is, as a frozen value that JSON can carry.

It says, it does not do: `build` opens disks and loads classes, and can be called any number of times.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from appliance.errors import UsageError
from gadgets.usb.records import Byte, Range, Word
from gadgets.usb.strings import Text
from gadgets.usb.urb import Speed

if TYPE_CHECKING:
    from gadgets.definition.gadget import Gadget

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,30}", re.ASCII)
MAX_PARTS = 64
"""Functions, or faults, of one gadget."""
MOST_BELOW_SUPER = 500
"""mA. USB 2.0 §7.2.1."""


@dataclass(frozen=True)
class Part:
    """One function: its kind (gadgets/definition/kinds.py) or "file.py:Class", and that class's options.

    `interfaces` belongs to pinned descriptors only: which of them the function is behind.
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    interfaces: tuple[Byte, ...] = ()


@dataclass(frozen=True)
class Pinned:
    """Descriptors as a device gave them, whole, each in the order of its index; b"" is none. Functions are
    behind the interfaces of the first configuration; what has none is taken and left waiting."""

    device: bytes
    configurations: tuple[bytes, ...]
    bos: bytes = b""
    strings: Mapping[int, Text] = field(default_factory=dict)
    qualifier: bytes = b""
    other_speed: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Definition:
    """A product without a name has the gadget's. Relative paths in options and inputs count from `folder`."""

    name: str
    vendor_id: Word = 0x1209
    product_id: Word = 0x0001
    """1209:0001 is of pid.codes' test range: for private use, never to be sold."""
    manufacturer: Text = "Twinhub"
    product: Text = ""
    serial: Text = ""
    bcd_device: Word = 0x0100
    device_class: tuple[Byte, Byte, Byte] | None = None
    speed: Speed = Speed.HIGH
    max_power_ma: Annotated[int, Range(0, 900)] = 100
    self_powered: bool = False
    remote_wakeup: bool = False
    seed: int = 0
    functions: tuple[Part, ...] = ()
    faults: tuple[Mapping[str, Any], ...] = ()
    pinned: Pinned | None = None
    folder: Path = Path()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise UsageError(
                f"a gadget cannot be named {self.name[:40]!r}: a name has at most 31 characters of A-Z a-z"
                " 0-9 . _ : - and begins with a letter or digit"
            )
        if self.max_power_ma > MOST_BELOW_SUPER and self.speed < Speed.SUPER:
            raise UsageError(f"max_power_ma: below super speed, {MOST_BELOW_SUPER} is the most")
        if len(self.functions) > MAX_PARTS or len(self.faults) > MAX_PARTS:
            raise UsageError(f"a gadget has at most {MAX_PARTS} functions and as many faults")

    def build(self) -> Gadget:
        """A new device. Raises a TwinhubError that names the function or fault that cannot be made."""
        from gadgets.definition.build import build  # which needs this module

        return build(self)
