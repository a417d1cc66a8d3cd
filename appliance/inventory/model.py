"""What a plugged-in USB device is, as plain facts.

`UsbDevice` has `UsbInterface`s which have `UsbEndpoint`s. All three are values: equal facts, equal objects.
Strings are clean (printable, bounded); `None` means that the kernel or the device does not say. Their JSON
form spells ids and classes in hex, speeds and types by name, as people write them: {"busid": "1-1.2",
"vendor_id": "0627", "device_class": "00", "speed": "full", …}.

`identity` is what a rule holds on to over replugs and reboots:

1. `0627:0001:SERIAL` where the device has a serial number that can be its own;
2. `0627:0001@PLACE` where it has none, or a placeholder;
3. `0627:0001:SERIAL@PLACE` for as long as two attached devices claim the same VID:PID and serial.

PLACE is `CONTROLLER/PORTS`, e.g. `0000:00:14.0/1.2`, or `CONTROLLER/ss/PORTS` on the SuperSpeed half of the
controller. The controller's name is its PCI or bus address (`fe980000.usb`), because the kernel's bus number
(the 1 of busid 1-1.2) follows the order of probing and may differ after the next boot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from gadgets.usb.urb import Direction, Speed, TransferType

HUB_CLASS: Final = 0x09

_HEX_DIGITS: Final = {
    "vendor_id": 4, "product_id": 4, "bcd_device": 4,
    "device_class": 2, "interface_class": 2, "subclass": 2, "protocol": 2, "address": 2,
}  # fmt: skip

PLACEHOLDER_SERIALS: Final = frozenset(
    {"0001", "1234", "12345", "123456", "1234567", "12345678", "123456789", "1234567890", "0123456789"}
    | {"0123456789abcdef", "123456789abcdef", "none", "default", "serial", "n/a", "unknown"}
)
"""What makers leave in instead of a number of the device's own, in lower case."""


@dataclass(frozen=True, slots=True)
class UsbEndpoint:
    """`address` carries the direction bit; `interval` is bInterval as the descriptor has it."""

    address: int
    type: TransferType
    max_packet_size: int
    interval: int = 0

    @property
    def direction(self) -> Direction:
        return Direction(self.address >> 7)


@dataclass(frozen=True, slots=True)
class UsbInterface:
    """An interface in its current alternate setting; `nodes` are its names in /dev, e.g. "ttyUSB0"."""

    number: int
    interface_class: int
    subclass: int = 0
    protocol: int = 0
    alternate: int = 0
    class_name: str | None = None
    name: str | None = None
    driver: str | None = None
    endpoints: tuple[UsbEndpoint, ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """An attached device, hub or root hub ("usb1").

    `configuration_value` is 0 while unconfigured, as devices bound to usbip-host are; `interfaces` and power
    are then those of the first configuration. `removable`: whether the platform says that people can unplug
    it. `usbip_status` is the stub's (1 available, 2 in use, 3 error) while bound to usbip-host.
    `ports` counts a hub's; `port` is the one of its parent it sits in, 0 for a root hub.
    """

    busid: str
    busnum: int
    devnum: int
    speed: Speed
    vendor_id: int
    product_id: int
    bcd_device: int = 0
    device_class: int = 0
    subclass: int = 0
    protocol: int = 0
    configuration_value: int = 0
    num_configurations: int = 1
    interfaces: tuple[UsbInterface, ...] = ()
    manufacturer: str | None = None
    product: str | None = None
    serial: str | None = None
    vendor_name: str | None = None
    product_name: str | None = None
    class_name: str | None = None
    driver: str | None = None
    max_power_ma: int = 0
    self_powered: bool = False
    removable: bool | None = None
    syspath: str = ""
    parent_busid: str | None = None
    port: int = 0
    ports: int = 0
    place: str = ""
    identity: str = ""
    is_vhci: bool = False
    usbip_status: int | None = None

    @property
    def is_hub(self) -> bool:
        return self.device_class == HUB_CLASS

    @property
    def is_root(self) -> bool:
        return self.parent_busid is None

    @property
    def ids(self) -> str:
        """VID:PID, e.g. "0627:0001"."""
        return f"{self.vendor_id:04x}:{self.product_id:04x}"

    @property
    def label(self) -> str:
        """What a person would call it: its own words, else the database's, else its class or VID:PID."""
        vendor = (
            "" if self.is_root else self.manufacturer or self.vendor_name or ""
        )  # there: the kernel's version
        product = self.product or self.product_name or ""
        if vendor.casefold() in product.casefold():
            vendor = ""
        return f"{vendor} {product}".strip() or self.class_name or self.ids

    def to_json(self) -> dict[str, Any]:
        """Every field, plus `is_hub` and `label`; `device_from_json` is the inverse."""
        return _spelled(asdict(self)) | {"is_hub": self.is_hub, "label": self.label}


def device_from_json(told: dict[str, Any]) -> UsbDevice:
    """The device that `to_json` told of; keys of others (share, label…) are passed over."""
    interfaces = tuple(
        UsbInterface(
            **_read(UsbInterface, i)
            | {"endpoints": tuple(UsbEndpoint(**_read(UsbEndpoint, e)) for e in i["endpoints"])}
            | {"nodes": tuple(i["nodes"])}
        )
        for i in told["interfaces"]
    )
    return UsbDevice(**_read(UsbDevice, told) | {"interfaces": interfaces})


def position(busid: str) -> tuple[int, ...]:
    """Bus and ports, "1-1.10" → (1, 1, 10), "usb1" → (1,): sorting by it walks the tree depth first."""
    return tuple(int(number) for number in busid.removeprefix("usb").replace("-", ".").split("."))


def parent_of(busid: str) -> str | None:
    """ "1-1.2" → "1-1", "1-1" → "usb1", "usb1" → None."""
    if busid.startswith("usb"):
        return None
    bus, _, ports = busid.partition("-")
    above = ports.rpartition(".")[0]
    return f"{bus}-{above}" if above else f"usb{bus}"


def has_serial_of_its_own(serial: str | None) -> bool:
    """Whether `serial` can tell two devices of a kind apart: not empty, "000000" or a known placeholder."""
    return (
        serial is not None
        and serial.isprintable()
        and len(set(serial) - set(" -:.")) > 1
        and serial.casefold() not in PLACEHOLDER_SERIALS
    )


def identified(devices: Iterable[UsbDevice]) -> dict[str, UsbDevice]:
    """All attached devices by busid, in tree order, each with its `identity`."""
    ordered = sorted(devices, key=lambda device: position(device.busid))
    claims = Counter((device.ids, device.serial) for device in ordered)

    def identity(device: UsbDevice) -> str:
        if not has_serial_of_its_own(device.serial):
            return f"{device.ids}@{device.place}"
        is_alone = claims[device.ids, device.serial] == 1
        return f"{device.ids}:{device.serial}" + ("" if is_alone else f"@{device.place}")

    return {device.busid: replace(device, identity=identity(device)) for device in ordered}


def _spelled(facts: dict[str, Any]) -> dict[str, Any]:
    def spell(key: str, value: Any) -> Any:
        match value:
            case Speed() | TransferType():
                return value.name.lower()
            case int() if key in _HEX_DIGITS:
                return f"{value:0{_HEX_DIGITS[key]}x}"
            case tuple() | list():
                return [_spelled(item) if isinstance(item, dict) else item for item in value]
        return value

    return {key: spell(key, value) for key, value in facts.items()}


def _read(kind: type, told: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    spelled = {"speed": Speed, "type": TransferType}

    def read(key: str, value: Any) -> Any:
        if key in spelled:
            return spelled[key][value.upper()]
        return int(value, 16) if key in _HEX_DIGITS else value

    return {key: read(key, value) for key, value in told.items() if key in names}
