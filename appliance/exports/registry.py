"""Inventory, rules and gadgets joined into exports."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from appliance.errors import NotFound, UsageError
from appliance.exports.names import WANTED, Claim, assign, is_name, propose
from appliance.exports.rules import ExportOptions, Rule, first_match, never_shared
from appliance.inventory.model import UsbDevice, has_serial_of_its_own
from appliance.usbip.wire import DeviceRecord, InterfaceRecord


@dataclass(frozen=True)
class Export:
    """One device as clients see it."""

    name: str
    kind: Literal["device", "gadget"]
    options: ExportOptions
    rule: str
    """The id of the rule that shares it; "gadgets" for a gadget."""
    describe: Callable[[], DeviceRecord] = field(compare=False)
    device: UsbDevice | None = None

    def record(self, asked: str | None = None) -> DeviceRecord:
        """As it goes over the wire. A client that `asked` for it by an alias must read that name back."""
        return replace(self.describe(), busid=asked or self.name)


@dataclass(frozen=True)
class Plan:
    """What is to be: the exports, and how to get there."""

    exports: tuple[Export, ...]
    to_bind: tuple[str, ...]
    """Busids to give to usbip-host."""
    to_unbind: tuple[str, ...]
    """Busids to give back to their own drivers."""
    names: Mapping[str, str]
    """Identity → name, to be remembered."""


def plan(
    devices: Mapping[str, UsbDevice],
    rules: Sequence[Rule],
    bound: Collection[str],
    *,
    gadgets: Iterable[Export] = (),
    remembered: Mapping[str, str] | None = None,
    held: Iterable[Export] = (),
) -> Plan:
    """`bound`: busids that Twinhub gave to usbip-host; `held`: the exports of the plan before this one."""
    gadgets = sorted(gadgets, key=lambda gadget: gadget.name)
    shared = {
        device.busid: rule
        for device in devices.values()
        if (rule := first_match(rules, device)) and not rule.exclude
    }
    kept = {
        e.device.busid: e.name
        for e in held
        if e.device and e.device.busid in devices and same(e.device, devices[e.device.busid])
    }
    claims = [
        Claim(devices[busid].identity, proposal(devices[busid]), rule.name, kept.get(busid))
        for busid, rule in shared.items()
    ]
    names = assign(claims, remembered or {}, (gadget.name for gadget in gadgets))
    exports = [export_of(devices[busid], names[devices[busid].identity], shared[busid]) for busid in shared]
    return Plan(
        (*gadgets, *exports),
        tuple(sorted(shared.keys() - set(bound))),
        tuple(sorted((set(bound) & devices.keys()) - shared.keys())),
        names,
    )


class Exports:
    """What is shared now; `update` it whenever the devices or the `rules` have changed."""

    def __init__(self, rules: Iterable[Rule] = (), remembered: Mapping[str, str] | None = None) -> None:
        self.rules = tuple(rules)
        self._remembered = dict(remembered or {})
        self._gadgets: dict[str, Export] = {}
        self._exports: dict[str, Export] = {}

    def add_gadget(self, name: str, describe: Callable[[], DeviceRecord], options: ExportOptions) -> None:
        """From the next `update` on, the gadget `name` is shared; `describe` gives its record."""
        if not is_name(name):
            raise UsageError(f"{name!r} cannot name a gadget; wanted {WANTED}")
        self._gadgets[name] = Export(name, "gadget", options, "gadgets", describe)

    def remove_gadget(self, name: str) -> None:
        """From the next `update` on, it is shared no longer."""
        del self._gadgets[name]

    def remember(self, names: Mapping[str, str]) -> None:
        """Identity → name, as the other appliance of a pair gave them; what is plugged in keeps its own."""
        self._remembered |= names

    def update(self, devices: Mapping[str, UsbDevice], bound: Collection[str]) -> Plan:
        made = plan(
            devices, self.rules, bound,
            gadgets=self._gadgets.values(), remembered=self._remembered, held=self,
        )  # fmt: skip
        self._remembered |= made.names
        self._exports = {export.name: export for export in made.exports}
        return made

    def __iter__(self) -> Iterator[Export]:
        return iter(self._exports.values())

    def find(self, name: str) -> Export:
        """By export name, else by the kernel's busid; then reply with `export.record(name)`. NotFound."""
        if export := self._exports.get(name) or self.at(name):
            return export
        raise NotFound(f"no export is called {name!r}; 'twinhub exports' prints those there are")

    def at(self, busid: str) -> Export | None:
        """The export of the device that is plugged in at `busid`."""
        return next((e for e in self if e.device and e.device.busid == busid), None)

    def why_not(self, device: UsbDevice) -> str | None:
        """Why `device` is not shared, in a sentence; None if it is."""
        rule = first_match(self.rules, device)
        if rule and not rule.exclude:
            return None
        if rule:
            return f"{device.busid} is excluded by rule {rule.id}"
        described = (r.match.refuses(device) for r in self.rules if r.match.describes(device))
        why = never_shared(device) or next((why for why in described if why), None)
        return f"{device.busid} {why or 'is matched by no rule'}"


def export_of(device: UsbDevice, name: str, rule: Rule) -> Export:
    return Export(name, "device", rule.options, rule.id, lambda: record(device, name), device)


def proposal(device: UsbDevice) -> str:
    serial = device.serial if has_serial_of_its_own(device.serial) else None
    return propose(device.product or device.product_name, device.ids, serial)


def same(one: UsbDevice, other: UsbDevice) -> bool:
    """Whether two looks at one busid saw one device. Its identity changes when a twin is plugged in."""
    return (one.ids, one.serial) == (other.ids, other.serial)


def record(device: UsbDevice, name: str) -> DeviceRecord:
    """What usbipd tells of `device`, under the busid `name`."""
    return DeviceRecord(
        path=device.syspath,
        busid=name,
        busnum=device.busnum,
        devnum=device.devnum,
        speed=device.speed,
        vendor_id=device.vendor_id,
        product_id=device.product_id,
        bcd_device=device.bcd_device,
        device_class=device.device_class,
        subclass=device.subclass,
        protocol=device.protocol,
        configuration_value=device.configuration_value,
        num_configurations=device.num_configurations,
        interfaces=tuple(
            InterfaceRecord(i.interface_class, i.subclass, i.protocol) for i in device.interfaces
        ),
    )
