"""USB devices that QEMU brings: what each is called there, and what backs it.

`machine.plug(device)` fills in `port` (the port path under the machine's xHCI) and `busid`.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from tests.lab.machine import Machine

Socket = socket.socket
HIGH_SPEED_BUS, SUPER_SPEED_BUS = 1, 2


@dataclass(eq=False, kw_only=True)
class Device:
    """`serial`: the iSerial string, where the device should have one of its own."""

    driver: ClassVar[str]
    serial: str | None = None
    id: str = field(default="", init=False)
    port: str = field(default="", init=False)

    @property
    def superspeed(self) -> bool:
        return False

    @property
    def busid(self) -> str:
        """The machine's kernel's name of it, as "1-9.2"."""
        return f"{SUPER_SPEED_BUS if self.superspeed else HIGH_SPEED_BUS}-{self.port}"

    def back(self, machine: Machine) -> dict[str, Any]:
        """Create what stands behind the device; its properties for device_add."""
        return {}

    def clear(self, machine: Machine) -> None:
        """Remove what `back` created."""


class Keyboard(Device):
    """`machine.type_keys` presses its keys; of several, those of the one plugged in last."""

    driver = "usb-kbd"


class Mouse(Device):
    driver = "usb-mouse"


class Tablet(Device):
    """`machine.point` moves it."""

    driver = "usb-tablet"


class NetworkAdapter(Device):
    driver = "usb-net"


class CardReader(Device):
    driver = "usb-ccid"


class Audio(Device):
    """A sound card (isochronous OUT). `machine.heard()` is the WAV file of what it played."""

    driver = "usb-audio"

    def back(self, machine: Machine) -> dict[str, Any]:
        return {"audiodev": "speaker"}


@dataclass(eq=False)
class Disk(Device):
    """A disk of `size` bytes, zeroed, or the image file `path`; SuperSpeed unless told otherwise."""

    driver = "usb-storage"
    size: int = 64 << 20
    path: Path | None = None
    super_speed: bool = True

    @property
    def superspeed(self) -> bool:
        # Behind QEMU's hub (USB 1.1) there are no SuperSpeed lines.
        return self.super_speed and "." not in self.port

    def back(self, machine: Machine) -> dict[str, Any]:
        if self.path is None:
            self.path = machine.state / f"{self.id}.raw"
            with self.path.open("wb") as image:
                image.truncate(self.size)
        machine.qmp.execute(
            "blockdev-add",
            **{
                "node-name": f"{self.id}-image",
                "driver": "raw",
                "file": {"driver": "file", "filename": str(self.path)},
            },
        )
        return {"drive": f"{self.id}-image"}

    def clear(self, machine: Machine) -> None:
        machine.qmp.execute("blockdev-del", **{"node-name": f"{self.id}-image"})


class SerialAdapter(Device):
    """An FTDI adapter; `socket` is what hangs on the other end of its line."""

    driver = "usb-serial"
    socket: Socket

    def back(self, machine: Machine) -> dict[str, Any]:
        near, theirs = socket.socketpair()
        self.ends_at(near)
        name = f"{self.id}-line"
        with theirs:
            machine.qmp.execute("getfd", (theirs.fileno(),), fdname=name)
        address = {"type": "fd", "data": {"str": name}}
        backend = {"type": "socket", "data": {"addr": address, "server": False}}
        machine.qmp.execute("chardev-add", id=name, backend=backend)
        return {"chardev": name, "always-plugged": True}

    def ends_at(self, near: Socket) -> None:
        """Where the line comes out of the machine."""
        near.settimeout(30)
        self.socket = near

    def cut_off(self) -> None:
        """Whoever is at the other end of the line hears no more."""
        self.socket.close()

    def clear(self, machine: Machine) -> None:
        machine.qmp.execute("chardev-remove", id=f"{self.id}-line")
        self.cut_off()


class Hub(Device):
    """A hub of 8 ports with `devices` on the first of them; unplugging it takes them all along at once."""

    driver = "usb-hub"

    def __init__(self, *devices: Device) -> None:
        super().__init__()
        self.devices = devices
