"""What a device said of itself becomes a definition of a gadget that says the same, byte for byte.

Interfaces of a class that we have get a function of that class, behind the descriptors as they were; all
others get a `raw` one, which takes what it is sent and waits. What comes out the same without the captured
descriptors is written without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from appliance.errors import ProtocolError, TwinhubError, UsageError
from gadgets.definition.kinds import class_of
from gadgets.definition.model import Definition, Part, Pinned
from gadgets.definition.pinned import descriptor_set
from gadgets.usb.class_descriptors import CDC_UNION
from gadgets.usb.configuration import AlternateSetting, Configuration
from gadgets.usb.shape import DescriptorType
from gadgets.usb.strings import Text
from gadgets.usb.urb import ENDPOINT_IN, Speed

HID_KINDS = ("keyboard", "mouse", "tablet", "gamepad", "media-keys", "fido")
HID_CLASS, COMMUNICATION_CLASS, STORAGE_CLASS = 0x03, 0x02, 0x08


@dataclass(frozen=True)
class Captured:
    """`descriptors`: the device's and all its configurations', one behind the other, as in sysfs and usbfs.
    `report_descriptors`: of HID interfaces, by number, as far as they are known."""

    descriptors: bytes
    speed: Speed
    strings: Mapping[int, Text] = field(default_factory=dict)
    bos: bytes = b""
    report_descriptors: Mapping[int, bytes] = field(default_factory=dict)


def clone(captured: Captured, name: str = "clone") -> Definition:
    """Raises UsageError for descriptors that cannot be understood."""
    try:
        pinned = pinned_of(captured)
        said = descriptor_set(pinned, captured.speed)
        parts = tuple(parts_of(said.configurations[0], captured))
        device = said.device
    except ProtocolError as error:
        raise UsageError(f"cannot clone it: {error}") from None
    exact = Definition(
        name,
        device.vendor_id,
        device.product_id,
        speed=captured.speed,
        functions=parts,
        pinned=pinned,
    )
    return simpler(exact, captured) or exact


def pinned_of(captured: Captured) -> Pinned:
    whole = tuple(split_whole(captured.descriptors))
    if len(whole) < 2:
        raise ProtocolError("a device descriptor and a configuration are the least there must be")
    return Pinned(whole[0], whole[1:], captured.bos, captured.strings)


def split_whole(data: bytes) -> Iterator[bytes]:
    """The device descriptor, and each configuration with all that belongs to it. Raises ProtocolError."""
    at = 0
    while at < len(data):
        whole = data[at + 1 : at + 2] == bytes((DescriptorType.CONFIGURATION,))
        size = int.from_bytes(data[at + 2 : at + 4], "little") if whole else data[at]
        if size < 2 or at + size > len(data):
            raise ProtocolError(f"the descriptor at byte {at} has {size} bytes; {len(data) - at} are left")
        yield data[at : at + size]
        at += size


def parts_of(configuration: Configuration, captured: Captured) -> Iterator[Part]:
    """A part for each interface, or for those that belong together."""
    left = {settings[0].interface: settings for settings in configuration.interfaces}
    while left:
        number = next(iter(left))
        part = part_of(left[number], left, captured)
        for each in part.interfaces:
            left.pop(each, None)
        yield part


def part_of(
    settings: Sequence[AlternateSetting],
    others: Mapping[int, Sequence[AlternateSetting]],
    captured: Captured,
) -> Part:
    first = settings[0]
    triple = (first.interface_class, first.subclass, first.protocol)
    here = (first.interface,)
    if first.interface_class == HID_CLASS:
        return hid_part(first, captured.report_descriptors.get(first.interface))
    if triple == (STORAGE_CLASS, 6, 0x50):
        return Part("disk", {"luns": [{"medium": "memory:64M"}]}, interfaces=here)
    if triple[:2] == (COMMUNICATION_CLASS, 2):
        union = next((each for each in first.extra if each[1:3] == b"\x24\x06"), b"")
        data = tuple(n for n in (CDC_UNION.parse(union).subordinates if union else b"") if n in others)
        if data:
            return Part("serial", interfaces=(*here, *data))
    return Part("raw", interfaces=here)


def hid_part(setting: AlternateSetting, report_descriptor: bytes | None) -> Part:
    """Ours if it is one of ours; else `hid`, by its report descriptor."""
    here = (setting.interface,)
    for kind in HID_KINDS:
        ours: Any = class_of(kind)
        boot = (ours.subclass, ours.protocol_code) == (setting.subclass, setting.protocol)
        if boot and ours.report_descriptor == report_descriptor:
            return Part(kind, interfaces=here)
    if report_descriptor is None:
        return Part("raw", interfaces=here)
    boots = {(1, 1): "keyboard", (1, 2): "mouse"}
    has_out = any(not endpoint.address & ENDPOINT_IN for endpoint in setting.endpoints)
    options = {
        "descriptor": report_descriptor.hex(),
        "boot": boots.get((setting.subclass, setting.protocol), ""),
        "out_endpoint": has_out,
    }
    return Part("hid", {key: value for key, value in options.items() if value}, interfaces=here)


def simpler(exact: Definition, captured: Captured) -> Definition | None:
    """The same device without pinned descriptors, if there is such a definition."""
    assert exact.pinned
    wanted = descriptor_set(exact.pinned, exact.speed)
    device, configuration = wanted.device, wanted.configurations[0]
    texts = captured.strings
    try:
        plain = Definition(
            exact.name,
            exact.vendor_id,
            exact.product_id,
            texts.get(device.manufacturer_index, ""),
            texts.get(device.product_index, ""),
            texts.get(device.serial_index, ""),
            device.bcd_device,
            speed=exact.speed,
            max_power_ma=configuration.max_power * (8 if exact.speed >= Speed.SUPER else 2),
            self_powered=bool(configuration.attributes & Configuration.SELF_POWERED),
            remote_wakeup=bool(configuration.attributes & Configuration.REMOTE_WAKEUP),
            functions=tuple(replace(part, interfaces=()) for part in exact.functions),
        )
        with plain.build() as gadget:
            found = gadget.bare.descriptors.table
    except TwinhubError:
        return None
    told = {key: data for key, data in found.items() if key[0] in TOLD}
    return plain if told == {key: data for key, data in wanted.table.items() if key[0] in TOLD} else None


TOLD = (DescriptorType.DEVICE, DescriptorType.CONFIGURATION, DescriptorType.STRING, DescriptorType.BOS)
"""What a capture tells of. A qualifier is not in sysfs."""
