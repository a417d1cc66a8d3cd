"""What `twinhub share`, `unshare` and `suggest` mean, in rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.errors import NotFound, Refused, UsageError
from appliance.exports.names import is_busid
from appliance.exports.registry import Exports
from appliance.exports.rules import Rule, first_match, never_shared
from appliance.exports.words import command_of, toml_of
from appliance.inventory.model import UsbDevice

Table = dict[str, Any]
Devices = Mapping[str, UsbDevice]


def pinned(table: Mapping[str, Any], devices: Devices) -> Table:
    """`table` with the device that is at its busid now in the place of that busid, which a reboot may change.

    NotFound if nothing is plugged in there; Refused if that cannot be shared. What is no busid, or stands
    beside an identity, stays for `words.shared_rule` to judge.
    """
    busid = table.get("busid")
    if not isinstance(busid, str) or not is_busid(busid) or "identity" in table:
        return dict(table)
    rest = {key: value for key, value in table.items() if key != "busid"}
    return {"identity": shareable(busid, devices).identity} | rest


def shareable(busid: str, devices: Devices) -> UsbDevice:
    """The device at `busid`. NotFound if there is none, Refused if it is a hub or vhci's."""
    device = devices.get(busid)
    if device is None:
        raise NotFound(
            f"nothing is plugged in at {busid} ('twinhub devices' prints what is);"
            f" 'twinhub share --port {busid}' shares whatever will be"
        )
    if why := never_shared(device):
        raise Refused(f"{busid} ({device.label}) {why}")
    return device


def matched(rule: Rule, devices: Devices) -> list[UsbDevice]:
    """What `rule` describes and may share now. Refused if that is nothing, although it names a device."""
    described = [device for device in devices.values() if rule.match.describes(device)]
    found = [device for device in described if not rule.match.refuses(device)]
    if described and not found and not rule.match.is_wide:
        raise Refused(f"{described[0].busid} ({described[0].label}) {rule.match.refuses(described[0])}")
    for condition in rule.match.conditions:
        hub = devices.get(condition.value) if condition.key == "hub" else None
        if hub and not hub.is_hub:
            raise UsageError(
                f"{hub.busid} ({hub.label}) is not a hub; 'twinhub share {hub.busid}' shares it,"
                f" 'twinhub share --port {hub.busid}' whatever is plugged in there"
            )
    return found


@dataclass(frozen=True)
class Unsharing:
    """What `twinhub unshare` changes: stored rules to forget, and one to add if others would still share."""

    forget: tuple[str, ...]
    add: Table | None = None


def unshare(target: str, exports: Exports, devices: Devices) -> Unsharing:
    """`target`: a rule's id (that rule goes), an export's name or a busid (that device is shared no more)."""
    rule = next((rule for rule in exports.rules if rule.id == target), None)
    if rule and rule.source == "config":
        raise Refused(f"{target} stands in the configuration file; take it out there, then restart twinhub")
    if rule:
        return Unsharing((target,))
    device = exports.find(target).device
    if device is None:
        raise Refused(f"{target} is a gadget; take it out of [gadgets] in the configuration file")
    return _without(device, exports.rules, devices)


def _without(device: UsbDevice, rules: Sequence[Rule], devices: Devices) -> Unsharing:
    """Rules for this one device are forgotten; from any other that still shares it, it is excluded."""
    forget: list[str] = []
    while (rule := first_match(rules, device)) and not rule.exclude:
        if rule.source == "config" or rule.match.is_wide or len(matched(rule, devices)) > 1:
            return Unsharing(tuple(forget), {"identity": device.identity, "exclude": True})
        forget.append(rule.id)
        rules = [other for other in rules if other is not rule]
    return Unsharing(tuple(forget))


def suggest(device: UsbDevice, name: str | None = None) -> str:
    """The rule that pins `device`, as TOML and as a command. Refused if it cannot be shared."""
    if why := never_shared(device):
        raise Refused(f"{device.busid} ({device.label}) {why}")
    table: Table = {"identity": device.identity} | ({"name": name} if name else {})
    return f"# {device.label}, now at {device.busid}: {command_of(table)}\n{toml_of(table)}"
