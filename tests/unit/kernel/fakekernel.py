"""A kernel of regular files: its `write` does what usbip-host and the USB core do on a real one.

Source: drivers/usb/usbip/stub_main.c and stub_dev.c; the parts of them that a caller can see.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

from appliance.kernel.paths import Kernel

HEADER = "hub port sta spd dev      sockfd local_busid\n"
SLOTS = 16


@dataclass(frozen=True, slots=True)
class FakeKernel(Kernel):
    """`written` is every write, in order; `failing` maps a file's name to the errno its next writes get."""

    written: list[tuple[str, str]] = field(default_factory=list)
    failing: dict[str, int] = field(default_factory=dict)
    table: list[str] = field(default_factory=list)

    def plug(
        self, busid: str, *, below: str = "pci0000:00/usb1", device_class: str = "00", driver: str = "usb"
    ) -> Path:
        """Plugs a device in; its folder, as on a real kernel, is elsewhere and linked to."""
        folder = self.root / "sys/devices" / below / busid
        folder.mkdir(parents=True)
        (folder / "bDeviceClass").write_text(device_class + "\n")
        link = self.bus("devices", busid)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)
        self.bus("drivers", "usb").mkdir(parents=True, exist_ok=True)
        self.give(busid, driver)
        return folder

    def load(self, name: str) -> None:
        self.module(name).mkdir(parents=True)
        if name == "usbip-host":
            self.bus("drivers", name).mkdir(parents=True)

    def give(self, busid: str, driver: str | None) -> None:
        folder = self.bus("devices", busid)
        (folder / "driver").unlink(missing_ok=True)
        for name in ("usbip_status", "usbip_sockfd"):
            (folder / name).unlink(missing_ok=True)
        if driver:
            (folder / "driver").symlink_to(self.bus("drivers", driver))
        if driver == "usbip-host":
            (folder / "usbip_status").write_text("1\n")
            (folder / "usbip_sockfd").touch()

    def controller(self, *lines: str, number: int = 0) -> None:
        path = self.vhci("status" if number == 0 else f"status.{number}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + "".join(f"{line}\n" for line in lines))
        for name in ("attach", "detach"):
            self.vhci(name).touch()

    def write(self, path: Path, text: str) -> None:
        self.written.append((path.relative_to(self.root / "sys").as_posix(), text))
        if number := self.failing.get(f"{path.parent.name}/{path.name}"):
            raise OSError(number, os.strerror(number))
        match path.parent.name, path.name:
            case "usbip-host", "match_busid":
                self._match_busid(path, *text.split())
            case "usbip-host", "bind":
                self.give(text, "usbip-host")
            case "usbip-host", "rebind":
                self.table.remove(text)
                self.give(text, "usb")
            case _, "unbind":
                self.give(text, None)
            case _, "drivers_probe":
                self.give(text, "usb")
            case _, "usbip_sockfd":
                (path.parent / "usbip_status").write_text("1\n" if text == "-1" else "2\n")
            case _:
                Kernel.write(self, path, text)

    def _match_busid(self, path: Path, verb: str, busid: str) -> None:
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if verb == "add" and busid not in self.table:
            if len(self.table) == SLOTS:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            self.table.append(busid)
