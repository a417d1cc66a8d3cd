"""A device of this machine's USB, by its busid, for the selectors that talk to hubs."""

from __future__ import annotations

import re
from typing import Any, Final

from appliance.errors import DeviceFailed, NotPermitted, Unavailable
from appliance.pair.selector.spec import Spec

BUSID: Final = re.compile(r"([1-9][0-9]{0,2})-([0-9]{1,3}(?:\.[0-9]{1,3}){0,6})")
TIMEOUT_MS: Final = 1000


def parse_busid(spec: Spec, text: str) -> tuple[int, tuple[int, ...]]:
    """The bus and the ports from its root hub on."""
    found = BUSID.fullmatch(text)
    if not found:
        raise spec.wrong(f"{text!r} is no busid")
    return int(found[1]), tuple(int(port) for port in found[2].split("."))


def find(bus: int, ports: tuple[int, ...]) -> Any:
    """pyusb's device there; None if there is none."""
    import usb.core

    try:
        return usb.core.find(
            custom_match=lambda device: device.bus == bus and tuple(device.port_numbers or ()) == ports
        )
    except usb.core.NoBackendError as error:
        raise Unavailable("pyusb finds no libusb; install the package libusb-1.0-0") from error


def control(device: Any, request_type: int, request: int, value: int, index: int, data: Any = None) -> Any:
    """One control transfer. Raises NotPermitted, DeviceFailed."""
    import usb.core
    import usb.util

    try:
        return device.ctrl_transfer(request_type, request, value, index, data, TIMEOUT_MS)
    except usb.core.USBError as error:
        if error.errno == 13:
            raise NotPermitted(f"may not talk to the hub: {error}; run as root or add a udev rule") from error
        raise DeviceFailed(f"the hub did not do what it was asked: {error}") from error
    finally:
        usb.util.dispose_resources(device)
