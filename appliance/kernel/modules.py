"""Kernel modules: what is loaded, what could be, and what to install when it could not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from enum import StrEnum

from appliance.errors import NotPermitted, Unavailable
from appliance.kernel.paths import Kernel

EXPORTING = ("usbip-host",)
"""What sharing plugged-in devices needs."""
IMPORTING = ("vhci-hcd",)
"""What attaching devices of other machines needs."""

MODPROBE_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
MODPROBE_SECONDS = 15

PACKAGES: dict[str, str] = {
    "debian": "install linux-image-amd64 or linux-image-arm64 (the -cloud kernels leave it out) and reboot",
    "raspbian": "install linux-image-rpi-v8 and reboot",
    "ubuntu": "install linux-modules-extra-{release}",
    "fedora": "install kernel-modules-extra",
    "alpine": "install linux-lts (linux-virt leaves it out) and reboot",
}
"""By ID of os-release(5)."""


class ModuleState(StrEnum):
    LOADED = "loaded"
    BUILTIN = "built in"
    AVAILABLE = "available"
    MISSING = "missing"


def state(kernel: Kernel, name: str) -> ModuleState:
    if kernel.module(name).is_dir():
        return ModuleState.LOADED
    if name in listed(kernel, "modules.builtin"):
        return ModuleState.BUILTIN
    return ModuleState.AVAILABLE if name in listed(kernel, "modules.dep") else ModuleState.MISSING


def listed(kernel: Kernel, name: str) -> set[str]:
    """The modules that `modules.dep` or `modules.builtin` names, "_" written "-"; none without the file."""
    try:
        lines = kernel.read(kernel.module_list(name)).splitlines()
    except OSError:
        return set()
    files = (line.partition(":")[0].rpartition("/")[2] for line in lines)
    return {file.partition(".ko")[0].replace("_", "-") for file in files}


def load_all(kernel: Kernel, names: Sequence[str]) -> None:
    for name in names:
        load(kernel, name)


def load(kernel: Kernel, name: str) -> None:
    """Loads the module if need be; Unavailable says what to install, NotPermitted that it takes root."""
    found = state(kernel, name)
    if found in (ModuleState.LOADED, ModuleState.BUILTIN):
        return
    if found is ModuleState.MISSING:
        raise Unavailable(f"this kernel has no module {name}; {advice(kernel)}")
    modprobe = shutil.which("modprobe", path=MODPROBE_PATH)
    if modprobe is None:
        raise Unavailable(f"cannot load {name}: there is no modprobe; install the package kmod")
    try:
        done = subprocess.run(
            [modprobe, name], capture_output=True, text=True, timeout=MODPROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"modprobe {name} did not finish within {MODPROBE_SECONDS} s") from error
    if done.returncode != 0:
        kind = NotPermitted if os.geteuid() != 0 else Unavailable
        raise kind(f"cannot load {name}: {done.stderr.strip() or 'modprobe failed'}")


def advice(kernel: Kernel) -> str:
    """What to install on this distribution to get the USB/IP modules."""
    try:
        text = kernel.read(kernel.root / "etc/os-release")
    except OSError:
        text = ""
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    distribution = fields.get("ID", "").strip('"')
    general = "use a kernel built with CONFIG_USBIP_HOST and CONFIG_USBIP_VHCI_HCD"
    return PACKAGES.get(distribution, general).format(release=os.uname().release)
