"""What a gadget asks of a controller that it cannot have: found before anything is tried, and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from appliance.errors import Refused
from gadgets.udc.capabilities import Controller
from gadgets.udc.kernel import KernelFunction
from gadgets.usb.capabilities import PlatformCapability
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.descriptor_set import DescriptorSet
from gadgets.usb.microsoft import MS_OS_20
from gadgets.usb.shape import DescriptorType
from gadgets.usb.urb import ENDPOINT_IN, Speed, TransferType

HID, CCID = 0x03, 0x0B
CLASS_DESCRIPTORS: Final = {(0x21, HID): 9, (0x21, CCID): 54}
"""(type, interface class) → length: the only class-specific ones that FunctionFS takes (f_fs.c:
ffs_do_single_desc)."""

IMPOSSIBLE_FAULTS: Final = {
    "malformed": "the kernel checks descriptors and answers for them",
    "short_descriptor": "the kernel checks descriptors and answers for them",
    "long_descriptor": "the kernel checks descriptors and answers for them",
    "babble": "a controller sends no more than it is asked for",
}
"""Kinds of gadgets/faults, and why."""
TO_THE_DEVICE: Final = (0x00, 0x80)
"""bmRequestType of standard requests to the device."""


@dataclass(frozen=True)
class Asked:
    """What is to be presented; `faults` as a definition has them."""

    device: DescriptorSet
    kernel: Sequence[KernelFunction]
    faults: Sequence[Mapping[str, Any]]
    controller: Controller

    @property
    def settings(self) -> tuple[AlternateSetting, ...]:
        return self.device.configurations[0].settings if self.device.configurations else ()


def check(asked: Asked) -> None:
    """Raises Refused with everything that stands against it."""
    reasons = list(dict.fromkeys(reason for find in CHECKS for reason in find(asked)))
    if reasons:
        raise Refused(f"{asked.controller.name} cannot present this gadget: {'; '.join(reasons)}")


def _speed(asked: Asked) -> Iterator[str]:
    speed, fastest = asked.device.speed, asked.controller.fastest
    if speed is Speed.LOW:
        yield 'FunctionFS has no low speed; define it with speed = "full"'
    elif speed > fastest:
        yield (
            f"it is a {_spoken(speed)}-speed device and the controller has {_spoken(fastest)} speed;"
            f' define it with speed = "{fastest.name.lower()}"'
        )


def _configurations(asked: Asked) -> Iterator[str]:
    count = len(asked.device.configurations)
    if count != 1:
        yield f"it has {count} configurations and FunctionFS gives one; serve it over USB/IP"


def _alternates(asked: Asked) -> Iterator[str]:
    for number in sorted({setting.interface for setting in asked.settings if setting.alternate}):
        yield (
            f"interface {number} has alternate settings, of which FunctionFS gives only the first;"
            " define it without them, or serve it over USB/IP"
        )


def _isochronous(asked: Asked) -> Iterator[str]:
    endpoints = [endpoint for setting in asked.settings for endpoint in setting.endpoints]
    for endpoint in endpoints:
        if endpoint.transfer_type is TransferType.ISOCHRONOUS:
            several = endpoint.max_packet_size >> 11 & 3
            high = "high-bandwidth " if several else ""
            yield (
                f"endpoint {endpoint.address:02x} is {high}isochronous, which needs alternate settings;"
                " use the kernel's own functions (kernel:uac2, kernel:uvc), or serve it over USB/IP"
            )
    if not asked.controller.limits.isochronous:
        for function in asked.kernel:
            if function.isochronous:
                yield f"kernel:{function.driver} is isochronous; {asked.controller.driver} is not"


def _endpoints(asked: Asked) -> Iterator[str]:
    limits = asked.controller.limits
    addresses = {endpoint.address for setting in asked.settings for endpoint in setting.endpoints}
    ins = sum(address & ENDPOINT_IN != 0 for address in addresses)
    kernel_ins = sum(function.in_endpoints for function in asked.kernel)
    kernel_outs = sum(function.out_endpoints for function in asked.kernel)
    for direction, needed, there in (
        ("IN", ins + kernel_ins, limits.in_endpoints),
        ("OUT", len(addresses) - ins + kernel_outs, limits.out_endpoints),
    ):
        if needed > there:
            yield (
                f"it needs {needed} {direction} endpoints and the controller has {there}; use fewer functions"
            )


def _class_descriptors(asked: Asked) -> Iterator[str]:
    for setting in asked.settings:
        behind = (blob for endpoint in setting.endpoints for blob in endpoint.extra)
        blobs = (*setting.extra, *(blob for blob in behind if blob[1] != DescriptorType.SUPERSPEED_COMPANION))
        wrong = [
            blob for blob in blobs if CLASS_DESCRIPTORS.get((blob[1], setting.interface_class)) != len(blob)
        ]
        if wrong and setting.interface_class in (0x02, 0x0A):
            yield (
                "FunctionFS takes no CDC descriptors; use the kernel's own function (kernel:acm, kernel:ncm,"
                " kernel:ecm), or serve it over USB/IP"
            )
        elif wrong:
            yield (
                f"FunctionFS takes no descriptor of type {wrong[0][1]:#04x} and {len(wrong[0])} bytes at an"
                f" interface of class {setting.interface_class:02x}; serve it over USB/IP"
            )


def _platforms(asked: Asked) -> Iterator[str]:
    """WinUSB is announced in the older way, which the kernel has (Microsoft OS 1.0)."""
    platforms = [each for each in asked.device.capabilities if isinstance(each, PlatformCapability)]
    if any(each.platform != MS_OS_20.bytes_le for each in platforms):
        yield (
            "the kernel writes the BOS descriptor itself, without WebUSB; leave that function out, or serve"
            " it over USB/IP"
        )


def _faults(asked: Asked) -> Iterator[str]:
    for fault in asked.faults:
        kind = fault["kind"]
        if kind in IMPOSSIBLE_FAULTS:
            yield f"the fault {kind} is not possible: {IMPOSSIBLE_FAULTS[kind]}; USB/IP can"
        elif fault.get("request_type") in TO_THE_DEVICE:
            yield f"the fault {kind} waits for a request that the kernel answers itself; USB/IP can"


def _spoken(speed: Speed) -> str:
    return speed.name.lower().replace("_", "-")


CHECKS: Final[tuple[Callable[[Asked], Iterator[str]], ...]] = (
    _speed,
    _configurations,
    _alternates,
    _isochronous,
    _endpoints,
    _class_descriptors,
    _platforms,
    _faults,
)
