"""Class-specific descriptors: HID (HID 1.11 §6.2.1), CDC (CDC 1.2 §5.2.3, PSTN 1.2 §5.3)."""

from __future__ import annotations

from dataclasses import dataclass

from construct import Const, GreedyBytes, Int8ul, Int16ul, Int32ul

from gadgets.usb.shape import DescriptorType, Shape


@dataclass(frozen=True, slots=True)
class HidDescriptor:
    """Announces the report descriptor; `tail` holds further class descriptors (type, length)."""

    report_length: int
    bcd_hid: int = 0x0111
    country: int = 0
    num_descriptors: int = 1
    report_type: int = DescriptorType.HID_REPORT
    tail: bytes = b""


HID = Shape(
    HidDescriptor,
    DescriptorType.HID,
    "bcd_hid" / Int16ul,
    "country" / Int8ul,
    "num_descriptors" / Int8ul,
    "report_type" / Int8ul,
    "report_length" / Int16ul,
    "tail" / GreedyBytes,
)


@dataclass(frozen=True, slots=True)
class CdcHeader:
    """CDC 1.2 table 15."""

    bcd_cdc: int = 0x0110


@dataclass(frozen=True, slots=True)
class CdcCallManagement:
    """PSTN 1.2 table 3."""

    capabilities: int
    data_interface: int


@dataclass(frozen=True, slots=True)
class CdcAcm:
    """Abstract control management. PSTN 1.2 table 4."""

    capabilities: int


@dataclass(frozen=True, slots=True)
class CdcUnion:
    """The control interface and those it governs, one byte each. CDC 1.2 table 16."""

    control_interface: int
    subordinates: bytes


@dataclass(frozen=True, slots=True)
class CdcEthernet:
    """ECM 1.2 table 3; `mac_index` counts into the strings."""

    mac_index: int
    statistics: int = 0
    max_segment_size: int = 1514
    multicast_filters: int = 0
    power_filters: int = 0


@dataclass(frozen=True, slots=True)
class CdcNcm:
    """NCM 1.0 table 5-2."""

    bcd_ncm: int = 0x0100
    capabilities: int = 0


def _functional(subtype: int) -> object:
    return Const(bytes((subtype,)))


CDC_HEADER = Shape(CdcHeader, DescriptorType.CS_INTERFACE, _functional(0x00), "bcd_cdc" / Int16ul)
CDC_CALL_MANAGEMENT = Shape(
    CdcCallManagement,
    DescriptorType.CS_INTERFACE,
    _functional(0x01),
    "capabilities" / Int8ul,
    "data_interface" / Int8ul,
)
CDC_ACM = Shape(CdcAcm, DescriptorType.CS_INTERFACE, _functional(0x02), "capabilities" / Int8ul)
CDC_UNION = Shape(
    CdcUnion,
    DescriptorType.CS_INTERFACE,
    _functional(0x06),
    "control_interface" / Int8ul,
    "subordinates" / GreedyBytes,
)
CDC_ETHERNET = Shape(
    CdcEthernet,
    DescriptorType.CS_INTERFACE,
    _functional(0x0F),
    "mac_index" / Int8ul,
    "statistics" / Int32ul,
    "max_segment_size" / Int16ul,
    "multicast_filters" / Int16ul,
    "power_filters" / Int8ul,
)
CDC_NCM = Shape(
    CdcNcm, DescriptorType.CS_INTERFACE, _functional(0x1A), "bcd_ncm" / Int16ul, "capabilities" / Int8ul
)
