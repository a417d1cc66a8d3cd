"""Fetches what the lab needs from Debian: packages, and a kernel, unpacked in .cache/lab.

Idempotent; when everything is there it changes nothing and takes a moment.
"""

from __future__ import annotations

import compileall
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.kernel import CACHE, XZ, Kernel
from tests.lab.machine import ROOT

PACKAGES = (
    "alsa-utils", "busybox-static", "dosfstools", "e2fsprogs", "evtest", "exfatprogs", "fdisk", "fio",
    "hwdata", "iproute2", "iptables", "iputils-ping", "keepalived", "kmod", "libaio1", "libxkbcommon0",
    "nftables", "procps", "psmisc", "qemu-system-x86", "qemu-utils", "sg3-utils", "systemd", "tshark", "udev",
    "usbip", "usbutils", "util-linux", "xkb-data",
)  # fmt: skip


def main() -> None:
    if missing := [package for package in PACKAGES if not is_installed(package)]:
        install(missing)
    if Kernel.find() is None:
        fetch_kernel()
    for package in ("appliance", "gadgets"):
        # Machines see these folders and cannot write there: each would compile anew, 20 times as slowly.
        compileall.compile_dir(ROOT / package, quiet=1)


def is_installed(package: str) -> bool:
    asked = subprocess.run(
        ["dpkg-query", "-Wf", "${Status}", package], capture_output=True, text=True, check=False
    )
    return asked.stdout == "install ok installed"


def install(packages: list[str]) -> None:
    if os.geteuid() != 0:
        print(f"the lab's tests will skip: as root, apt-get install {' '.join(packages)}", file=sys.stderr)
        sys.exit(bool(os.environ.get("CI")))
    apt_get("update")
    apt_get("install", "--yes", "--no-install-recommends", *packages)


def fetch_kernel() -> None:
    """Unpack the kernel that linux-image-amd64 stands for: its modules, and its image uncompressed."""
    if os.geteuid() == 0:
        apt_get("update")
    facts = subprocess.run(
        ["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True, check=True
    )
    found = re.search(r"Depends: (linux-image-\S+)", facts.stdout)
    if not found:
        sys.exit("apt knows no linux-image-amd64: the lab wants Debian 12 with its usual sources")
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as scratch:
        apt_get("download", found[1], cwd=scratch)
        (package,) = Path(scratch).glob("*.deb")
        tree = Path(scratch, "tree")
        subprocess.run(["dpkg", "-x", package, tree], check=True)
        (modules,) = (tree / "lib/modules").iterdir()
        subprocess.run(["/sbin/depmod", "-b", tree, modules.name], check=True)
        lab = Path(scratch, "lab")
        shutil.copytree(tree / "lib/modules", lab / "modules", symlinks=True)
        image = (tree / f"boot/vmlinuz-{modules.name}").read_bytes()
        (lab / "vmlinux").write_bytes(unpacked(image))
        shutil.rmtree(CACHE, ignore_errors=True)
        lab.rename(CACHE)


def unpacked(image: bytes) -> bytes:
    """The ELF file inside a vmlinuz: emulation would take seconds to decompress it at every boot."""
    return lzma.LZMADecompressor().decompress(image[image.index(XZ) :])


def apt_get(*arguments: str, cwd: str | None = None) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(
        ["apt-get", "-q", "-o", "APT::Sandbox::User=root", *arguments], cwd=cwd, env=environment, check=True
    )


if __name__ == "__main__":
    main()
