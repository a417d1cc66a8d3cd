"""Standard descriptors: a frozen record each, and its `Shape`.

What is longer than its record keeps the rest in `tail` where the record has one (audio endpoints do), so
that a captured descriptor comes back byte for byte. The tree of a whole configuration is in configuration.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from construct import GreedyBytes, Int8ul, Int16ul

from gadgets.usb.shape import DescriptorType, Shape
from gadgets.usb.urb import Direction, TransferType


@dataclass(frozen=True, slots=True)
class DeviceDescriptor:
    """USB 2.0 §9.6.1. The `_index` fields count into the string descriptors; 0 is none."""

    bcd_usb: int = 0x0200
    device_class: int = 0
    subclass: int = 0
    protocol: int = 0
    max_packet_size: int = 64
    """of endpoint 0; from SuperSpeed on its exponent (9)"""
    vendor_id: int = 0
    product_id: int = 0
    bcd_device: int = 0x0100
    manufacturer_index: int = 0
    product_index: int = 0
    serial_index: int = 0
    num_configurations: int = 1


DEVICE = Shape(
    DeviceDescriptor,
    DescriptorType.DEVICE,
    "bcd_usb" / Int16ul,
    "device_class" / Int8ul,
    "subclass" / Int8ul,
    "protocol" / Int8ul,
    "max_packet_size" / Int8ul,
    "vendor_id" / Int16ul,
    "product_id" / Int16ul,
    "bcd_device" / Int16ul,
    "manufacturer_index" / Int8ul,
    "product_index" / Int8ul,
    "serial_index" / Int8ul,
    "num_configurations" / Int8ul,
)


@dataclass(frozen=True, slots=True)
class DeviceQualifier:
    """What a device would say of itself at its other speed. USB 2.0 §9.6.2."""

    bcd_usb: int
    device_class: int
    subclass: int
    protocol: int
    max_packet_size: int
    num_configurations: int
    reserved: int = 0


QUALIFIER = Shape(
    DeviceQualifier,
    DescriptorType.DEVICE_QUALIFIER,
    "bcd_usb" / Int16ul,
    "device_class" / Int8ul,
    "subclass" / Int8ul,
    "protocol" / Int8ul,
    "max_packet_size" / Int8ul,
    "num_configurations" / Int8ul,
    "reserved" / Int8ul,
)


@dataclass(frozen=True, slots=True)
class ConfigurationHeader:
    """USB 2.0 §9.6.3: the first descriptor of a configuration's tree."""

    total_length: int
    num_interfaces: int
    value: int
    string_index: int
    attributes: int
    max_power: int
    tail: bytes = b""


CONFIGURATION = Shape(
    ConfigurationHeader,
    DescriptorType.CONFIGURATION,
    "total_length" / Int16ul,
    "num_interfaces" / Int8ul,
    "value" / Int8ul,
    "string_index" / Int8ul,
    "attributes" / Int8ul,
    "max_power" / Int8ul,
    "tail" / GreedyBytes,
)


@dataclass(frozen=True, slots=True)
class InterfaceHeader:
    """USB 2.0 §9.6.5: opens one alternate setting of an interface."""

    number: int
    alternate: int
    num_endpoints: int
    interface_class: int
    subclass: int
    protocol: int
    string_index: int
    tail: bytes = b""


INTERFACE = Shape(
    InterfaceHeader,
    DescriptorType.INTERFACE,
    "number" / Int8ul,
    "alternate" / Int8ul,
    "num_endpoints" / Int8ul,
    "interface_class" / Int8ul,
    "subclass" / Int8ul,
    "protocol" / Int8ul,
    "string_index" / Int8ul,
    "tail" / GreedyBytes,
)


@dataclass(frozen=True, slots=True)
class Association:
    """Interfaces that make one function (IAD). USB 3.2 §9.6.4."""

    first_interface: int
    interface_count: int
    function_class: int
    subclass: int
    protocol: int
    string_index: int = 0


ASSOCIATION = Shape(
    Association,
    DescriptorType.INTERFACE_ASSOCIATION,
    "first_interface" / Int8ul,
    "interface_count" / Int8ul,
    "function_class" / Int8ul,
    "subclass" / Int8ul,
    "protocol" / Int8ul,
    "string_index" / Int8ul,
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """USB 2.0 §9.6.6, and the blobs behind it.

    `tail`: bRefresh and bSynchAddress of an audio endpoint (UAC 1.0 §4.6.1.1). `extra`: the descriptors
    that follow and belong to it, whole: SuperSpeed companion, class-specific ones.
    """

    address: int
    attributes: int
    max_packet_size: int
    interval: int = 0
    tail: bytes = b""
    extra: tuple[bytes, ...] = ()

    @property
    def direction(self) -> Direction:
        return Direction(self.address >> 7)

    @property
    def transfer_type(self) -> TransferType:
        return TransferType(self.attributes & 3)

    @property
    def packet_size(self) -> int:
        """Bytes in one packet, without the high-bandwidth multiplier of bits 12..11."""
        return self.max_packet_size & 0x7FF


ENDPOINT = Shape(
    Endpoint,
    DescriptorType.ENDPOINT,
    "address" / Int8ul,
    "attributes" / Int8ul,
    "max_packet_size" / Int16ul,
    "interval" / Int8ul,
    "tail" / GreedyBytes,
)


@dataclass(frozen=True, slots=True)
class SuperSpeedCompanion:
    """Follows every endpoint descriptor from SuperSpeed on. USB 3.2 §9.6.7."""

    max_burst: int = 0
    attributes: int = 0
    bytes_per_interval: int = 0


COMPANION = Shape(
    SuperSpeedCompanion,
    DescriptorType.SUPERSPEED_COMPANION,
    "max_burst" / Int8ul,
    "attributes" / Int8ul,
    "bytes_per_interval" / Int16ul,
)
