"""Device capabilities and the BOS descriptor that carries them. USB 3.2 §9.6.2."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from construct import Bytes, Const, GreedyBytes, Int8ul, Int16ul, Int32ul

from appliance.errors import ProtocolError, UsageError
from gadgets.usb.shape import DescriptorType, Shape, split, with_header


@dataclass(frozen=True, slots=True)
class Usb2Extension:
    """USB 3.2 §9.6.2.1. attributes bit 1: link power management."""

    attributes: int = 0x02


@dataclass(frozen=True, slots=True)
class SuperSpeedCapability:
    """USB 3.2 §9.6.2.2. speeds: bits low, full, high, super; functionality: lowest full-featured one."""

    attributes: int = 0
    speeds: int = 0x0E
    functionality: int = 1
    u1_exit_latency: int = 10
    """µs, at most 10"""
    u2_exit_latency: int = 0x07FF
    """µs"""


@dataclass(frozen=True, slots=True)
class ContainerId:
    """USB 3.2 §9.6.2.3: the same for every part of one product."""

    container: bytes
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class PlatformCapability:
    """USB 3.2 §9.6.2.4: `platform` (UUID, as on the wire) says who defines `data`. WebUSB, MS OS 2.0."""

    platform: bytes
    data: bytes = b""
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class OtherCapability:
    """Any other capability, as it came."""

    kind: int
    data: bytes = b""


Capability = Usb2Extension | SuperSpeedCapability | ContainerId | PlatformCapability | OtherCapability


def _shape(record: type, kind: int, *fields: object) -> Shape[Capability]:
    return Shape(record, DescriptorType.DEVICE_CAPABILITY, Const(bytes((kind,))), *fields)


_SHAPES: dict[int, Shape[Capability]] = {
    0x02: _shape(Usb2Extension, 0x02, "attributes" / Int32ul),
    0x03: _shape(
        SuperSpeedCapability,
        0x03,
        "attributes" / Int8ul,
        "speeds" / Int16ul,
        "functionality" / Int8ul,
        "u1_exit_latency" / Int8ul,
        "u2_exit_latency" / Int16ul,
    ),
    0x04: _shape(ContainerId, 0x04, "reserved" / Int8ul, "container" / Bytes(16)),
    0x05: _shape(PlatformCapability, 0x05, "reserved" / Int8ul, "platform" / Bytes(16), "data" / GreedyBytes),
}
_OTHER: Shape[Capability] = Shape(
    OtherCapability, DescriptorType.DEVICE_CAPABILITY, "kind" / Int8ul, "data" / GreedyBytes
)
_BY_RECORD = {shape.record: shape for shape in (*_SHAPES.values(), _OTHER)}


def platform(uuid: UUID, data: bytes = b"") -> PlatformCapability:
    return PlatformCapability(uuid.bytes_le, data)


def emit_bos(capabilities: Iterable[Capability]) -> bytes:
    """BOS header and capabilities, wTotalLength and bNumDeviceCaps computed."""
    parts = [_BY_RECORD[type(capability)].emit(capability) for capability in capabilities]
    total = 5 + sum(map(len, parts))
    if len(parts) > 255 or total > 0xFFFF:
        raise UsageError(f"{len(parts)} device capabilities of {total} bytes do not fit a BOS descriptor")
    header = with_header(DescriptorType.BOS, total.to_bytes(2, "little") + bytes((len(parts),)))
    return header + b"".join(parts)


def parse_bos(data: bytes) -> tuple[Capability, ...]:
    """The inverse of `emit_bos`. Raises ProtocolError."""
    if len(data) < 5 or data[:2] != bytes((5, DescriptorType.BOS)):
        raise ProtocolError(f"not a BOS descriptor: {data[:8].hex()}")
    total = int.from_bytes(data[2:4], "little")
    if not 5 <= total <= len(data):
        raise ProtocolError(f"the BOS says it has {total} bytes; {len(data)} are there")
    return tuple(_parse_capability(part) for part in split(data[5:total]))


def _parse_capability(data: bytes) -> Capability:
    if len(data) < 3:
        raise ProtocolError(f"a device capability of {len(data)} bytes: {data.hex()}")
    return _SHAPES.get(data[2], _OTHER).parse(data)
