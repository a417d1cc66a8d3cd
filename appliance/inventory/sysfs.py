"""Reads what is attached out of /sys/bus/usb/devices, under an injected root.

Attributes: the kernel's Documentation/ABI/{stable,testing}/sysfs-bus-usb and drivers/usb/core/sysfs.c. Their
strings come from devices and are hostile; any of them may vanish between two reads.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from appliance.inventory.descriptors import chosen, interfaces_of
from appliance.inventory.model import HUB_CLASS, UsbDevice, UsbInterface, identified, parent_of, position
from appliance.inventory.names import Names, load
from gadgets.usb.configuration import Configuration
from gadgets.usb.urb import Speed

MAX_DEVICES: Final = 1024
MAX_ATTRIBUTE: Final = 4096
MAX_DESCRIPTORS: Final = 65553
"""The size the kernel gives its `descriptors`."""
MAX_STRING: Final = 126
"""Characters in a USB string descriptor of 255 bytes."""
MAX_NODES: Final = 16
NODE_DEPTH: Final = 8
"""Levels below an interface: a partition lies at host/target/lun/block/sda/sda1."""

SPEEDS: Final = {
    "1.5": Speed.LOW, "12": Speed.FULL, "480": Speed.HIGH,
    "5000": Speed.SUPER, "10000": Speed.SUPER_PLUS, "20000": Speed.SUPER_PLUS,
}  # fmt: skip

EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
DEFINED_BY_INTERFACES: Final = (0x00, 0xEF)
NO_NODES_BELOW: Final = frozenset({"power", "wakeup", "queue", "trace", "bsg"})

_BUSID: Final = re.compile(r"usb\d{1,3}|\d{1,3}-\d{1,3}(\.\d{1,3}){0,5}")
_INTERFACE: Final = re.compile(r".+:\d{1,3}\.(\d{1,3})")
_ADDRESS: Final = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|[0-9a-f]{3,}\.[a-z].*")
"""A bus address: PCI's 0000:00:14.0, or the device tree's fe980000.usb."""
_DEVNAME: Final = re.compile(rb"^DEVNAME=(.+)$", re.MULTILINE)
_DIGITS: Final = {10: re.compile("[0-9]{1,10}"), 16: re.compile("[0-9a-fA-F]{1,8}")}


T = TypeVar("T")


class Vanished(Exception):
    """The device went away, or became another one, while it was being read."""


def read_devices(root: str | Path = "/") -> dict[str, UsbDevice]:
    """Everything attached, by busid, in the order of the tree. What vanishes meanwhile is absent."""
    return identified(_each(Path(root).resolve(), load(str(root))))


def _each(root: Path, names: Names) -> Iterator[UsbDevice]:
    folder = root / "sys/bus/usb/devices"
    busids = [busid for busid in listed(folder) if _BUSID.fullmatch(busid)]
    for busid in sorted(busids, key=position)[:MAX_DEVICES]:
        try:
            yield _read_device(root, folder / busid, names)
        except Vanished:
            continue


def _read_device(root: Path, path: Path, names: Names) -> UsbDevice:
    busid = path.name
    syspath = tried(lambda: "/" / path.resolve(strict=True).relative_to(root), None)
    devnum = number(needed(path / "devnum"))
    speed = SPEEDS.get(needed(path / "speed"))
    if speed is None or syspath is None:
        raise Vanished(busid)
    vendor_id = number(needed(path / "idVendor"), 16)
    product_id = number(needed(path / "idProduct"), 16)
    device_class = number(needed(path / "bDeviceClass"), 16)
    configuration_value = number(attribute(path / "bConfigurationValue"))
    configuration = chosen(raw(path / "descriptors", MAX_DESCRIPTORS), configuration_value)
    interfaces = tuple(_read_interfaces(path, configuration, names))
    device = UsbDevice(
        busid=busid,
        busnum=number(needed(path / "busnum")),
        devnum=devnum,
        speed=speed,
        vendor_id=vendor_id,
        product_id=product_id,
        bcd_device=number(attribute(path / "bcdDevice"), 16),
        device_class=device_class,
        subclass=number(attribute(path / "bDeviceSubClass"), 16),
        protocol=number(attribute(path / "bDeviceProtocol"), 16),
        configuration_value=configuration_value,
        num_configurations=number(attribute(path / "bNumConfigurations")),
        interfaces=interfaces,
        manufacturer=attribute(path / "manufacturer"),
        product=attribute(path / "product"),
        serial=attribute(path / "serial"),
        vendor_name=names.vendors.get(vendor_id),
        product_name=names.products.get((vendor_id, product_id)),
        class_name=_class_name(device_class, interfaces, names),
        driver=driver(path),
        max_power_ma=configuration.max_power * (8 if speed >= Speed.SUPER else 2) if configuration else 0,
        self_powered=bool(configuration and configuration.attributes & Configuration.SELF_POWERED),
        removable={"removable": True, "fixed": False}.get(attribute(path / "removable") or ""),
        syspath=str(syspath),
        parent_busid=parent_of(busid),
        port=position(busid)[-1] if "-" in busid else 0,
        ports=number(attribute(path / "maxchild")),
        place=place_of(busid, syspath, is_super=speed >= Speed.SUPER),
        is_vhci=any(part.startswith("vhci_hcd") for part in syspath.parts),
        usbip_status=number(status) if (status := attribute(path / "usbip_status")) else None,
    )
    if number(needed(path / "devnum")) != devnum:
        raise Vanished(busid)
    return device


def _read_interfaces(path: Path, configuration: Configuration | None, names: Names) -> Iterator[UsbInterface]:
    """Out of the descriptors, joined with what the kernel has made of each where it is configured."""
    if configuration is None:
        return
    folders = {
        int(match[1]): path / name
        for name in listed(path)
        if (match := _INTERFACE.fullmatch(name)) is not None
    }
    alternates = {n: number(attribute(folder / "bAlternateSetting")) for n, folder in folders.items()}
    for interface in interfaces_of(configuration, alternates):
        folder = folders.get(interface.number)
        yield replace(
            interface,
            class_name=names.classes.get(interface.interface_class),
            name=attribute(folder / "interface") if folder else None,
            driver=driver(folder) if folder else None,
            nodes=nodes(folder) if folder and interface.interface_class != HUB_CLASS else (),
        )


def _class_name(code: int, interfaces: tuple[UsbInterface, ...], names: Names) -> str | None:
    """Of a device that leaves its class to its interfaces: theirs."""
    if code not in DEFINED_BY_INTERFACES:
        return names.classes.get(code)
    theirs = dict.fromkeys(i.class_name for i in interfaces if i.class_name)
    return ", ".join(theirs) or None


def place_of(busid: str, syspath: Path, is_super: bool) -> str:
    """CONTROLLER/PORTS or CONTROLLER/ss/PORTS: see model.py for why not the busid."""
    bus = busid.removeprefix("usb").partition("-")[0]
    above = syspath.parts[: syspath.parts.index(f"usb{bus}")]
    controller = next((part for part in reversed(above) if _ADDRESS.fullmatch(part)), above[-1])
    ports = busid.partition("-")[2]
    return "/".join(part for part in (controller, "ss" if is_super else "", ports) if part)


def nodes(folder: Path) -> tuple[str, ...]:
    """The /dev names of what hangs below an interface: "ttyUSB0", "input/event3", "sda1"."""
    found: list[str] = []
    for here, below, files in os.walk(folder):
        depth = len(Path(here).relative_to(folder).parts)
        below[:] = [] if depth == NODE_DEPTH else sorted(set(below) - NO_NODES_BELOW)
        if "dev" in files and (match := _DEVNAME.search(raw(Path(here, "uevent")))):
            found.append(clean(match[1]) or "")
    return tuple(found[:MAX_NODES])


def driver(path: Path) -> str | None:
    return tried(lambda: os.readlink(path / "driver").rpartition("/")[2], None)


def listed(folder: Path) -> list[str]:
    return tried(lambda: os.listdir(folder), [])


def raw(path: Path, limit: int = MAX_ATTRIBUTE) -> bytes:
    """At most `limit` bytes; none where the attribute does not exist (any more)."""

    def read() -> bytes:
        with path.open("rb", buffering=0) as file:
            return file.read(limit) or b""

    return tried(read, b"")


def tried(read: Callable[[], T], otherwise: T) -> T:
    """What `read` gives, or `otherwise` where the kernel does not have it (any more)."""
    try:
        return read()
    except OSError as error:
        if error.errno in EXHAUSTED:  # else being short of descriptors would look like a mass unplug
            raise
        return otherwise


def attribute(path: Path) -> str | None:
    return clean(raw(path))


def needed(path: Path) -> str:
    """An attribute that every device has. Raises Vanished."""
    text = attribute(path)
    if text is None:
        raise Vanished(path)
    return text


def clean(value: bytes) -> str | None:
    """What may be shown and stored of a device's string: printable, at most 126 characters, not empty."""
    text = value.decode(errors="replace")
    return "".join(c for c in text if c.isprintable())[:MAX_STRING].strip() or None


def number(text: str | None, base: int = 10) -> int:
    """Of an attribute such as "0627" or " 2"; 0 for what is not a number."""
    return int(text, base) if text and _DIGITS[base].fullmatch(text) else 0
