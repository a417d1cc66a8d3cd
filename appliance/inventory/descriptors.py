"""What a device's raw descriptors, as sysfs gives them (device, then configurations), tell the inventory.

The kernel's own view (interface directories, bMaxPower) is there only while the device is configured. One
bound to usbip-host is not, yet people and clients want to know what it is; so the descriptors are the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from appliance.errors import DeviceFailed, ProtocolError
from appliance.inventory.model import UsbEndpoint, UsbInterface
from gadgets.usb.configuration import AlternateSetting, Configuration, parse_configuration
from gadgets.usb.urb import TransferType

DEVICE_SIZE = 18
CONFIGURATION_SIZE = 9
LARGEST = 65536
"""Bytes of all of them."""


def configurations(raw: bytes) -> Iterator[Configuration]:
    """Those in sysfs' `descriptors`. Never raises: what a device botched is left out, as the kernel does."""
    at = DEVICE_SIZE
    while at + CONFIGURATION_SIZE <= len(raw):
        size = max(int.from_bytes(raw[at + 2 : at + 4], "little"), CONFIGURATION_SIZE)
        try:
            yield parse_configuration(_well_formed(raw[at : at + size]))
        except ProtocolError:
            pass
        at += size


def chosen(raw: bytes, value: int) -> Configuration | None:
    """The configuration of that bConfigurationValue; the first one where there is none such."""
    there = list(configurations(raw))
    return next((c for c in there if c.value == value), there[0] if there else None)


def interfaces_of(configuration: Configuration, alternates: Mapping[int, int]) -> list[UsbInterface]:
    """One for each interface number; `alternates`: number → current alternate setting, else 0."""
    return [
        _interface(next((s for s in settings if s.alternate == alternates.get(s.interface, 0)), settings[0]))
        for settings in configuration.interfaces
    ]


def _interface(setting: AlternateSetting) -> UsbInterface:
    return UsbInterface(
        number=setting.interface,
        interface_class=setting.interface_class,
        subclass=setting.subclass,
        protocol=setting.protocol,
        alternate=setting.alternate,
        endpoints=tuple(
            UsbEndpoint(e.address, TransferType(e.attributes & 3), e.max_packet_size & 0x7FF, e.interval)
            for e in setting.endpoints
        ),
    )


def _well_formed(raw: bytes) -> bytes:
    """The configuration up to the first descriptor whose bLength cannot be, its wTotalLength made true."""
    at = 0
    while at < len(raw) and 2 <= raw[at] <= len(raw) - at:
        at += raw[at]
    return raw[:2] + at.to_bytes(2, "little") + raw[4:at]


def descriptors_of(syspath: str) -> bytes:
    """Device and configuration descriptors as sysfs has them."""
    try:
        with (Path(syspath) / "descriptors").open("rb") as file:
            return file.read(LARGEST)
    except OSError as error:
        raise DeviceFailed(f"{syspath} is gone: {error.strerror}") from error
