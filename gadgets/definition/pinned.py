"""A device with descriptors that were captured, and functions of our own behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from appliance.errors import ProtocolError, UsageError
from gadgets.definition.model import Pinned
from gadgets.usb.capabilities import parse_bos
from gadgets.usb.configuration import AlternateSetting, parse_configuration
from gadgets.usb.descriptor_set import DescriptorSet
from gadgets.usb.descriptors import DEVICE, Endpoint
from gadgets.usb.device import GadgetDevice
from gadgets.usb.function import Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.raw import Raw
from gadgets.usb.shape import DescriptorType
from gadgets.usb.strings import Strings, Text
from gadgets.usb.urb import ENDPOINT_IN, Speed, TransferType


@dataclass(frozen=True)
class PinnedSet(DescriptorSet):
    """What the descriptors mean, and, byte for byte, what they are."""

    bytes_of: dict[tuple[int, int, int], bytes] = field(default_factory=dict)

    @cached_property
    def table(self) -> dict[tuple[int, int, int], bytes]:
        return self.bytes_of


class PinnedNumbering(Numbering):
    """Hands out the numbers and endpoints of settings that are there already."""

    def __init__(self, speed: Speed, settings: Sequence[AlternateSetting]) -> None:
        super().__init__(speed, Strings())
        self._numbers = list(dict.fromkeys(setting.interface for setting in settings))
        self._left = list({e.address: e for setting in settings for e in setting.endpoints}.values())

    def interface(self) -> int:
        if not self._numbers:
            raise UsageError("the function needs more interfaces than are pinned for it")
        return self._numbers.pop(0)

    def string(self, text: Text) -> int:
        return 0

    def address(self, direction: int) -> int:
        return self._take(direction, None).address

    def bulk_in(self, burst: int = 0) -> Endpoint:
        return self._take(ENDPOINT_IN, TransferType.BULK)

    def bulk_out(self, burst: int = 0) -> Endpoint:
        return self._take(0, TransferType.BULK)

    def interrupt_in(self, size: int, interval_ms: int) -> Endpoint:
        return self._take(ENDPOINT_IN, TransferType.INTERRUPT)

    def interrupt_out(self, size: int, interval_ms: int) -> Endpoint:
        return self._take(0, TransferType.INTERRUPT)

    def isochronous(
        self, direction: int, size: int, interval_us: int = 1000, *, transactions: int = 1, burst: int = 0
    ) -> Endpoint:
        return self._take(direction, TransferType.ISOCHRONOUS)

    def _take(self, direction: int, kind: TransferType | None) -> Endpoint:
        for endpoint in self._left:
            if endpoint.address & ENDPOINT_IN == direction and kind in (None, endpoint.transfer_type):
                self._left.remove(endpoint)
                return endpoint
        what = f"{kind.name.lower()} endpoint" if kind else "endpoint"
        raise UsageError(f"the function needs one more {what} {'IN' if direction else 'OUT'} than is pinned")


def pinned_device(
    pinned: Pinned, speed: Speed, functions: Sequence[tuple[Function, Iterable[int]]]
) -> GadgetDevice:
    """`functions` with the interfaces that each is behind. Raises UsageError for descriptors that cannot be
    understood, or that a function cannot be behind."""
    try:
        descriptors = descriptor_set(pinned, speed)
    except ProtocolError as error:
        raise UsageError(f"pinned: {error}") from None
    if not descriptors.configurations:
        raise UsageError("pinned: configurations: at least one is needed")
    first = descriptors.configurations[0]
    owners: dict[int, Function] = {}
    for function, interfaces in functions:
        numbers = set(interfaces)
        function.describe(PinnedNumbering(speed, [s for s in first.settings if s.interface in numbers]))
        if unknown := numbers - {setting.interface for setting in first.settings}:
            raise UsageError(f"{function.label}: interfaces: no {min(unknown)} is pinned")
        if twice := numbers & owners.keys():
            raise UsageError(f"{function.label}: interfaces: {min(twice)} has a function already")
        owners |= dict.fromkeys(numbers, function)
    own = [function for function, _ in functions]
    configurations = descriptors.configurations
    if any(s.interface not in owners for s in first.settings) or len(configurations) > 1:
        rest = Raw()
        rest.label = "rest"
        own.append(rest)
    owned: dict[int, dict[int, Function]] = {
        each.value: {setting.interface: own[-1] for setting in each.settings} for each in configurations
    }
    owned[first.value] |= owners
    return GadgetDevice(descriptors, own, owned)


def descriptor_set(pinned: Pinned, speed: Speed) -> PinnedSet:
    """Raises ProtocolError."""
    strings = Strings.numbered(pinned.strings)
    return PinnedSet(
        speed,
        DEVICE.parse(pinned.device),
        tuple(map(parse_configuration, pinned.configurations)),
        strings,
        parse_bos(pinned.bos) if pinned.bos else (),
        bytes_of=table_of(pinned, strings),
    )


def table_of(pinned: Pinned, strings: Strings) -> dict[tuple[int, int, int], bytes]:
    """(type, index, language) → descriptor, of those that are there."""
    several = {
        DescriptorType.DEVICE: (pinned.device,),
        DescriptorType.CONFIGURATION: pinned.configurations,
        DescriptorType.BOS: (pinned.bos,),
        DescriptorType.DEVICE_QUALIFIER: (pinned.qualifier,),
        DescriptorType.OTHER_SPEED_CONFIGURATION: pinned.other_speed,
    }
    table = {
        (int(kind), index, 0): data
        for kind, each in several.items()
        for index, data in enumerate(each)
        if data
    }
    for (index, language), text in strings.descriptors().items():
        table[int(DescriptorType.STRING), index, language] = text
    return table
