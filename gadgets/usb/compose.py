"""A device in a few lines: who it is, and what it consists of.

device = compose(Identity(0x1209, 0x0001, "Example", "Keyboard"), [Keyboard()], speed=Speed.FULL)
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from itertools import chain, count

from appliance.errors import UsageError
from gadgets.usb.capabilities import Capability, SuperSpeedCapability, Usb2Extension
from gadgets.usb.configuration import AlternateSetting, Configuration
from gadgets.usb.descriptor_set import DescriptorSet
from gadgets.usb.descriptors import DeviceDescriptor
from gadgets.usb.device import GadgetDevice
from gadgets.usb.function import Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.strings import Strings, Text
from gadgets.usb.urb import Speed

MISCELLANEOUS = (0xEF, 0x02, 0x01)
"""Device class, subclass and protocol of a device with interface associations. IAD ECN §2."""

_BCD_USB = {
    Speed.LOW: 0x0110,
    Speed.FULL: 0x0200,
    Speed.HIGH: 0x0200,
    Speed.SUPER: 0x0300,
    Speed.SUPER_PLUS: 0x0310,
}
_WITH_BOS = 0x0201
"""The lowest bcdUSB of which a host asks the BOS. USB 2.0 LPM ECN §3."""
_CONTROL_PACKET = {Speed.LOW: 8, Speed.FULL: 64, Speed.HIGH: 64, Speed.SUPER: 9, Speed.SUPER_PLUS: 9}


@dataclass(frozen=True)
class Identity:
    """Who a device says it is. `device_class` None: what its functions need."""

    vendor_id: int
    product_id: int
    manufacturer: Text = ""
    product: Text = ""
    serial: Text = ""
    bcd_device: int = 0x0100
    device_class: tuple[int, int, int] | None = None


def compose(
    identity: Identity,
    functions: Sequence[Function],
    *,
    speed: Speed = Speed.HIGH,
    capabilities: Sequence[Capability] = (),
    self_powered: bool = False,
    remote_wakeup: bool = False,
    max_power_ma: int = 100,
) -> GadgetDevice:
    """A device of one configuration, its functions in this order. Raises UsageError for what cannot be."""
    if speed not in _BCD_USB:
        raise UsageError(f"a gadget cannot have {speed.name.lower()} speed")
    strings = Strings()
    indexes = [strings.add(text) for text in (identity.manufacturer, identity.product, identity.serial)]
    label(functions, [type(function).__name__.lower() for function in functions])
    attributes = _attributes(self_powered, remote_wakeup)
    max_power = max_power_ma // (8 if speed >= Speed.SUPER else 2)
    configuration, owners = _describe(functions, Numbering(speed, strings), attributes, max_power)
    other_speed: tuple[Configuration, ...] = ()
    if speed is Speed.HIGH:
        other_speed = _at_full_speed(functions, strings, attributes, max_power)
    associated = any(setting.association for setting in configuration.settings)
    added = chain.from_iterable(each.capabilities(configuration.settings) for each in functions)
    capabilities = (*_needed_capabilities(speed), *capabilities, *added)
    device_class = identity.device_class or (MISCELLANEOUS if associated else (0, 0, 0))
    device = DeviceDescriptor(
        max(_BCD_USB[speed], _WITH_BOS if capabilities else 0),
        *device_class,
        _CONTROL_PACKET[speed],
        identity.vendor_id,
        identity.product_id,
        identity.bcd_device,
        *indexes,
    )
    descriptors = DescriptorSet(speed, device, (configuration,), strings, capabilities, other_speed)
    return GadgetDevice(descriptors, functions, {configuration.value: owners})


def _describe(
    functions: Sequence[Function], numbering: Numbering, attributes: int, max_power: int
) -> tuple[Configuration, dict[int, Function]]:
    """The configuration, and which function is behind each of its interfaces."""
    settings: list[AlternateSetting] = []
    owners: dict[int, Function] = {}
    for function in functions:
        described = function.describe(numbering)
        settings += described
        owners |= {setting.interface: function for setting in described}
    return Configuration(1, tuple(settings), attributes, max_power), owners


def _at_full_speed(
    functions: Sequence[Function], strings: Strings, attributes: int, max_power: int
) -> tuple[Configuration, ...]:
    """What a high-speed device would be there, by copies of its functions; nothing if one cannot be."""
    numbering = Numbering(Speed.FULL, strings)
    try:
        return (_describe([copy(each) for each in functions], numbering, attributes, max_power)[0],)
    except UsageError:
        return ()


def label(functions: Sequence[Function], names: Sequence[str]) -> None:
    """Who has no label gets its name: keyboard, keyboard-2. Raises UsageError for one given twice."""
    taken = [function.label for function in functions if function.label]
    if len(taken) > len(set(taken)):
        raise UsageError(f"two functions of a device cannot have one label: {', '.join(taken)}")
    for function, name in zip(functions, names, strict=True):
        if not function.label:
            free = chain((name,), (f"{name}-{number}" for number in count(2)))
            function.label = next(each for each in free if each not in taken)
            taken.append(function.label)


def _attributes(self_powered: bool, remote_wakeup: bool) -> int:
    return 0x80 | self_powered * Configuration.SELF_POWERED | remote_wakeup * Configuration.REMOTE_WAKEUP


def _needed_capabilities(speed: Speed) -> tuple[Capability, ...]:
    """USB 3.2 §9.6.2: every SuperSpeed device has these two."""
    return (Usb2Extension(), SuperSpeedCapability()) if speed >= Speed.SUPER else ()
