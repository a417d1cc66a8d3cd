"""A fake /sys/bus/usb under a test's own root, laid out as the kernel does it.

    add_device(root, "1-1.2", idVendor="046d", product="Keyboard", interfaces=[KEYBOARD])

makes /sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2 with its attributes, raw descriptors and interface
folders, the link in /sys/bus/usb/devices, and every hub above it that is not there yet. Attributes are named
as in sysfs; `None` leaves one out, bytes are written as they are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from appliance.inventory.model import parent_of, position
from gadgets.usb.configuration import AlternateSetting, Configuration, emit
from gadgets.usb.descriptors import DEVICE, DeviceDescriptor, Endpoint

Attribute = str | bytes | None
Attributes = dict[str, Attribute]

CONTROLLER = "pci0000:00/0000:00:14.0"

HUB = AlternateSetting(0, 0, 0x09, 0, 0, endpoints=(Endpoint(0x81, 3, 2, 12),))
KEYBOARD = AlternateSetting(0, 0, 0x03, 1, 1, endpoints=(Endpoint(0x81, 3, 8, 10),))
DISK = AlternateSetting(0, 0, 0x08, 6, 0x50, endpoints=(Endpoint(0x81, 2, 512), Endpoint(0x02, 2, 512)))
SERIAL = AlternateSetting(0, 0, 0xFF, 0xFF, 0xFF, endpoints=(Endpoint(0x81, 2, 64), Endpoint(0x02, 2, 64)))

DRIVERS = {0x03: "usbhid", 0x08: "usb-storage", 0x09: "hub", 0xFF: "ftdi_sio"}


def add_device(
    root: Path,
    busid: str,
    *,
    controller: str = CONTROLLER,
    interfaces: Sequence[AlternateSetting] = (KEYBOARD,),
    driver: str | None = "usb",
    **attributes: Attribute,
) -> Path:
    """Plugs in a device and answers its folder. Bound to usbip-host it is unconfigured, as real ones are."""
    return _plug_in(root, busid, controller, interfaces, driver, attributes)


def add_hub(
    root: Path, busid: str, *, ports: int = 4, controller: str = CONTROLLER, **attributes: Attribute
) -> Path:
    """A hub, or for "usb1" a root hub."""
    facts: Attributes = {"bDeviceClass": "09", "speed": "480", "maxchild": str(ports)}
    if busid.startswith("usb"):
        facts |= {"idVendor": "1d6b", "idProduct": "0002", "manufacturer": "Linux xhci-hcd"}
        facts |= {"product": "xHCI Host Controller", "serial": controller.rpartition("/")[2]}
    else:
        facts |= {"idVendor": "0409", "idProduct": "55aa", "product": "USB2.0 Hub"}
    return _plug_in(root, busid, controller, [HUB], "usb", facts | attributes)


def remove_device(root: Path, busid: str) -> None:
    """Unplugs a device with everything that hangs on it."""
    devices = root / "sys/bus/usb/devices"
    gone = (devices / busid).resolve()
    for link in devices.iterdir():
        if link.resolve().is_relative_to(gone):
            link.unlink()
    shutil.rmtree(gone)


def set_attributes(folder: Path, **attributes: Attribute) -> None:
    for name, value in attributes.items():
        match value:
            case None:
                (folder / name).unlink(missing_ok=True)
            case bytes():
                (folder / name).write_bytes(value)
            case _:
                (folder / name).write_text(value + "\n" if value else "")


def set_driver(root: Path, folder: Path, driver: str | None) -> None:
    """Binds a device's or an interface's folder to a driver; None unbinds it."""
    (folder / "driver").unlink(missing_ok=True)
    if driver:
        home = root / "sys/bus/usb/drivers" / driver
        home.mkdir(parents=True, exist_ok=True)
        (folder / "driver").symlink_to(os.path.relpath(home, folder))


def add_node(folder: Path, below: str, name: str) -> None:
    """A device node that an interface's driver made, e.g. add_node(interface, "ttyUSB0/tty", "ttyUSB0")."""
    home = folder / below / name.replace("/", "!")
    home.mkdir(parents=True)
    set_attributes(home, dev="188:0", uevent=f"MAJOR=188\nMINOR=0\nDEVNAME={name}")


def folder_of(root: Path, busid: str, controller: str = CONTROLLER) -> Path:
    bus, *ports = position(busid)
    chain = [f"{bus}-{'.'.join(map(str, ports[:n]))}" for n in range(1, len(ports) + 1)]
    return root.joinpath("sys/devices", controller, f"usb{bus}", *chain)


def _plug_in(
    root: Path,
    busid: str,
    controller: str,
    interfaces: Sequence[AlternateSetting],
    driver: str | None,
    attributes: Attributes,
) -> Path:
    folder = folder_of(root, busid, controller)
    above = parent_of(busid)
    if above and not folder.parent.exists():
        add_hub(root, above, controller=controller)
    folder.mkdir(parents=True)
    is_configured = driver != "usbip-host"
    facts = _facts(root, busid, Configuration(1, tuple(interfaces), attributes=0xA0), is_configured)
    set_attributes(folder, **facts | attributes)
    _link(root / "sys/bus/usb/devices" / busid, folder)
    set_driver(root, folder, driver)
    for setting in interfaces if is_configured else ():
        if setting.alternate == 0:
            _add_interface(root, folder, setting)
    return folder


def _facts(root: Path, busid: str, configuration: Configuration, is_configured: bool) -> Attributes:
    """A full-speed device without strings."""
    facts: Attributes = {
        "busnum": str(position(busid)[0]), "devnum": str(_next_devnum(root)), "version": " 2.00",
        "devpath": busid.partition("-")[2] or "0", "speed": "12", "maxchild": "0", "removable": "unknown",
        "idVendor": "0627", "idProduct": "0001", "bcdDevice": "0100", "bNumConfigurations": "1",
        "bDeviceClass": "00", "bDeviceSubClass": "00", "bDeviceProtocol": "00",
        "descriptors": DEVICE.emit(DeviceDescriptor()) + emit(configuration),
    }  # fmt: skip
    if is_configured:
        count = f"{len(configuration.interfaces):2}"
        running = {
            "bConfigurationValue": "1",
            "bNumInterfaces": count,
            "bMaxPower": "100mA",
            "bmAttributes": "a0",
        }
    else:
        running = dict.fromkeys(("bConfigurationValue", "bNumInterfaces", "bMaxPower", "bmAttributes"), "")
        running |= {"usbip_status": "1", "usbip_sockfd": ""}
    return {**facts, **running}


def _add_interface(root: Path, device: Path, setting: AlternateSetting) -> None:
    busid = device.name.replace("usb", "") + "-0" if device.name.startswith("usb") else device.name
    folder = device / f"{busid}:1.{setting.interface}"
    folder.mkdir()
    set_attributes(
        folder,
        bInterfaceNumber=f"{setting.interface:02x}",
        bAlternateSetting=f"{setting.alternate:2}",
        bInterfaceClass=f"{setting.interface_class:02x}",
        bInterfaceSubClass=f"{setting.subclass:02x}",
        bInterfaceProtocol=f"{setting.protocol:02x}",
        bNumEndpoints=f"{len(setting.endpoints):02x}",
    )
    _link(root / "sys/bus/usb/devices" / folder.name, folder)
    set_driver(root, folder, DRIVERS.get(setting.interface_class))


def _link(link: Path, to: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(to, link.parent))


def _next_devnum(root: Path) -> int:
    """Numbers are not given out again, as on a real bus before it wraps."""
    counter = root / ".devnum"
    last = int(counter.read_text()) if counter.exists() else 0
    counter.write_text(str(last + 1))
    return last + 1
