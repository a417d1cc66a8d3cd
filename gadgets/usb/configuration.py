"""The tree of a configuration: alternate settings of interfaces, their endpoints, and class-specific blobs.

`parse_configuration` reads any bytes a device may give, in bounded time and memory; `emit` writes them
back, with wTotalLength, bNumInterfaces and bNumEndpoints computed. The settings lie in the order of their
descriptors and every blob stays where it was, so a well-formed capture comes back byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from appliance.errors import ProtocolError, UsageError
from gadgets.usb.descriptors import (
    ASSOCIATION,
    CONFIGURATION,
    ENDPOINT,
    INTERFACE,
    Association,
    ConfigurationHeader,
    Endpoint,
    InterfaceHeader,
)
from gadgets.usb.shape import DescriptorType, split


@dataclass(frozen=True, slots=True)
class AlternateSetting:
    """One alternate setting of one interface. USB 2.0 §9.6.5.

    `association` is the IAD right before it, `extra` are the class-specific descriptors, whole, between the
    interface's and its first endpoint's.
    """

    interface: int
    alternate: int = 0
    interface_class: int = 0xFF
    subclass: int = 0
    protocol: int = 0
    string_index: int = 0
    extra: tuple[bytes, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    association: Association | None = None
    tail: bytes = b""

    def endpoint(self, address: int) -> Endpoint | None:
        return next((endpoint for endpoint in self.endpoints if endpoint.address == address), None)


@dataclass(frozen=True, slots=True)
class Configuration:
    """USB 2.0 §9.6.3. `max_power` in units of 2 mA (8 mA from SuperSpeed on)."""

    SELF_POWERED = 0x40
    REMOTE_WAKEUP = 0x20

    value: int
    settings: tuple[AlternateSetting, ...] = ()
    attributes: int = 0x80
    max_power: int = 50
    string_index: int = 0
    extra: tuple[bytes, ...] = ()
    tail: bytes = b""

    @property
    def interfaces(self) -> tuple[tuple[AlternateSetting, ...], ...]:
        """The alternate settings of each interface, by number of the interface."""
        numbers = sorted({setting.interface for setting in self.settings})
        return tuple(tuple(s for s in self.settings if s.interface == number) for number in numbers)

    def setting(self, interface: int, alternate: int) -> AlternateSetting | None:
        return next((s for s in self.settings if s.interface == interface and s.alternate == alternate), None)


def emit(configuration: Configuration, kind: int = DescriptorType.CONFIGURATION) -> bytes:
    """All descriptors of the configuration. Raises UsageError for more than 65535 bytes."""
    body = [part for setting in configuration.settings for part in _emit_setting(setting)]
    body[:0] = configuration.extra
    header = ConfigurationHeader(
        total_length=9 + len(configuration.tail) + sum(map(len, body)),
        num_interfaces=len(configuration.interfaces),
        value=configuration.value,
        string_index=configuration.string_index,
        attributes=configuration.attributes,
        max_power=configuration.max_power,
        tail=configuration.tail,
    )
    if header.total_length > 0xFFFF:
        raise UsageError(f"the configuration has {header.total_length} bytes; 65535 is the most")
    first = CONFIGURATION.emit(header)
    return bytes((first[0], kind)) + first[2:] + b"".join(body)


def _emit_setting(setting: AlternateSetting) -> list[bytes]:
    header = InterfaceHeader(
        number=setting.interface,
        alternate=setting.alternate,
        num_endpoints=len(setting.endpoints),
        interface_class=setting.interface_class,
        subclass=setting.subclass,
        protocol=setting.protocol,
        string_index=setting.string_index,
        tail=setting.tail,
    )
    parts = [ASSOCIATION.emit(setting.association)] if setting.association else []
    parts += [INTERFACE.emit(header), *setting.extra]
    for endpoint in setting.endpoints:
        parts += [ENDPOINT.emit(endpoint), *endpoint.extra]
    return parts


def parse_configuration(data: bytes) -> Configuration:
    """The tree in the first wTotalLength bytes of `data`. Raises ProtocolError."""
    if len(data) < 9 or not 9 <= data[0] <= len(data):
        raise ProtocolError(f"not a configuration descriptor: {data[:9].hex()}")
    header = CONFIGURATION.parse(data[: data[0]])
    if not data[0] <= header.total_length <= len(data):
        raise ProtocolError(f"the configuration claims {header.total_length} bytes; {len(data)} are there")
    extra, groups = _group(list(split(data[data[0] : header.total_length])))
    return Configuration(
        value=header.value,
        settings=tuple(_parse_setting(group) for group in groups),
        attributes=header.attributes,
        max_power=header.max_power,
        string_index=header.string_index,
        extra=extra,
        tail=header.tail,
    )


def parse_settings(data: bytes) -> tuple[AlternateSetting, ...]:
    """Alternate settings with nothing around them, one behind the other. Raises ProtocolError."""
    before, groups = _group(list(split(data)))
    if before:
        raise ProtocolError(f"not an interface descriptor: {before[0][:8].hex()}")
    return tuple(_parse_setting(group) for group in groups)


def _group(parts: list[bytes]) -> tuple[tuple[bytes, ...], list[list[bytes]]]:
    """What lies before the first setting, and the descriptors of each: (IAD,) interface, the rest."""
    kinds = [part[1] for part in parts] + [0]
    starts = []
    for at, kind in enumerate(kinds):
        if kind == DescriptorType.INTERFACE:
            after_iad = at > 0 and kinds[at - 1] == DescriptorType.INTERFACE_ASSOCIATION
            starts.append(at - 1 if after_iad else at)
    ends = [*starts[1:], len(parts)]
    before = tuple(parts[: starts[0]]) if starts else tuple(parts)
    return before, [parts[start:end] for start, end in zip(starts, ends, strict=True)] if starts else []


def _parse_setting(parts: list[bytes]) -> AlternateSetting:
    association = None
    if parts[0][1] == DescriptorType.INTERFACE_ASSOCIATION:
        association, parts = ASSOCIATION.parse(parts[0]), parts[1:]
    header = INTERFACE.parse(parts[0])
    extra: list[bytes] = []
    endpoints: list[Endpoint] = []
    blobs: list[list[bytes]] = []
    for part in parts[1:]:
        if part[1] == DescriptorType.ENDPOINT:
            endpoints.append(ENDPOINT.parse(part))
            blobs.append([])
        else:
            (blobs[-1] if blobs else extra).append(part)
    return AlternateSetting(
        interface=header.number,
        alternate=header.alternate,
        interface_class=header.interface_class,
        subclass=header.subclass,
        protocol=header.protocol,
        string_index=header.string_index,
        extra=tuple(extra),
        endpoints=tuple(
            replace(endpoint, extra=tuple(behind)) for endpoint, behind in zip(endpoints, blobs, strict=True)
        ),
        association=association,
        tail=header.tail,
    )
