"""What FunctionFS is told of a device: descriptors by speed, strings by language. Pure.

The kernel numbers strings itself: 1 to 3 are the device's own, ours follow in the order of FunctionFS' table.
So the table is ordered as the device's is, and a device with manufacturer, product and serial number keeps
its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gadgets.usb.configuration import AlternateSetting, Configuration, emit
from gadgets.usb.descriptor_set import DescriptorSet
from gadgets.usb.shape import split
from gadgets.usb.strings import ENGLISH_US
from gadgets.usb.urb import Speed

CONFIGURATION_SIZE = 9


@dataclass(frozen=True)
class Shown:
    """Whole descriptors in their order, of each speed there is; `strings`: language → texts from 1 on.
    `winusb`: the interfaces for which Windows is to load WinUSB, and `guid` the one its programs open."""

    full: tuple[bytes, ...] = ()
    high: tuple[bytes, ...] = ()
    super: tuple[bytes, ...] = ()
    strings: dict[int, list[str]] = field(default_factory=dict)
    winusb: tuple[int, ...] = ()
    guid: str = ""


def shown(device: DescriptorSet, guid: str = "") -> Shown:
    """Of the first configuration. At high speed also what it would be at full speed, where it says so. With
    a `guid` (gadgets/usb/microsoft.py: WinUsb) its vendor-specific interfaces are announced to Windows."""
    configurations = {device.speed: device.configurations[0]}
    if device.speed is Speed.HIGH and device.other_speed:
        configurations[Speed.FULL] = device.other_speed[0]
    numbers = {index: rank for rank, index in enumerate(_used_strings(device), 1)}
    lists = {speed: _renumbered(each, numbers) for speed, each in configurations.items()}
    return Shown(
        lists.get(Speed.FULL, ()),
        lists.get(Speed.HIGH, ()),
        lists.get(Speed.SUPER, ()) or lists.get(Speed.SUPER_PLUS, ()),
        _strings(device, list(numbers)),
        _vendor_specific(device) if guid else (),
        guid,
    )


def _vendor_specific(device: DescriptorSet) -> tuple[int, ...]:
    settings = device.configurations[0].settings
    return tuple(dict.fromkeys(each.interface for each in settings if each.interface_class == 0xFF))


def _used_strings(device: DescriptorSet) -> list[int]:
    settings = device.configurations[0].settings
    used = {index for setting in settings for index in _indexes(setting)}
    return sorted(used - {0})


def _indexes(setting: AlternateSetting) -> Iterator[int]:
    yield setting.string_index
    if setting.association:
        yield setting.association.string_index


def _renumbered(configuration: Configuration, numbers: dict[int, int]) -> tuple[bytes, ...]:
    settings = (
        replace(
            setting,
            string_index=numbers.get(setting.string_index, 0),
            association=setting.association
            and replace(setting.association, string_index=numbers.get(setting.association.string_index, 0)),
        )
        for setting in configuration.settings
    )
    whole = emit(replace(configuration, settings=tuple(settings), extra=(), tail=b""))
    return tuple(split(whole[CONFIGURATION_SIZE:]))


def _strings(device: DescriptorSet, indexes: list[int]) -> dict[int, list[str]]:
    """FunctionFS wants every string in every language; one that lacks is given in its first."""
    if not indexes:
        return {}
    text = device.strings.text
    return {
        language: [text(index, language) or text(index) for index in indexes]
        for language in device.strings.languages or [ENGLISH_US]
    }
