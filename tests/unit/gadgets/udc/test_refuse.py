"""What a controller cannot do is refused before it is tried, by name, with what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from appliance.errors import Refused
from gadgets.hid.keyboard import Keyboard
from gadgets.testdevice.sourcesink import SourceSink
from gadgets.udc.capabilities import Controller
from gadgets.udc.kernel import Acm, KernelFunction, Ncm, Uac2
from gadgets.udc.refuse import Asked, check
from gadgets.usb.class_descriptors import CDC_HEADER, CdcHeader
from gadgets.usb.compose import Identity, compose
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.descriptor_set import DescriptorSet
from gadgets.usb.descriptors import Endpoint
from gadgets.usb.function import Function
from gadgets.usb.microsoft import WinUsb
from gadgets.usb.numbering import Numbering
from gadgets.usb.urb import Speed, TransferType
from gadgets.usb.webusb import WebUsb

DWC2 = Controller("fe980000.usb", "dwc2", Speed.HIGH)
DUMMY = Controller("dummy_udc.0", "dummy_udc", Speed.HIGH)


class Custom(Function):
    """An interface of this class with these class-specific descriptors and endpoints."""

    def __init__(
        self, kind: int = 0xFF, extra: Sequence[bytes] = (), endpoints: Sequence[Endpoint] = ()
    ) -> None:
        self.kind, self.extra, self.endpoints = kind, tuple(extra), tuple(endpoints)

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        return [
            AlternateSetting(
                take.interface(), interface_class=self.kind, extra=self.extra, endpoints=self.endpoints
            )
        ]


def ask(
    *functions: Function,
    controller: Controller = DUMMY,
    kernel: Sequence[KernelFunction] = (),
    faults: Sequence[Mapping[str, Any]] = (),
    speed: Speed = Speed.HIGH,
) -> None:
    check(Asked(described(functions, speed), kernel, faults, controller))


def described(functions: Sequence[Function], speed: Speed) -> DescriptorSet:
    return compose(Identity(1, 2), list(functions), speed=speed).descriptors


def refused(reason: str) -> Any:
    return pytest.raises(Refused, match=re.escape(reason))


@pytest.mark.parametrize("controller", [DUMMY, DWC2])
def test_what_a_controller_can_do_is_not_refused(controller: Controller) -> None:
    ask(Keyboard(), SourceSink(isochronous=False, interrupt=False), kernel=[Ncm()], controller=controller)
    ask(Keyboard(), speed=Speed.FULL, controller=controller)


def test_a_device_faster_than_the_controller_and_a_low_speed_one() -> None:
    with refused(
        'it is a super-speed device and the controller has high speed; define it with speed = "high"'
    ):
        ask(Keyboard(), speed=Speed.SUPER)
    with refused('FunctionFS has no low speed; define it with speed = "full"'):
        ask(Keyboard(), speed=Speed.LOW)


def test_several_configurations() -> None:
    device = described([Keyboard()], Speed.HIGH)
    twice = replace(device, configurations=device.configurations * 2)
    with refused("it has 2 configurations and FunctionFS gives one"):
        check(Asked(twice, (), (), DUMMY))


def test_alternate_settings() -> None:
    with refused("interface 0 has alternate settings, of which FunctionFS gives only the first"):
        ask(SourceSink())


def test_isochronous_endpoints_high_bandwidth_ones_by_their_name() -> None:
    plain = Endpoint(0x81, TransferType.ISOCHRONOUS, 1024, 1)
    several = Endpoint(0x82, TransferType.ISOCHRONOUS, 2 << 11 | 1024, 1)
    with refused("endpoint 81 is isochronous, which needs alternate settings"):
        ask(Custom(endpoints=[plain]))
    with refused("endpoint 82 is high-bandwidth isochronous"):
        ask(Custom(endpoints=[several]), controller=DWC2)


def test_kernel_functions_that_the_controller_cannot_carry() -> None:
    with refused("kernel:uac2 is isochronous; dummy_udc is not"):
        ask(kernel=[Uac2()])
    ask(kernel=[Uac2()], controller=DWC2)


def test_more_endpoints_than_there_are_those_of_the_kernels_functions_counted() -> None:
    with refused("it needs 8 IN endpoints and the controller has 7; use fewer functions"):
        ask(*(Keyboard() for _ in range(6)), kernel=[Acm()], controller=DWC2)
    ask(*(Keyboard() for _ in range(5)), kernel=[Acm()], controller=DWC2)


def test_class_descriptors_that_functionfs_does_not_take() -> None:
    header = CDC_HEADER.emit(CdcHeader())
    with refused("FunctionFS takes no CDC descriptors; use the kernel's own function (kernel:acm"):
        ask(Custom(0x02, [header]))
    with refused("FunctionFS takes no descriptor of type 0x24 and 5 bytes at an interface of class ff"):
        ask(Custom(0xFF, [header]))
    with refused("type 0x21 and 12 bytes at an interface of class 03"):
        ask(Custom(0x03, [bytes.fromhex("0c 21 1101 00 02 22 3f00 22 4000")]))


def test_what_the_kernel_writes_itself() -> None:
    with refused("the kernel writes the BOS descriptor itself"):
        ask(WebUsb(url="https://example.org"), SourceSink(isochronous=False, interrupt=False))
    ask(WinUsb(), SourceSink(isochronous=False, interrupt=False))


@pytest.mark.parametrize("kind", ["malformed", "short_descriptor", "long_descriptor", "babble"])
def test_faults_that_only_usbip_can_have(kind: str) -> None:
    with refused(f"the fault {kind} is not possible"):
        ask(Keyboard(), faults=[{"kind": kind}])


def test_faults_of_requests_that_the_kernel_answers() -> None:
    with refused("the fault stall waits for a request that the kernel answers itself"):
        ask(Keyboard(), faults=[{"kind": "stall", "request_type": 0x80}])
    ask(Keyboard(), faults=[{"kind": "stall", "request_type": 0xA1}, {"kind": "disconnect"}])


def test_all_reasons_are_told_at_once() -> None:
    with pytest.raises(
        Refused, match=r"fe980000.usb cannot present this gadget: .*super-speed.*; .*alternate"
    ):
        ask(SourceSink(isochronous=False), controller=DWC2, speed=Speed.SUPER)
