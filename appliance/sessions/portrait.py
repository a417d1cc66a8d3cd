"""What a software gadget looks like from outside: for lists of exports, and for who wants to use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

from appliance.usbip.wire import DeviceRecord, InterfaceRecord
from gadgets.usb.configuration import emit
from gadgets.usb.descriptors import DEVICE
from gadgets.usb.device import Device
from gadgets.usb.records import REQUIRED, Option, snake, wanted
from gadgets.usb.urb import Speed

if TYPE_CHECKING:  # it brings all classes, and the daemon needs none
    from gadgets.definition import Gadget

BUS: Final = 1
"""A gadget hangs on no bus of ours; clients want a number all the same."""

Json = dict[str, Any]


def portrait(gadget: Gadget) -> Json:
    """JSON-able: who it says it is, its descriptors in hex, its functions and the inputs it takes."""
    device = gadget.device
    told = device.device_descriptor
    return {
        "speed": device.speed.name.lower(),
        "vendor_id": told.vendor_id,
        "product_id": told.product_id,
        "manufacturer": device.string(told.manufacturer_index),
        "product": device.string(told.product_index),
        "serial": device.string(told.serial_index),
        "record": record(device),
        "descriptors": {
            "device": DEVICE.emit(told).hex(),
            "configurations": [emit(configuration).hex() for configuration in device.configurations],
        },
        "functions": [
            {"label": function.label, "kind": type(function).__name__} for function in gadget.functions
        ],
        "inputs": [
            {
                "name": each.name,
                "functions": list(each.functions),
                "fields": [of_field(option) for option in each.fields],
                "help": each.help,
            }
            for each in gadget.inputs()
        ],
    }


def record(device: Device) -> Json:
    """What `record_of` needs to know."""
    told = device.device_descriptor
    first = device.configurations[0] if device.configurations else None
    return {
        "speed": int(device.speed),
        "vendor_id": told.vendor_id,
        "product_id": told.product_id,
        "bcd_device": told.bcd_device,
        "device_class": told.device_class,
        "subclass": told.subclass,
        "protocol": told.protocol,
        "configuration_value": first.value if first else 0,
        "num_configurations": told.num_configurations,
        "interfaces": [
            [s.interface_class, s.subclass, s.protocol] for s, *_ in (first.interfaces if first else ())
        ],
    }


def record_of(portrait: Mapping[str, Any], name: str, number: int) -> DeviceRecord:
    """As it goes over the wire, under `name`, as the `number`th on our bus."""
    told = portrait["record"]
    return DeviceRecord(
        **{
            **told,
            "path": f"/twinhub/gadgets/{name}",
            "busid": name,
            "busnum": BUS,
            "devnum": number,
            "speed": Speed(told["speed"]),
            "interfaces": tuple(InterfaceRecord(*each) for each in told["interfaces"]),
        }
    )


def of_field(option: Option) -> Json:
    return {
        "name": option.name,
        "wanted": wanted_of(option.type),
        "optional": option.default is not REQUIRED,
    }


def wanted_of(kind: Any) -> str:
    """Where it is one of several dataclasses, their tags."""
    tags = [snake(each.__name__) for each in get_args(kind) if is_dataclass(each) and isinstance(each, type)]
    return f"a table with one of {', '.join(tags)}" if len(tags) > 1 else wanted(kind)
