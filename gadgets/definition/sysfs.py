"""What the kernel knows of an attached device, for `clone`: /sys/bus/usb/devices/1-1 as a `Captured`.

Needs no rights and does not disturb the device. sysfs has the strings in one language, and the BOS from Linux
6.10 on.
"""

from __future__ import annotations

from pathlib import Path

from appliance.errors import NotFound, ProtocolError, UsageError
from gadgets.definition.clone import Captured, split_whole
from gadgets.usb.configuration import Configuration, parse_configuration
from gadgets.usb.descriptors import DEVICE
from gadgets.usb.urb import Speed

SPEEDS = {
    "1.5": Speed.LOW,
    "12": Speed.FULL,
    "480": Speed.HIGH,
    "5000": Speed.SUPER,
    "10000": Speed.SUPER_PLUS,
    "20000": Speed.SUPER_PLUS,
}


def read_captured(path: Path) -> Captured:
    """Raises NotFound where there is no device, UsageError for one that cannot be understood."""
    try:
        descriptors = (path / "descriptors").read_bytes()
        speed = SPEEDS[_text(path / "speed")]
    except (OSError, KeyError):
        raise NotFound(f"{path} is no USB device") from None
    try:
        device, *rest = split_whole(descriptors)
        configurations = [parse_configuration(each) for each in rest]
        told = DEVICE.parse(device)
    except ProtocolError as error:
        raise UsageError(f"{path}: {error}") from None
    strings = {
        told.manufacturer_index: _text(path / "manufacturer"),
        told.product_index: _text(path / "product"),
        told.serial_index: _text(path / "serial"),
    }
    reports = {}
    current = _text(path / "bConfigurationValue")
    for configuration in configurations:
        if str(configuration.value) == current:
            strings |= _strings_of(path, configuration)
            reports = _reports_of(path, configuration)
    bos = path / "bos_descriptors"
    return Captured(
        descriptors,
        speed,
        {index: text for index, text in sorted(strings.items()) if index and text},
        bos.read_bytes() if bos.exists() else b"",
        reports,
    )


def _strings_of(path: Path, configuration: Configuration) -> dict[int, str]:
    found = {configuration.string_index: _text(path / "configuration")}
    for settings in configuration.interfaces:
        folder = _folder(path, configuration, settings[0].interface)
        found[settings[0].string_index] = _text(folder / "interface")
    return found


def _reports_of(path: Path, configuration: Configuration) -> dict[int, bytes]:
    """Of the HID interfaces that have a driver."""
    return {
        settings[0].interface: file.read_bytes()
        for settings in configuration.interfaces
        for file in _folder(path, configuration, settings[0].interface).glob("*/report_descriptor")
    }


def _folder(path: Path, configuration: Configuration, interface: int) -> Path:
    return path / f"{path.name}:{configuration.value}.{interface}"


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""
