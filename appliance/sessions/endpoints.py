"""Which endpoints a device has right now: from its descriptors and the settings the client selected.

The stub looks an URB's endpoint up in the kernel's table of the *active* endpoints and loses the stream when
it is not there (stub_rx.c `get_pipe`), so a relay has to know that table as well as the kernel does.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from typing import Final

from appliance.sessions.telemetry import Counters
from gadgets.usb.urb import ENDPOINT_IN, Speed, TransferType

SET_CONFIGURATION: Final = (0x00, 0x09)
SET_INTERFACE: Final = (0x01, 0x0B)
"""bmRequestType, bRequest. USB 2.0 table 9-3."""
HEADER: Final = 48
PLAIN_LIMIT: Final = 4 << 20
"""What kmalloc can give: an URB longer than that must be scatter-gather."""
DMA_MAP_SG: Final = 0x0004_0000
"""transfer_flags of Linux clients: the stub may use a scatter-gather list (USBIP_URB_DMA_MAP_SG)."""


@dataclass(frozen=True, slots=True)
class Described:
    """One endpoint descriptor and where in the descriptors it stood. `interval` is bInterval."""

    configuration: int
    interface: int
    alternate: int
    address: int
    type: TransferType
    interval: int


@dataclass(frozen=True, slots=True)
class Selection:
    """What the host chose: the configuration (0: none) and the alternate settings that are not 0."""

    configuration: int = 0
    alternates: tuple[tuple[int, int], ...] = ()

    def after(self, setup: bytes) -> Selection:
        """The selection once the request in these 8 setup bytes is done; itself for any other request."""
        request, value, index = (setup[0], setup[1]), setup[2] | setup[3] << 8, setup[4] | setup[5] << 8
        if request == SET_CONFIGURATION:
            return Selection(value & 0xFF)
        if request == SET_INTERFACE:
            others = tuple(chosen for chosen in self.alternates if chosen[0] != index)
            return replace(self, alternates=(*others, (index, value)) if value else others)
        return self


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An active endpoint, with what the relay's hot path asks of it spelled out as fields."""

    address: int
    type: TransferType
    interval: int = 0
    """as an URB wants it: frames, for high speed and above microframes"""
    counters: Counters = field(default_factory=Counters, compare=False)
    watched: bool = False
    """whether none of its headers takes the relay's short way"""
    inbound: bool = field(init=False)
    bulk: bool = field(init=False)
    simple: bool = field(init=False)
    """neither control (whose requests are followed) nor isochronous (with descriptors behind its data)"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "inbound", self.address & ENDPOINT_IN != 0)
        object.__setattr__(self, "bulk", self.type == TransferType.BULK and not self.watched)
        simple = self.type in (TransferType.BULK, TransferType.INTERRUPT) and not self.watched
        object.__setattr__(self, "simple", simple)


def scan(raw: bytes) -> list[Described]:
    """Every endpoint in the bytes of sysfs' `descriptors`; broken bytes end the scan, never fail it."""
    found: list[Described] = []
    configuration = interface = alternate = at = 0
    while at + 2 <= len(raw) and raw[at] >= 2 and at + raw[at] <= len(raw):
        body = raw[at : at + raw[at]]
        match body[1], len(body):  # bDescriptorType: configuration, interface, endpoint. USB 2.0 table 9-5
            case 2, length if length >= 9:
                configuration = body[5]
            case 4, length if length >= 9:
                interface, alternate = body[2], body[3]
            case 5, length if length >= 7 and body[2] & 0x0F:
                kind = TransferType(body[3] & 3)
                found.append(Described(configuration, interface, alternate, body[2], kind, body[6]))
        at += len(body)
    return found


def active(described: list[Described], selection: Selection) -> list[Described]:
    """The endpoints that exist while `selection` holds."""
    alternates = dict(selection.alternates)
    return [
        endpoint
        for endpoint in described
        if endpoint.configuration == selection.configuration
        and endpoint.alternate == alternates.get(endpoint.interface, 0)
    ]


def urb_interval(kind: TransferType, interval: int, speed: Speed) -> int:
    """bInterval as the URB's interval, always at least 1. The kernel's `usb_fill_int_urb`."""
    if kind == TransferType.ISOCHRONOUS or speed >= Speed.HIGH:
        return int(1 << min(max(interval, 1), 16) - 1)
    return max(interval, 1)


def size_of(endpoint: Endpoint, length: int, packets: int) -> int:
    """Of a CMD_SUBMIT with all that is behind its header."""
    return HEADER + 16 * max(packets, 0) + (0 if endpoint.inbound else length)


def refusal(endpoint: Endpoint | None, length: int, packets: int, flags: int, setup: bytes) -> int:
    """The status with which to answer a submit in the stub's place; 0: the stub may have it.

    stub_rx.c leaves the payload of an unknown endpoint in the stream, and ends the session and marks the
    device unusable when memory or `usb_submit_urb` fails; the statuses are those of `usb_submit_urb`.
    """
    if endpoint is None:
        return -errno.ENOENT
    if endpoint.type == TransferType.ISOCHRONOUS and packets <= 0:
        return -errno.EINVAL
    if endpoint.type == TransferType.CONTROL and length != int.from_bytes(setup[6:8], "little"):
        return -errno.EBADR
    if length > PLAIN_LIMIT and not flags & DMA_MAP_SG:
        return -errno.ENOMEM
    return 0
