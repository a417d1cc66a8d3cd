"""Microsoft OS 2.0 descriptors: how a device tells Windows, with no .inf file, to load WinUSB for it.

The set is a tree: header, then features of the whole device, then configuration subsets of function subsets
of features. Source: "Microsoft OS 2.0 Descriptors Specification" (April 2018), tables 1 to 18.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from appliance.errors import ProtocolError, UsageError
from gadgets.usb.capabilities import Capability, platform
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.function import Answer, Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.urb import SetupPacket

MS_OS_20 = UUID("d8dd60df-4589-4cc7-9cd2-659d9e648a9f")
"""Of the platform capability that announces the set."""
WINDOWS_8_1 = 0x06030000
"""dwWindowsVersion: the first one that reads these."""
DESCRIPTOR_INDEX, SET_ALT_ENUMERATION = 7, 8
"""wIndex of the vendor request."""

SET_HEADER, CONFIGURATION_SUBSET, FUNCTION_SUBSET = 0, 1, 2
COMPATIBLE_ID, REGISTRY_PROPERTY, MINIMUM_RESUME_TIME, MODEL_ID, CCGP_DEVICE, VENDOR_REVISION = range(3, 9)
REG_SZ, REG_MULTI_SZ = 1, 7

TWINHUB_GUID = "{8b2cf5f1-5f2f-4e0f-a7f8-3c0f1d6c2a94}"
"""DeviceInterfaceGUIDs of a gadget that names none: what a Windows program opens it by."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature descriptor, as it came: its kind (COMPATIBLE_ID to VENDOR_REVISION) and what follows."""

    kind: int
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Subset:
    """CONFIGURATION_SUBSET (`number` is its index) or FUNCTION_SUBSET (`number` is its first interface)."""

    kind: int
    number: int
    items: tuple[Item, ...] = ()
    reserved: int = 0


Item = Feature | Subset


@dataclass(frozen=True, slots=True)
class MsOs20Set:
    items: tuple[Item, ...] = ()
    windows_version: int = WINDOWS_8_1


def compatible_id(compatible: str, sub_compatible: str = "") -> Feature:
    """Which driver: "WINUSB". At most 8 ASCII characters each."""
    return Feature(
        COMPATIBLE_ID, struct.pack("<8s8s", compatible.encode("ascii"), sub_compatible.encode("ascii"))
    )


def registry_property(name: str, data: bytes, data_type: int) -> Feature:
    """A value below the device's key in the registry."""
    wide = f"{name}\0".encode("utf-16-le")
    return Feature(
        REGISTRY_PROPERTY,
        struct.pack("<HH", data_type, len(wide)) + wide + struct.pack("<H", len(data)) + data,
    )


def interface_guid(guid: str) -> Feature:
    """DeviceInterfaceGUIDs, by which programs find the device."""
    return registry_property("DeviceInterfaceGUIDs", f"{guid}\0\0".encode("utf-16-le"), REG_MULTI_SZ)


def emit_set(described: MsOs20Set) -> bytes:
    """Raises UsageError for more than 65535 bytes."""
    body = b"".join(map(_emit, described.items))
    if 10 + len(body) > 0xFFFF:
        raise UsageError(f"a set of MS OS 2.0 descriptors has at most 65535 bytes; this has {10 + len(body)}")
    return struct.pack("<HHIH", 10, SET_HEADER, described.windows_version, 10 + len(body)) + body


def _emit(item: Item) -> bytes:
    if isinstance(item, Feature):
        return struct.pack("<HH", 4 + len(item.data), item.kind) + item.data
    body = b"".join(map(_emit, item.items))
    return struct.pack("<HHBBH", 8, item.kind, item.number, item.reserved, 8 + len(body)) + body


def parse_set(data: bytes) -> MsOs20Set:
    """The inverse. Raises ProtocolError."""
    if len(data) < 10 or struct.unpack_from("<HH", data) != (10, SET_HEADER):
        raise ProtocolError(f"not a set of MS OS 2.0 descriptors: {data[:10].hex()}")
    version, total = struct.unpack_from("<IH", data, 4)
    if not 10 <= total <= len(data):
        raise ProtocolError(f"the MS OS 2.0 set claims {total} bytes; {len(data)} are there")
    return MsOs20Set(tuple(_parse(data[10:total], SET_HEADER)), version)


def _parse(data: bytes, within: int) -> Iterator[Item]:
    """Of the body of a header of the kind `within`; subsets lie in wider ones only."""
    at = 0
    while at < len(data):
        if len(data) - at < 4:
            raise ProtocolError(f"{len(data) - at} bytes left over in an MS OS 2.0 set")
        length, kind = struct.unpack_from("<HH", data, at)
        subset = kind in (CONFIGURATION_SUBSET, FUNCTION_SUBSET)
        size = struct.unpack_from("<H", data, at + 6)[0] if subset and len(data) - at >= 8 else length
        if not 4 <= length <= size <= len(data) - at or (subset and (length != 8 or kind <= within)):
            raise ProtocolError(f"malformed MS OS 2.0 descriptor: {data[at : at + 8].hex()}")
        body = data[at + length : at + size]
        if subset:
            yield Subset(kind, data[at + 4], tuple(_parse(body, kind)), data[at + 5])
        else:
            yield Feature(kind, data[at + 4 : at + length])
        at += size


class WinUsb(Function):
    """Makes Windows load WinUSB, with no driver to install, for every vendor-specific interface (class FF).

    `guid` is the DeviceInterfaceGUID that Windows programs open the device by, `vendor_code` the request
    (bRequest) by which Windows asks for the descriptors. It is no interface itself.
    """

    def __init__(self, *, guid: str = TWINHUB_GUID, vendor_code: int = 0x4D) -> None:
        try:
            self.guid = f"{{{UUID(guid)}}}"
        except ValueError:
            raise UsageError(f"guid: found {guid!r}, wanted one such as {TWINHUB_GUID!r}") from None
        if not 0 <= vendor_code <= 0xFF:
            raise UsageError(f"vendor_code: found {vendor_code}, wanted 0 to 255")
        self.vendor_code = vendor_code
        self._answer = b""

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        return ()

    def capabilities(self, settings: Sequence[AlternateSetting]) -> Sequence[Capability]:
        self._answer = emit_set(winusb_set(settings, self.guid))
        announced = struct.pack("<IHBB", WINDOWS_8_1, len(self._answer), self.vendor_code, 0)
        return [platform(MS_OS_20, announced)]

    def setup(self, setup: SetupPacket, data: bytes) -> Answer:
        asked = (setup.request_type, setup.request, setup.value, setup.index)
        return self._answer if asked == (0xC0, self.vendor_code, 0, DESCRIPTOR_INDEX) else None


def winusb_set(settings: Sequence[AlternateSetting], guid: str) -> MsOs20Set:
    """WinUSB for the device when it is one interface, else for each vendor-specific one (of an association:
    its first, which stands for all)."""
    features = (compatible_id("WINUSB"), interface_guid(guid))
    first = [next(group) for _, group in groupby(settings, key=lambda setting: setting.interface)]
    if len(first) == 1 and not first[0].association:
        return MsOs20Set(features if first[0].interface_class == 0xFF else ())
    behind = {
        number
        for s in first
        if (iad := s.association)
        for number in range(iad.first_interface + 1, iad.first_interface + iad.interface_count)
    }
    functions = tuple(
        Subset(FUNCTION_SUBSET, setting.interface, features)
        for setting in first
        if setting.interface_class == 0xFF and setting.interface not in behind
    )
    return MsOs20Set((Subset(CONFIGURATION_SUBSET, 0, functions),))
