"""The kernel's tree of gadgets (Documentation/usb/gadget_configfs.rst): built, bound, taken down.

Names of ours begin with `OURS`; nothing else is touched. Everything lies below an injected root.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from appliance.errors import Busy, DeviceFailed, NotFound, NotPermitted, TwinhubError, Unavailable, UsageError
from gadgets.udc.kernel import KernelFunction

OURS: Final = "twinhub-"
NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
"""FunctionFS' instance names have at most 39 characters (f_fs.c: MAX_INST_NAME_LEN)."""
CONFIGURATION: Final = "c.1"
ENOTSUPP: Final = 524
"""The kernel's own, which errno(3) does not know: the controller has not so many endpoints."""

_KINDS: Final[Mapping[int, type[TwinhubError]]] = {
    errno.EACCES: NotPermitted,
    errno.EPERM: NotPermitted,
    errno.ENOENT: NotFound,
    errno.ENODEV: NotFound,
    errno.EBUSY: Busy,
    errno.EINVAL: UsageError,
}


class Mounts(Protocol):
    """mount(8) for FunctionFS; tests have their own."""

    def mount(self, instance: str, where: Path) -> None: ...
    def unmount(self, where: Path) -> None:
        """Does nothing where nothing is mounted."""


@dataclass(frozen=True)
class OsDescriptors:
    """Microsoft OS 1.0 descriptors: the vendor request by which Windows asks for them."""

    vendor_code: int = 0xCD
    signature: str = "MSFT100"


@dataclass(frozen=True)
class Tree:
    """`attributes`: of the device ("idVendor" …); `strings`: language → "manufacturer", "product",
    "serialnumber"; `configuration`: "MaxPower" in mA, "bmAttributes". FunctionFS comes first, so that our
    interfaces keep their numbers; `kernel`: the kernel's own functions behind it."""

    name: str
    attributes: Mapping[str, str]
    strings: Mapping[int, Mapping[str, str]]
    configuration: Mapping[str, str]
    kernel: tuple[KernelFunction, ...] = ()
    functionfs: bool = True
    os_descriptors: OsDescriptors | None = None


class Configfs:
    """`root`: what `/` is; FunctionFS is mounted under `run/twinhub/ffs`."""

    def __init__(self, root: Path, mounts: Mounts) -> None:
        self.gadgets = root / "sys/kernel/config/usb_gadget"
        self.mount_points = root / "run/twinhub/ffs"
        self.mounts = mounts

    def mount_point(self, name: str) -> Path:
        return self.mount_points / name

    def ours(self) -> list[str]:
        """The names of all trees of ours, whoever made them."""
        return sorted(path.name.removeprefix(OURS) for path in self.gadgets.glob(f"{OURS}*"))

    def holder(self, udc: str) -> str | None:
        """The gadget, ours or another, that has this controller."""
        bound = (path for path in self.gadgets.glob("*/UDC") if path.read_text().strip() == udc)
        return next((path.parent.name for path in bound), None)

    def build(self, tree: Tree) -> Path:
        """Makes the tree, not bound yet; gives where FunctionFS is mounted. What there was under its name is
        taken down first. Leaves nothing behind when it fails."""
        if not NAME.fullmatch(tree.name):
            raise UsageError(f"{tree.name[:40]!r} is no name for a gadget: use at most 24 of a-z, 0-9 and -")
        self.take_down(tree.name)
        try:
            with explained("make the gadget's tree in configfs"):
                self._build(tree)
        except TwinhubError:
            self.take_down(tree.name)
            raise
        return self.mount_point(tree.name)

    def _build(self, tree: Tree) -> None:
        gadget = self._gadget(tree.name)
        os.mkdir(gadget)
        write_all(gadget, tree.attributes)
        for language, texts in tree.strings.items():
            folder = gadget / f"strings/0x{language:x}"
            os.mkdir(folder)
            write_all(folder, texts)
        configuration = gadget / "configs" / CONFIGURATION
        os.mkdir(configuration)
        write_all(configuration, tree.configuration)
        for folder in self._functions(tree, gadget):
            os.symlink(folder, configuration / folder.name)
        if tree.os_descriptors:
            write_all(
                gadget / "os_desc",
                {
                    "use": "1",
                    "b_vendor_code": f"0x{tree.os_descriptors.vendor_code:02x}",
                    "qw_sign": tree.os_descriptors.signature,
                },
            )
            os.symlink(configuration, gadget / "os_desc" / CONFIGURATION)

    def _functions(self, tree: Tree, gadget: Path) -> Iterator[Path]:
        if tree.functionfs:
            folder = gadget / "functions" / f"ffs.{OURS}{tree.name}"
            os.mkdir(folder)
            where = self.mount_point(tree.name)
            where.mkdir(parents=True, exist_ok=True)
            self.mounts.mount(f"{OURS}{tree.name}", where)
            yield folder
        for number, function in enumerate(tree.kernel):
            folder = gadget / "functions" / f"{function.driver}.{number}"
            with explained(f"make the kernel's function {function.driver}"):
                os.mkdir(folder)
            write_all(folder, function.attributes)
            for link, target in function.links.items():
                make((folder / link).parent)
                os.symlink(folder / target, folder / link)
            yield folder

    def bind(self, name: str, udc: str) -> None:
        """From here on the host sees it. Its FunctionFS has to be ready."""
        try:
            write(self._gadget(name) / "UDC", udc)
        except OSError as error:
            if error.errno == ENOTSUPP:
                raise Unavailable(f"{udc} has not the endpoints that this gadget needs") from None
            raise _KINDS.get(error.errno or 0, DeviceFailed)(
                f"cannot bind the gadget to {udc}: {error.strerror}"
            ) from error

    def unbind(self, name: str) -> None:
        """From here on the host does not see it. Idempotent."""
        udc = self._gadget(name) / "UDC"
        with explained("unbind the gadget"):
            if udc.exists() and udc.read_text().strip():
                write(udc, "\n")

    def rename_serial(self, name: str, serial: str) -> None:
        with explained("change the gadget's serial number"):
            for folder in (self._gadget(name) / "strings").iterdir():
                write(folder / "serialnumber", serial)

    def take_down(self, name: str) -> None:
        """Unbind, unmount, remove: whatever there is of the tree, however far someone got. Idempotent."""
        gadget, where = self._gadget(name), self.mount_point(name)
        self.unbind(name)
        with explained(f"take down the gadget {OURS}{name}"):
            folders = [Path(folder) for folder, _, _ in os.walk(gadget, topdown=False)]
            for link in sorted(path for folder in folders for path in folder.iterdir() if path.is_symlink()):
                link.unlink()
            if where.exists():
                self.mounts.unmount(where)
                where.rmdir()
            for folder in folders:
                remove(folder)

    def _gadget(self, name: str) -> Path:
        return self.gadgets / f"{OURS}{name}"


def remove(folder: Path) -> None:
    """What we made; a group that comes with its parent goes with it, and cannot go before."""
    try:
        os.rmdir(folder)
    except PermissionError:
        pass


def write_all(folder: Path, attributes: Mapping[str, str]) -> None:
    """A name with slashes is an attribute of a group below, which is made if need be ("lun.1/file")."""
    for name, value in attributes.items():
        path = folder / name
        with explained(f"set {name} to {value!r}"):
            make(path.parent)
            write(path, value)


def make(folder: Path) -> None:
    if not folder.exists():
        make(folder.parent)
        os.mkdir(folder)


def write(path: Path, value: str) -> None:
    """One write(2), as an attribute wants it."""
    path.write_text(value)


@contextmanager
def explained(wish: str) -> Iterator[None]:
    """An OSError inside becomes the TwinhubError of its errno: "cannot <wish>: <reason>"."""
    try:
        yield
    except OSError as error:
        kind = _KINDS.get(error.errno or 0, DeviceFailed)
        raise kind(f"cannot {wish}: {error.strerror}") from error
