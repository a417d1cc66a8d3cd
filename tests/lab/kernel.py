"""The kernel that machines boot, and the initial file system that gives them the host's root to stand on."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "lab"
INIT = Path(__file__).with_name("init")
BUSYBOX = Path("/bin/busybox")
BOOT_MODULES = ("virtio_pci", "virtio_console", "virtio_net", "9pnet_virtio", "9p", "overlay")
XZ = b"\xfd7zXZ\0"


@dataclass(frozen=True)
class Kernel:
    """`image`: an ELF vmlinux; `modules`: its depmod-ed module folder, named after its version."""

    image: Path
    modules: Path

    @classmethod
    def find(cls) -> Kernel | None:
        """The kernel that `tests.lab.setup` unpacked, or None."""
        image, versions = CACHE / "vmlinux", sorted((CACHE / "modules").glob("*"))
        return cls(image, versions[-1]) if image.is_file() and versions else None

    def initramfs(self) -> bytes:
        """A cpio archive: busybox, `init`, and the modules that reach the root, numbered in load order."""
        files = {
            "bin/busybox": (stat.S_IFREG | 0o755, BUSYBOX.read_bytes()),
            "init": (stat.S_IFREG | 0o755, INIT.read_bytes()),
            **dict.fromkeys(("dev", "proc", "sys", "host", "over", "root"), (stat.S_IFDIR | 493, b"")),
        }
        for number, module in enumerate(self.load_order(BOOT_MODULES)):
            files[f"modules/{number:02}-{module.name}"] = (stat.S_IFREG | 0o644, module.read_bytes())
        folders = {str(Path(name).parent): (stat.S_IFDIR | 0o755, b"") for name in files if "/" in name}
        return cpio(folders | files)

    def load_order(self, names: tuple[str, ...]) -> list[Path]:
        """The files of `names` and of all they depend on, each behind its dependencies."""
        lines = (line.split(":") for line in (self.modules / "modules.dep").read_text().splitlines())
        needs = {path: rest.split() for path, rest in lines}
        path_of = {Path(path).stem.replace("-", "_"): path for path in needs}
        ordered: dict[str, None] = {}
        for name in names:
            # modules.dep lists the nearest dependency first, and all of them.
            ordered.update(dict.fromkeys([*reversed(needs[path_of[name]]), path_of[name]]))
        return [self.modules / path for path in ordered]


def cpio(entries: dict[str, tuple[int, bytes]]) -> bytes:
    """A "newc" archive, as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst has it."""
    return b"".join(cpio_entries(entries))


def cpio_entries(entries: dict[str, tuple[int, bytes]]) -> Iterator[bytes]:
    for inode, (name, (mode, data)) in enumerate([*entries.items(), ("TRAILER!!!", (0, b""))], start=1):
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        yield padded(b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0")
        yield padded(data)


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
