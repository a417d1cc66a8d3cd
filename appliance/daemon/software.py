"""The software devices that the configuration can switch on, and how they look in a list of exports."""

from __future__ import annotations

from typing import Final

from appliance.sessions.software import GADGETS
from appliance.usbip.wire import DeviceRecord, InterfaceRecord

BUS: Final = 1
"""A gadget hangs on no bus of ours; clients want a number all the same."""


def kind_of(name: str) -> str:
    """The key in GADGETS of an export's name: "keyboard-2" is a "keyboard"."""
    return name.partition("-")[0]


def record_of(name: str, number: int) -> DeviceRecord:
    """As the `number`th of the list, from 1."""
    device = GADGETS[kind_of(name)]()
    told = device.device_descriptor
    configuration = device.configurations[0]
    return DeviceRecord(
        path=f"/twinhub/gadgets/{name}",
        busid=name,
        busnum=BUS,
        devnum=number,
        speed=device.speed,
        vendor_id=told.vendor_id,
        product_id=told.product_id,
        bcd_device=told.bcd_device,
        device_class=told.device_class,
        subclass=told.subclass,
        protocol=told.protocol,
        configuration_value=configuration.value,
        num_configurations=told.num_configurations,
        interfaces=tuple(
            InterfaceRecord(first.interface_class, first.subclass, first.protocol)
            for first, *_ in configuration.interfaces
        ),
    )
