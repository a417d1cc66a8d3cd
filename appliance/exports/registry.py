"""Inventory, rules and gadgets joined into exports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from appliance.exports.rules import ExportOptions

if TYPE_CHECKING:
    from appliance.inventory.model import UsbDevice
    from appliance.usbip.wire import DeviceRecord


@dataclass(frozen=True)
class Export:
    """One device as clients see it."""

    name: str
    kind: Literal["device", "gadget"]
    options: ExportOptions
    device: UsbDevice | None
    rule: str
    """The id of the rule that shares it."""
    describe: Callable[[str], DeviceRecord]
    """The record under a given busid."""

    def record(self, busid: str | None = None) -> DeviceRecord:
        """As it goes over the wire; under `busid` if the client asked for it by an alias."""
        return self.describe(busid or self.name)
