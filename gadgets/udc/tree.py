"""A device as configfs is told of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gadgets.udc.capabilities import SPEEDS
from gadgets.udc.configfs import OsDescriptors, Tree
from gadgets.udc.descriptors import Shown
from gadgets.udc.kernel import KernelFunction
from gadgets.usb.descriptor_set import DescriptorSet
from gadgets.usb.strings import ENGLISH_US
from gadgets.usb.urb import Speed

NAMES: Final = {speed: name for name, speed in SPEEDS.items()}


def tree_of(name: str, device: DescriptorSet, kernel: Sequence[KernelFunction], own: Shown | None) -> Tree:
    """`own`: what FunctionFS shows of it, if anything. bcdUSB and the strings' numbers are the kernel's,
    whatever the device says."""
    about, configuration = device.device, device.configurations[0]
    indexes = {
        "manufacturer": about.manufacturer_index,
        "product": about.product_index,
        "serialnumber": about.serial_index,
    }
    strings = {
        language: {
            key: device.strings.text(index, language) or device.strings.text(index)
            for key, index in indexes.items()
            if index
        }
        for language in device.strings.languages or [ENGLISH_US]
    }
    unit = 8 if device.speed >= Speed.SUPER else 2
    return Tree(
        name,
        {
            "idVendor": f"{about.vendor_id:#06x}",
            "idProduct": f"{about.product_id:#06x}",
            "bcdDevice": f"{about.bcd_device:#06x}",
            "bDeviceClass": f"{about.device_class:#04x}",
            "bDeviceSubClass": f"{about.subclass:#04x}",
            "bDeviceProtocol": f"{about.protocol:#04x}",
            "max_speed": NAMES[device.speed],
        },
        strings,
        {
            "bmAttributes": f"{configuration.attributes:#04x}",
            "MaxPower": str(configuration.max_power * unit),
        },
        tuple(kernel),
        own is not None,
        OsDescriptors() if own and own.winusb else None,
    )
