"""vhci_hcd, the virtual host controller: its ports, and attaching a device of another machine to one.

Source: drivers/usb/usbip/vhci_sysfs.c. Whom a port is connected to is remembered in the files of the `usbip`
command (tools/usb/usbip/src/usbip_attach.c), so that `usbip port` and we understand each other.
"""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum

from appliance.errors import Busy, DeviceFailed, NotFound, Unavailable, UsageError
from appliance.kernel.paths import Kernel, explained
from gadgets.usb.urb import Speed

STATUS_LINE = re.compile(
    r"(?P<hub>hs|ss) +(?P<number>[0-9]{4,9}) (?P<status>[0-9]{3}) (?P<speed>[0-9]{3}) "
    r"(?P<devid>[0-9a-f]{8}) [0-9a-f]+ (?P<busid>[0-9.-]{1,31})"
)
RECORD = re.compile(r"(?P<host>\S{1,255}) (?P<service>\S{1,31}) (?P<name>\S{1,31})\n")


class PortStatus(IntEnum):
    """enum usbip_device_status in usbip_common.h."""

    FREE = 4
    CONNECTING = 5
    USED = 6
    ERROR = 7


@dataclass(frozen=True, slots=True)
class Remote:
    """Whom a port is connected to: host, TCP port, and the busid or export name there."""

    host: str
    service: str
    name: str


@dataclass(frozen=True, slots=True)
class Port:
    """One root-hub port. `speed` and `busid` (of the device here) mean something while USED."""

    number: int
    superspeed: bool
    status: PortStatus
    speed: int
    devid: int
    busid: str
    remote: Remote | None = None


def parse_status(text: str) -> list[Port]:
    """The ports of one `status` file; DeviceFailed when it is not of the shape that Linux 4.13 brought."""
    return [parse_port(line) for line in text.splitlines()[1:]]


def parse_port(line: str) -> Port:
    found = STATUS_LINE.fullmatch(line)
    if not found or int(found["status"]) not in PortStatus.__members__.values():
        raise DeviceFailed(f"cannot read the status of vhci_hcd: {line[:80]!r}; it takes Linux 4.13 or newer")
    return Port(
        number=int(found["number"]),
        superspeed=found["hub"] == "ss",
        status=PortStatus(int(found["status"])),
        speed=int(found["speed"]),
        devid=int(found["devid"], 16),
        busid=found["busid"],
    )


def all_ports(kernel: Kernel) -> list[Port]:
    """Every port of every controller, free ones too; Unavailable when vhci_hcd is not loaded."""
    first = kernel.vhci("status")
    if not first.exists():
        raise Unavailable("vhci_hcd is not loaded; run `modprobe vhci-hcd`")
    with explained("read the ports of vhci_hcd"):
        return [port for file in first.parent.glob("status*") for port in parse_status(kernel.read(file))]


def ports(kernel: Kernel) -> list[Port]:
    """What is attached, by port number, with its remote where that is known."""
    taken = [port for port in all_ports(kernel) if port.status is not PortStatus.FREE]
    return sorted(
        (replace(port, remote=recall(kernel, port.number)) for port in taken), key=lambda port: port.number
    )


def attach(kernel: Kernel, fd: int, devid: int, speed: int, remote: Remote) -> int:
    """Attaches the device behind the stream socket `fd`; returns the port. Busy: no port is free.

    The kernel takes a reference of its own to the socket. `devid` is busnum << 16 | devnum over there.
    """
    superspeed = speed >= Speed.SUPER
    free = sorted(
        port.number
        for port in all_ports(kernel)
        if port.status is PortStatus.FREE and port.superspeed == superspeed
    )
    # Kernels before 6.12 refuse SUPER_PLUS, and over a network it means nothing.
    known_speed = min(speed, Speed.SUPER)
    for number in free:
        with explained(f"attach {remote.name} of {remote.host} to port {number}"):
            try:
                kernel.write(kernel.vhci("attach"), f"{number} {fd} {devid} {known_speed}")
            except OSError as error:
                if error.errno == errno.EBUSY:  # somebody else was faster
                    continue
                raise
        remember(kernel, number, remote)
        return number
    raise Busy(f"no {'SuperSpeed' if superspeed else 'high-speed'} port of vhci_hcd is free; detach a device")


def detach(kernel: Kernel, number: int) -> None:
    """Unplugs what is attached to the port; NotFound when nothing is."""
    if number not in (port.number for port in ports(kernel)):
        raise NotFound(f"nothing is attached to port {number}; `twinhub ports` shows what is")
    with explained(f"detach port {number}"):
        kernel.write(kernel.vhci("detach"), str(number))
    forget(kernel, number)


def remember(kernel: Kernel, number: int, remote: Remote) -> None:
    """Writes down whom the port is connected to, for `usbip port` and `twinhub ports`."""
    line = f"{remote.host} {remote.service} {remote.name}\n"
    if not RECORD.fullmatch(line):
        raise UsageError(f"a host and an export name have no spaces: {line[:80]!r}")
    path = kernel.port_record(number)
    with explained(f"remember whom port {number} is connected to"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(line)


def recall(kernel: Kernel, number: int) -> Remote | None:
    """None when nobody wrote it down, or not for us to read."""
    try:
        found = RECORD.fullmatch(kernel.read(kernel.port_record(number)))
    except (OSError, UnicodeDecodeError):
        return None
    return Remote(**found.groupdict()) if found else None


def forget(kernel: Kernel, number: int) -> None:
    path = kernel.port_record(number)
    with suppress(OSError):
        path.unlink()
        path.parent.rmdir()
