"""A rule says which devices are shared, and how: `[[share]]` in the configuration, or `twinhub share …`.

All conditions of a rule must hold, and the first matching rule wins: those made by `twinhub share` from the
newest to the oldest, then those of the configuration from the top of the file to its end. So what was said
last, wins, and a rule with `exclude` carves an exception out of those below it.

No rule matches a hub, a device of vhci's, or, unless it names that one device, what is built in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from appliance.exports.keys import Network
from appliance.inventory.model import UsbDevice

Mode = Literal["relayed", "direct"]
TakeOver = Literal["never", "same-host", "anyone"]


@dataclass(frozen=True)
class ExportOptions:
    """How an export is served."""

    mode: Mode = "relayed"
    allow: tuple[Network, ...] = ()
    """Who may list and import it; empty: everyone whom the listener admits."""
    take_over: TakeOver = "same-host"
    """Who may take it while it is in use."""
    idle_seconds: float | None = None
    """A session without a URB for so long is ended; None: never."""


DEFAULTS = ExportOptions()


@dataclass(frozen=True)
class Condition:
    """One thing that must hold of a device; `key` is one of CONDITIONS."""

    key: str
    value: str


@dataclass(frozen=True)
class Match:
    """All `conditions` hold; at least one."""

    conditions: tuple[Condition, ...]

    @property
    def is_wide(self) -> bool:
        """Whether it names places or kinds only, and no device."""
        return all(c.key in WIDE for c in self.conditions)

    def describes(self, device: UsbDevice) -> bool:
        return all(CONDITIONS[c.key](c.value, device) for c in self.conditions)

    def refuses(self, device: UsbDevice) -> str | None:
        """Why `device`, although described, is not shared, as the end of "1-1.2 …"; None if it may be."""
        if device.removable is False and self.is_wide:
            return "is built in; only a rule that names it shares it (by busid, device, serial or identity)"
        return never_shared(device)


@dataclass(frozen=True)
class Rule:
    id: str
    """Names it to the user: "share-7" (made by `twinhub share`), "config-2" (the second [[share]])."""
    match: Match
    name: str | None = None
    """The export name that the operator chose."""
    exclude: bool = False
    """What matches is not shared."""
    options: ExportOptions = DEFAULTS
    table: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """As it was written, see `appliance.exports.words`."""

    @property
    def source(self) -> str:
        """ "share" or "config"."""
        return self.id.partition("-")[0]


CLASSES = {
    "audio": 0x01, "communications": 0x02, "hid": 0x03, "physical": 0x05, "image": 0x06, "printer": 0x07,
    "storage": 0x08, "data": 0x0A, "smartcard": 0x0B, "security": 0x0D, "video": 0x0E, "health": 0x0F,
    "diagnostic": 0xDC, "wireless": 0xE0, "miscellaneous": 0xEF, "application": 0xFE, "vendor": 0xFF,
}  # fmt: skip
"""Class codes by the names that a rule may use, https://www.usb.org/defined-class-codes."""


def behind(hub: str, busid: str) -> bool:
    """Whether the device `busid` hangs on `hub` ("1-1", or a root hub "usb1"), however deep."""
    return busid.startswith(hub.removeprefix("usb") + "-" if hub.startswith("usb") else hub + ".")


def has_class(value: str, device: UsbDevice) -> bool:
    code = CLASSES.get(value)
    wanted = int(value, 16) if code is None else code
    return wanted in {device.device_class, *(i.interface_class for i in device.interfaces)}


CONDITIONS: dict[str, Callable[[str, UsbDevice], bool]] = {
    "busid": lambda value, device: device.busid == value,
    "device": lambda value, device: device.ids == value.lower(),
    "serial": lambda value, device: device.serial == value,
    "identity": lambda value, device: value in (device.identity, f"{device.ids}:{device.serial or ''}"),
    "hub": lambda value, device: behind(value, device.busid),
    "port": lambda value, device: device.busid == value or behind(value, device.busid),
    "class": has_class,
    "any": lambda value, device: True,
}
WIDE = frozenset({"hub", "port", "class", "any"})
"""Conditions that name no device."""


def never_shared(device: UsbDevice) -> str | None:
    """Why no rule can share `device`, as the end of "1-1.2 …"; None if one can."""
    if device.is_hub:
        return (
            f"is a hub, which cannot be shared; 'twinhub share --hub {device.busid}' shares what is behind it"
        )
    if device.is_vhci:
        return "is itself imported over USB/IP (it hangs on vhci); share it where it is plugged in"
    return None


def first_match(rules: Iterable[Rule], device: UsbDevice) -> Rule | None:
    """The rule that decides about `device`; it may exclude it."""
    return next((r for r in rules if r.match.describes(device) and not r.match.refuses(device)), None)
