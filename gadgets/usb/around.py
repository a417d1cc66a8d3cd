"""`Around`: what stands around a device and is one itself. All goes through, but what a subclass does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gadgets.usb.configuration import Configuration
from gadgets.usb.descriptors import DeviceDescriptor
from gadgets.usb.device import BusEvent, Device, Told
from gadgets.usb.urb import Completion, Speed, TransferType, Urb


class Around:
    """A `Device`, by the one inside."""

    def __init__(self, device: Device) -> None:
        self.device = device

    @property
    def speed(self) -> Speed:
        return self.device.speed

    @property
    def device_descriptor(self) -> DeviceDescriptor:
        return self.device.device_descriptor

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        return self.device.configurations

    @property
    def configuration_value(self) -> int:
        return self.device.configuration_value

    @property
    def inputs(self) -> tuple[type, ...]:
        return self.device.inputs

    @property
    def wake_at(self) -> int | None:
        return self.device.wake_at

    def string(self, index: int) -> str:
        return self.device.string(index)

    def transfer_type(self, endpoint: int) -> TransferType | None:
        return self.device.transfer_type(endpoint)

    def submit(self, urb: Urb) -> list[Completion]:
        return self.device.submit(urb)

    def unlink(self, number: int) -> bool:
        return self.device.unlink(number)

    def bus(self, event: BusEvent) -> list[Completion]:
        return self.device.bus(event)

    def local(self, input: object) -> list[Completion]:
        return self.device.local(input)

    def tick(self, now_ns: int) -> list[Completion]:
        return self.device.tick(now_ns)

    def take_events(self) -> list[Told]:
        return self.device.take_events()

    def snapshot(self) -> dict[str, Any]:
        return self.device.snapshot()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.device.restore(state)
