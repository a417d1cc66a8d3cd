"""Gadgets as a backend of pyusb: what is written on pyusb runs against them, with no kernel and no rights."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from usb.backend import IBackend
from usb.core import USBError, USBTimeoutError

from appliance.errors import Timeout
from gadgets.testing.host import Host, TransferFailed
from gadgets.usb.configuration import AlternateSetting, Configuration, emit
from gadgets.usb.descriptors import Endpoint
from gadgets.usb.urb import ENDPOINT_IN, IsoPacket, Speed, Status

SPEEDS = {Speed.LOW: 1, Speed.FULL: 2, Speed.HIGH: 3, Speed.SUPER: 4, Speed.SUPER_PLUS: 5}
"""As libusb counts them."""


class Backend(IBackend):  # type: ignore[misc]  # pyusb has no types
    """Finds the devices of these hosts. The kernel's drivers are nowhere: nothing is to be detached."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts

    def enumerate_devices(self) -> Iterator[Host]:
        return iter(self.hosts)

    def get_parent(self, dev: Host) -> None:
        return None

    # Descriptors, in pyusb's names

    def get_device_descriptor(self, dev: Host) -> SimpleNamespace:
        d = dev.device.device_descriptor
        place = self.hosts.index(dev) + 1
        return SimpleNamespace(
            bLength=18, bDescriptorType=1, bcdUSB=d.bcd_usb, bDeviceClass=d.device_class,
            bDeviceSubClass=d.subclass, bDeviceProtocol=d.protocol, bMaxPacketSize0=d.max_packet_size,
            idVendor=d.vendor_id, idProduct=d.product_id, bcdDevice=d.bcd_device,
            iManufacturer=d.manufacturer_index, iProduct=d.product_index, iSerialNumber=d.serial_index,
            bNumConfigurations=d.num_configurations, address=place, bus=1, port_number=place,
            port_numbers=(place,), speed=SPEEDS[dev.device.speed],
        )  # fmt: skip

    def get_configuration_descriptor(self, dev: Host, config: int) -> SimpleNamespace:
        c = _configuration(dev, config)
        return SimpleNamespace(
            bLength=9, bDescriptorType=2, wTotalLength=len(emit(c)), bNumInterfaces=len(c.interfaces),
            bConfigurationValue=c.value, iConfiguration=c.string_index, bmAttributes=c.attributes,
            bMaxPower=c.max_power, extra_descriptors=_joined(c.extra),
        )  # fmt: skip

    def get_interface_descriptor(self, dev: Host, intf: int, alt: int, config: int) -> SimpleNamespace:
        s = _setting(dev, intf, alt, config)
        return SimpleNamespace(
            bLength=9, bDescriptorType=4, bInterfaceNumber=s.interface, bAlternateSetting=s.alternate,
            bNumEndpoints=len(s.endpoints), bInterfaceClass=s.interface_class,
            bInterfaceSubClass=s.subclass, bInterfaceProtocol=s.protocol, iInterface=s.string_index,
            extra_descriptors=_joined(s.extra),
        )  # fmt: skip

    def get_endpoint_descriptor(
        self, dev: Host, ep: int, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        e = _setting(dev, intf, alt, config).endpoints[ep]
        refresh, synch = e.tail[:2] if len(e.tail) >= 2 else (0, 0)
        return SimpleNamespace(
            bLength=7 + len(e.tail), bDescriptorType=5, bEndpointAddress=e.address,
            bmAttributes=e.attributes, wMaxPacketSize=e.max_packet_size, bInterval=e.interval,
            bRefresh=refresh, bSynchAddress=synch, extra_descriptors=_joined(e.extra),
        )  # fmt: skip

    # Using it

    def open_device(self, dev: Host) -> Host:
        return dev

    def close_device(self, dev_handle: Host) -> None: ...

    def claim_interface(self, dev_handle: Host, intf: int) -> None: ...

    def release_interface(self, dev_handle: Host, intf: int) -> None: ...

    def is_kernel_driver_active(self, dev_handle: Host, intf: int) -> bool:
        return False

    def set_configuration(self, dev_handle: Host, config_value: int) -> None:
        with _told():
            dev_handle.control(0x00, 0x09, config_value)

    def get_configuration(self, dev_handle: Host) -> int:
        return dev_handle.device.configuration_value

    def set_interface_altsetting(self, dev_handle: Host, intf: int, altsetting: int) -> None:
        with _told():
            dev_handle.control(0x01, 0x0B, altsetting, intf)

    def clear_halt(self, dev_handle: Host, ep: int) -> None:
        with _told():
            dev_handle.control(0x02, 0x01, 0, ep)

    def reset_device(self, dev_handle: Host) -> None:
        with _told():
            dev_handle.reset()

    def ctrl_transfer(
        self, dev_handle: Host, bmRequestType: int, bRequest: int, wValue: int, wIndex: int, data: Any,
        timeout: int,
    ) -> int:  # fmt: skip
        into = bmRequestType & ENDPOINT_IN
        out, length = (b"", len(data)) if into else (data.tobytes(), 0)
        with _told():
            answer = dev_handle.control(
                bmRequestType, bRequest, wValue, wIndex, out, length, timeout=_seconds(timeout)
            )
        return _put(data, answer) if into else len(out)

    def bulk_write(self, dev_handle: Host, ep: int, intf: int, data: Any, timeout: int) -> int:
        with _told():
            return dev_handle.write(ep, data.tobytes(), _seconds(timeout))

    def bulk_read(self, dev_handle: Host, ep: int, intf: int, buff: Any, timeout: int) -> int:
        with _told():
            return _put(buff, dev_handle.read(ep, len(buff), _seconds(timeout)))

    intr_write, intr_read = bulk_write, bulk_read

    def iso_write(self, dev_handle: Host, ep: int, intf: int, data: Any, timeout: int) -> int:
        packets = _packets(dev_handle, ep, len(data))
        with _told():
            return dev_handle.transfer(
                ep, data.tobytes(), len(data), packets=packets, timeout=_seconds(timeout)
            ).actual_length

    def iso_read(self, dev_handle: Host, ep: int, intf: int, buff: Any, timeout: int) -> int:
        packets = _packets(dev_handle, ep, len(buff))
        with _told():
            done = dev_handle.transfer(ep, b"", len(buff), packets=packets, timeout=_seconds(timeout))
        return _put(buff, done.data)


@contextmanager
def _told() -> Iterator[None]:
    """Failures in pyusb's words."""
    try:
        yield
    except Timeout as error:
        raise USBTimeoutError(str(error), -7, errno.ETIMEDOUT) from None
    except TransferFailed as error:
        raise USBError(str(error), -9 if error.status == Status.PIPE else -1, -error.status) from None


def _seconds(timeout_ms: int) -> float | None:
    return timeout_ms / 1000 if timeout_ms else None


def _put(buffer: Any, data: bytes) -> int:
    buffer[: len(data)] = array("B", data)
    return len(data)


def _joined(descriptors: Sequence[bytes]) -> list[int]:
    return list(b"".join(descriptors))


def _configuration(host: Host, index: int) -> Configuration:
    return host.device.configurations[index]


def _setting(host: Host, interface: int, alternate: int, configuration: int) -> AlternateSetting:
    """By index, all three; IndexError ends pyusb's iteration."""
    return _configuration(host, configuration).interfaces[interface][alternate]


def _packets(host: Host, address: int, length: int) -> tuple[IsoPacket, ...]:
    """As many of the endpoint's largest as `length` has room for."""
    settings = (s for configuration in host.device.configurations for s in configuration.settings)
    sizes = (_largest(endpoint) for s in settings if (endpoint := s.endpoint(address)))
    size = next((size for size in sizes if size), 1)
    return tuple(IsoPacket(at, min(size, length - at)) for at in range(0, length, size))


def _largest(endpoint: Endpoint) -> int:
    """With the high-bandwidth multiplier."""
    return endpoint.packet_size * (1 + (endpoint.max_packet_size >> 11 & 3))
