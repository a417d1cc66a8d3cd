"""What all descriptors have in common: bLength, bDescriptorType, and a `Shape` that emits and parses them.

A shape's field names are those of its record. `DEVICE.emit(DeviceDescriptor(...))` gives the bytes with
bLength and bDescriptorType in front; `DEVICE.parse(bytes)` is the inverse.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Generic, TypeVar

from construct import ConstructError, Struct, Terminated

from appliance.errors import ProtocolError, UsageError

T = TypeVar("T")


class DescriptorType(IntEnum):
    """bDescriptorType. USB 3.2 table 9-6, and the class-specific ones that are spoken of here."""

    DEVICE = 0x01
    CONFIGURATION = 0x02
    STRING = 0x03
    INTERFACE = 0x04
    ENDPOINT = 0x05
    DEVICE_QUALIFIER = 0x06
    OTHER_SPEED_CONFIGURATION = 0x07
    INTERFACE_ASSOCIATION = 0x0B
    BOS = 0x0F
    DEVICE_CAPABILITY = 0x10
    HID = 0x21
    HID_REPORT = 0x22
    CS_INTERFACE = 0x24
    CS_ENDPOINT = 0x25
    SUPERSPEED_COMPANION = 0x30


class Shape(Generic[T]):
    """How one kind of descriptor looks on the wire: `record` ⇄ bLength, `kind`, `fields`."""

    def __init__(self, record: type[T], kind: int, *fields: object) -> None:
        self.record = record
        self.kind = kind
        self._body = Struct(*fields, Terminated)

    def emit(self, value: T) -> bytes:
        """Raises UsageError for a value that its field cannot hold."""
        try:
            body: bytes = self._body.build({name: getattr(value, name) for name in self._names})
        except ConstructError as error:
            raise UsageError(f"{self.record.__name__} does not fit its fields: {error}") from None
        return with_header(self.kind, body)

    def parse(self, data: bytes) -> T:
        """Of exactly one descriptor. Raises ProtocolError for another kind, too short or too long."""
        name = self.record.__name__
        if len(data) < 2 or data[0] != len(data) or data[1] != self.kind:
            raise ProtocolError(f"not a {name}: {data[:8].hex()} ({len(data)} bytes)")
        try:
            fields = self._body.parse(data[2:])
        except ConstructError as error:
            raise ProtocolError(f"malformed {name}: {data.hex()}: {error}") from None
        return self.record(**{name: fields[name] for name in self._names})

    @property
    def _names(self) -> list[str]:
        return [field.name for field in self._body.subcons if field.name]


def with_header(kind: int, body: bytes) -> bytes:
    """bLength, bDescriptorType, body. Raises UsageError when it is longer than 255 bytes."""
    if len(body) > 253:
        raise UsageError(
            f"a descriptor of type {kind:#04x} would have {len(body) + 2} bytes; 255 is the most"
        )
    return bytes((len(body) + 2, kind)) + body


def split(data: bytes) -> Iterator[bytes]:
    """The descriptors that lie one behind the other in `data`. Raises ProtocolError at a wrong bLength."""
    at = 0
    while at < len(data):
        size = data[at]
        if size < 2 or at + size > len(data):
            raise ProtocolError(f"the descriptor at byte {at} claims {size} bytes; {len(data) - at} are left")
        yield data[at : at + size]
        at += size
