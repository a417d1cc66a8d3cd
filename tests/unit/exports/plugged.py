"""Devices as the inventory would tell of them, and what the tests plug in again and again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from appliance.inventory.model import (
    HUB_CLASS,
    UsbDevice,
    UsbInterface,
    identified,
    parent_of,
    position,
)
from gadgets.usb.urb import Speed


def device(
    busid: str = "1-1.2", ids: str = "0403:6001", serial: str | None = "A1", **facts: Any
) -> UsbDevice:
    vendor, product = (int(word, 16) for word in ids.split(":"))
    bus, *ports = position(busid)
    controller = f"0000:00:{13 + bus}.0"
    bare = UsbDevice(
        busid=busid,
        busnum=bus,
        devnum=len(ports) + 1,
        speed=Speed.FULL,
        vendor_id=vendor,
        product_id=product,
        serial=serial,
        configuration_value=1,
        syspath=f"/sys/devices/pci0000:00/{controller}/usb{bus}/{busid}",
        parent_busid=parent_of(busid),
        place=f"{controller}/{'.'.join(map(str, ports))}",
    )
    bare = replace(bare, **{"product": "FT232R USB UART"} | facts)
    return identified([bare])[busid]


def hub(busid: str = "1-1") -> UsbDevice:
    return device(busid, "0424:9514", None, device_class=HUB_CLASS, product="Hub")


def keyboard(busid: str = "1-1.4", **facts: Any) -> UsbDevice:
    interfaces = (UsbInterface(0, 3, 1, 1),)
    return device(busid, "0627:0001", None, **{"product": "Keyboard", "interfaces": interfaces} | facts)


def plugged(*devices: UsbDevice) -> dict[str, UsbDevice]:
    """The inventory with these in it."""
    return identified(devices)
