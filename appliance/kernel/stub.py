"""usbip-host, the kernel's stub driver: binds a device for export and hands it a client's socket.

Source: drivers/usb/usbip/stub_main.c (`match_busid`, `rebind`) and stub_dev.c (`usbip_status`, `usbip_sockfd`).
"""

from __future__ import annotations

from enum import IntEnum


class StubStatus(IntEnum):
    """What `usbip_status` of a bound device says (enum usbip_device_status in usbip_common.h)."""

    AVAILABLE = 1
    USED = 2
    ERROR = 3
