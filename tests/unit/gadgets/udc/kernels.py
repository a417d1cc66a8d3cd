"""Test doubles of the kernel: its configfs in a folder, its controllers, the endpoint files of FunctionFS."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from gadgets.usb.urb import SetupPacket

ATTRIBUTES = ("UDC", "idVendor", "bmAttributes", "MaxPower")
GROUPS = {
    "gadget": ("configs", "functions", "strings", "os_desc"),
    "configs": ("strings",),
    "mass_storage": ("lun.0",),
}
"""What comes with a folder that is made, and goes with it."""

real_mkdir, real_rmdir = os.mkdir, os.rmdir


class FakeConfigfs:
    """Below `root`; also the `Mounts`. `mounted`: what is mounted where."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.gadgets = root / "sys/kernel/config/usb_gadget"
        self.gadgets.mkdir(parents=True)
        self.mounted: dict[Path, str] = {}
        self.refuse: set[str] = set()
        monkeypatch.setattr(os, "mkdir", self.mkdir)
        monkeypatch.setattr(os, "rmdir", self.rmdir)

    def mkdir(self, path: str | Path, mode: int = 0o777) -> None:
        path = Path(path)
        if path.name in self.refuse:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        real_mkdir(path, mode)
        if not path.is_relative_to(self.gadgets):
            return
        kind = "gadget" if path.parent == self.gadgets else path.name
        groups = (
            GROUPS["configs"] if path.parent.name == "configs" else GROUPS.get(kind.partition(".")[0], ())
        )
        for group in groups:
            real_mkdir(path / group)
        if kind == "gadget":
            (path / "UDC").write_text("\n")

    def rmdir(self, path: str | Path) -> None:
        """Attributes go with their folder; groups that came with another do not go alone."""
        path = Path(path)
        if not path.is_relative_to(self.gadgets):
            real_rmdir(path)
            return
        if self.is_default(path):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        inside = [each for each in path.iterdir() if each.is_symlink() or each.is_dir()]
        if any(each.is_symlink() or not self.is_default(each) for each in inside):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        for each in inside:
            if any(below.is_dir() for below in each.iterdir()):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        if self.is_bound(path) or (path.name.startswith("ffs.") and path.name[4:] in self.mounted.values()):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        for folder, _, files in os.walk(path, topdown=False):
            for file in files:
                Path(folder, file).unlink()
            real_rmdir(folder)

    def is_default(self, path: Path) -> bool:
        parent = path.parent
        if parent.parent == self.gadgets:
            return path.name in GROUPS["gadget"]
        if parent.parent.name == "configs":
            return path.name == "strings"
        return path.name in GROUPS.get(parent.name.partition(".")[0], ())

    def is_bound(self, path: Path) -> bool:
        gadget = self.gadgets / path.relative_to(self.gadgets).parts[0]
        return bool((gadget / "UDC").read_text().strip())

    def mount(self, instance: str, where: Path) -> None:
        assert where.is_dir()
        self.mounted[where] = instance

    def unmount(self, where: Path) -> None:
        self.mounted.pop(where, None)

    def tree(self, name: str) -> dict[str, str]:
        """Every attribute and link of a gadget, by path: its text, or "-> target"."""
        gadget = self.gadgets / name
        found = {}
        for path in sorted(gadget.rglob("*")):
            if path.is_symlink():
                found[str(path.relative_to(gadget))] = f"-> {path.readlink().relative_to(gadget)}"
            elif path.is_file():
                found[str(path.relative_to(gadget))] = path.read_text().strip()
        return found


def add_controller(root: Path, name: str, driver: str, speed: str = "high-speed") -> None:
    path = root / "sys/class/udc" / name
    (path / "device").mkdir(parents=True)
    (path / "maximum_speed").write_text(f"{speed}\n")
    (path / "device/driver").symlink_to(root / "sys/bus/platform/drivers" / driver)
    (root / "sys/bus/platform/drivers" / driver).mkdir(parents=True, exist_ok=True)


class Kernel:
    """The `Wire`: endpoint files, whose transfers end when a test says so."""

    def __init__(self) -> None:
        self.written: list[tuple[int, bytes]] = []
        self.reads: Counter[int] = Counter()
        self.lengths: list[int] = []
        self.halted: list[int] = []
        self.cleared: list[int] = []
        self.cancelled: list[int] = []
        self.answers: list[bytes | None] = []

    def write(self, endpoint: int, data: bytes) -> None:
        self.written.append((endpoint, data))

    def read(self, endpoint: int, length: int) -> None:
        self.reads[endpoint] += 1
        self.lengths.append(length)

    def cancel(self, endpoint: int) -> None:
        self.cancelled.append(endpoint)

    def halt(self, endpoint: int) -> None:
        self.halted.append(endpoint)

    def clear_halt(self, endpoint: int) -> None:
        self.cleared.append(endpoint)

    def answer(self, setup: SetupPacket, data: bytes | None) -> None:
        self.answers.append(data)
