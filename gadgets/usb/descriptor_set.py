"""All descriptors of a device, as the table that GET_DESCRIPTOR looks up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from gadgets.usb.capabilities import Capability, emit_bos
from gadgets.usb.configuration import Configuration, emit
from gadgets.usb.descriptors import DEVICE, QUALIFIER, DeviceDescriptor, DeviceQualifier
from gadgets.usb.shape import DescriptorType
from gadgets.usb.strings import Strings
from gadgets.usb.urb import Speed


@dataclass(frozen=True)
class DescriptorSet:
    """Everything a device says of itself at one speed. `other_speed`: its configurations at the other one
    of full and high, where it has them. At high speed it has a qualifier in any case. USB 2.0 §9.6.2."""

    speed: Speed
    device: DeviceDescriptor
    configurations: tuple[Configuration, ...]
    strings: Strings
    capabilities: tuple[Capability, ...] = ()
    other_speed: tuple[Configuration, ...] = ()

    @cached_property
    def table(self) -> dict[tuple[int, int, int], bytes]:
        """(type, index, language) → descriptor; the language is 0 for all but strings."""
        found = {(DescriptorType.DEVICE, 0, 0): DEVICE.emit(self.device)}
        for index, configuration in enumerate(self.configurations):
            found[DescriptorType.CONFIGURATION, index, 0] = emit(configuration)
        for (index, language), text in self.strings.descriptors().items():
            found[DescriptorType.STRING, index, language] = text
        if self.capabilities:
            found[DescriptorType.BOS, 0, 0] = emit_bos(self.capabilities)
        for index, configuration in enumerate(self.other_speed):
            kind = DescriptorType.OTHER_SPEED_CONFIGURATION
            found[kind, index, 0] = emit(configuration, kind)
        if self.other_speed or self.speed is Speed.HIGH:
            found[DescriptorType.DEVICE_QUALIFIER, 0, 0] = QUALIFIER.emit(
                DeviceQualifier(
                    self.device.bcd_usb,
                    self.device.device_class,
                    self.device.subclass,
                    self.device.protocol,
                    self.device.max_packet_size,
                    len(self.other_speed),
                )
            )
        return {(int(kind), index, language): data for (kind, index, language), data in found.items()}
