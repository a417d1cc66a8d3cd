"""usbip-host, the kernel's stub driver: takes a device from its own driver and hands it a client's socket.

Source: drivers/usb/usbip/stub_main.c (`match_busid`, `rebind`), stub_dev.c (`usbip_status`, `usbip_sockfd`).
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from enum import IntEnum

from appliance.errors import Busy, DeviceFailed, NotFound, Refused, Unavailable, UsageError
from appliance.kernel.paths import Kernel, explained

DRIVER = "usbip-host"
HUB_CLASS = "09"
END_OF_SESSION = -1
SO_SNDBUFFORCE = 32
"""socket(7); the socket module does not name it."""
STREAM_BUFFER = 2 << 20
"""Holds the largest URB of the usual drivers, 1 MiB, with the kernel's overhead."""


class StubStatus(IntEnum):
    """What `usbip_status` of a bound device says (enum usbip_device_status in usbip_common.h)."""

    AVAILABLE = 1
    USED = 2
    ERROR = 3


def bind(kernel: Kernel, busid: str) -> None:
    """Gives the device to usbip-host; one that is there already and healthy is left alone."""
    refuse_what_cannot_be_shared(kernel, busid)
    if kernel.driver_of(busid) == DRIVER:
        if status(kernel, busid) is not StubStatus.ERROR:
            return
        unbind(kernel, busid)
    own_driver = kernel.driver_of(busid)
    add_to_table(kernel, busid)
    try:
        if own_driver:
            with explained(f"take {busid} from its driver {own_driver}"):
                kernel.write(kernel.driver(own_driver, "unbind"), busid)
        with explained(f"bind {busid} to {DRIVER}"):
            kernel.write(kernel.driver(DRIVER, "bind"), busid)
    except Exception:
        with suppress(OSError):
            kernel.write(kernel.driver(DRIVER, "match_busid"), f"del {busid}")
            kernel.write(kernel.bus("drivers_probe"), busid)
        raise


def unbind(kernel: Kernel, busid: str) -> None:
    """Gives the device back to its own driver, ending a session on it; DeviceFailed: no driver takes it."""
    if kernel.driver_of(busid) == DRIVER:
        with explained(f"take {busid} from {DRIVER}"):
            kernel.write(kernel.driver(DRIVER, "unbind"), busid)
            kernel.write(kernel.driver(DRIVER, "match_busid"), f"del {busid}")
        # Only `rebind` frees the slot in the table; it probes on the way. It follows a pointer to the device
        # that was bound last, so it must not be written for one that is gone. The probe below decides.
        with suppress(OSError):
            kernel.write(kernel.driver(DRIVER, "rebind"), busid)
    if kernel.driver_of(busid) is None:
        with explained(f"find a driver for {busid}"):
            kernel.write(kernel.bus("drivers_probe"), busid)
    if kernel.driver_of(busid) is None:
        raise DeviceFailed(f"no driver took {busid} back; unplug the device and plug it in again")


def hand_over(kernel: Kernel, busid: str, fd: int) -> None:
    """Starts a session on the stream socket `fd` of this process; the kernel takes a reference of its own.

    A device in the error state is bound anew first. Busy: it has a session.
    """
    if not is_stream_socket(fd):
        raise UsageError(f"a session on {busid} needs a connected stream socket")
    if status(kernel, busid) is StubStatus.ERROR:
        bind(kernel, busid)
    state = status(kernel, busid)
    if state is StubStatus.USED:
        raise Busy(f"{busid} is in use by another client")
    if state is StubStatus.ERROR:
        raise DeviceFailed(f"{busid} stays in the error state; unplug the device and plug it in again")
    widen(fd)
    with explained(f"start a session on {busid}"):
        kernel.write(kernel.device(busid) / "usbip_sockfd", str(fd))


def widen(fd: int) -> None:
    """Lets the stub write a whole large URB into a local stream at once, not a bufferful a wake-up.

    A TCP socket's buffer grows by itself. The limit for others (net.core.wmem_max) does not bind root.
    """
    borrowed = socket.socket(fileno=fd)
    try:
        if borrowed.family == socket.AF_UNIX:
            with suppress(PermissionError):  # then it is only slower
                borrowed.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, STREAM_BUFFER)
    finally:
        borrowed.detach()


def end(kernel: Kernel, busid: str) -> None:
    """Asks the stub to end the session, if any; the device is reset and free again a moment later."""
    if status(kernel, busid) is StubStatus.USED:
        with explained(f"end the session on {busid}"):
            try:
                kernel.write(kernel.device(busid) / "usbip_sockfd", str(END_OF_SESSION))
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: it ended by itself in between
                    raise


def status(kernel: Kernel, busid: str) -> StubStatus:
    """NotFound when the device is not bound to usbip-host."""
    try:
        text = kernel.read(kernel.device(busid) / "usbip_status")
    except OSError as error:
        raise NotFound(f"{busid} is not bound to {DRIVER}; `twinhub share {busid}` shares it") from error
    return StubStatus(int(text))


def refuse_what_cannot_be_shared(kernel: Kernel, busid: str) -> None:
    """Refused for hubs and what vhci_hcd has imported: the stub takes neither (stub_dev.c, stub_probe)."""
    device = kernel.device(busid)
    place = device.resolve().relative_to(kernel.root.resolve())
    if any(part.startswith("vhci_hcd") for part in place.parts):
        raise Refused(f"{busid} is imported from another machine (vhci_hcd); sharing it again would loop")
    with explained(f"read the class of {busid}"):
        device_class = kernel.read(device / "bDeviceClass").strip()
    if device_class == HUB_CLASS:
        raise Refused(f"{busid} is a hub; hubs cannot be shared, the devices behind it can")


def add_to_table(kernel: Kernel, busid: str) -> None:
    """Tells usbip-host which busid it may take; adding twice does nothing.

    The table has 16 slots (MAX_BUSID), and a device unplugged while bound keeps its slot until it comes back.
    """
    try:
        kernel.write(kernel.driver(DRIVER, "match_busid"), f"add {busid}")
    except FileNotFoundError as error:
        raise Unavailable(f"{DRIVER} is not loaded; run `modprobe {DRIVER}`") from error
    except OSError as error:
        if error.errno != errno.ENOMEM:
            with explained(f"bind {busid} to {DRIVER}"):
                raise
        raise Unavailable(
            f"cannot bind {busid}: {DRIVER} remembers at most 16 ports, those of unplugged devices included; "
            "unshare a device, or reboot to make it forget the unplugged ones"
        ) from error


def is_stream_socket(fd: int) -> bool:
    try:
        borrowed = socket.socket(fileno=fd)
    except OSError:
        return False
    try:
        return borrowed.type == socket.SOCK_STREAM
    finally:
        borrowed.detach()
