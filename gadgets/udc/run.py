"""Present a gadget on a USB device controller of this machine, and drive it until someone ends it.

with present(load("keyboard.toml"), "fe980000.usb") as presented:
    presented.run()
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from appliance.errors import Busy, NotPermitted, Unavailable, UsageError
from appliance.loop import Loop
from gadgets.definition import Definition, Gadget
from gadgets.definition.build import function_of
from gadgets.udc import refuse
from gadgets.udc.capabilities import Controller, controller
from gadgets.udc.configfs import Configfs, explained
from gadgets.udc.descriptors import Shown, shown
from gadgets.udc.kernel import KernelFunction
from gadgets.udc.mounts import KernelMounts
from gadgets.udc.presented import Presented, Source
from gadgets.udc.tree import tree_of
from gadgets.usb.device import Told
from gadgets.usb.microsoft import WinUsb

KERNEL_KIND: Final = "kernel:"
ROOT: Final = Path("/")
VUDC_AVAILABLE: Final = "1"
"""usbip_status: nobody uses it (enum usbip_device_status)."""
VUDC_SECONDS: Final = 5
MODPROBE_PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"
LIBAIO: Final = (
    "python-functionfs cannot be loaded: {error}; install it (pip install functionfs==0.9.2) and Debian's"
    " libaio1 (libaio1t64 from Debian 13 on)"
)


@contextmanager
def present(
    definition: Definition,
    udc: str = "",
    root: Path = ROOT,
    listen: Callable[[Told], None] = lambda told: None,
) -> Iterator[Presented]:
    """The gadget is on the bus until the context ends. `udc` "" is the only controller; `listen` hears
    what the gadget tells. Raises TwinhubErrors: Refused names all that the controller cannot do."""
    gadget, kernel = split(definition)
    with ExitStack() as stack:
        stack.enter_context(gadget)
        chosen, described = controller(root, udc), gadget.bare.descriptors
        refuse.check(refuse.Asked(described, kernel, definition.faults, chosen))
        name = tree_name(definition.name)
        configfs = Configfs(root, KernelMounts())
        if root == ROOT:
            load_configfs()
        stack.enter_context(owned(root, name))
        take_down_stale(configfs, root, name)
        if holder := configfs.holder(chosen.name):
            raise Busy(f"{chosen.name} has the gadget {holder} already; end that one first")
        guid = next((each.guid for each in gadget.functions if isinstance(each, WinUsb)), "")
        own = shown(described, guid) if described.configurations[0].settings else None
        stack.callback(configfs.take_down, name)
        mount = configfs.build(tree_of(name, described, kernel, own))
        source = stack.enter_context(functionfs(mount, gadget, own)) if own else None
        loop = Loop()
        stack.callback(loop.close)
        cable = ConfigfsCable(configfs, name, chosen.name)
        presented = Presented(loop, gadget, source, cable, listen, chosen.name)
        stack.callback(presented.close)
        stack.callback(configfs.unbind, name)
        stack.callback(hang_up, root, chosen)
        configfs.bind(name, chosen.name)
        yield presented


class ConfigfsCable:
    """Pulled out is unbound: the host sees the device go and come."""

    def __init__(self, configfs: Configfs, name: str, udc: str) -> None:
        self.configfs, self.name, self.udc = configfs, name, udc

    def unplug(self) -> None:
        self.configfs.unbind(self.name)

    def plug(self, serial: str) -> None:
        if serial:
            self.configfs.rename_serial(self.name, serial)
        self.configfs.bind(self.name, self.udc)


def split(definition: Definition) -> tuple[Gadget, tuple[KernelFunction, ...]]:
    """What we are ourselves, and what the kernel is."""
    kernel = [part for part in definition.functions if part.kind.startswith(KERNEL_KIND)]
    own = tuple(part for part in definition.functions if part not in kernel)
    if not definition.functions:
        raise UsageError(f"{definition.name} has no functions; a device on a controller needs one")
    functions = [function_of(part, definition) for part in kernel]
    gadget = replace(definition, functions=own).build()
    return gadget, tuple(each for each in functions if isinstance(each, KernelFunction))


def tree_name(name: str) -> str:
    """A gadget's name as configfs and FunctionFS can have it."""
    return (
        "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")[:24] or "gadget"
    )


def hang_up(root: Path, chosen: Controller) -> None:
    """End the session of a usbip-vudc's client: without its gadget, the kernel would crash at the session's
    end (6.1: vudc_shutdown)."""
    device = root / "sys/class/udc" / chosen.name / "device"
    status = device / "usbip_status"
    if not status.exists() or status.read_text().strip() == VUDC_AVAILABLE:
        return
    with explained(f"end the session of {chosen.name}"):
        (device / "usbip_sockfd").write_text("-1")
        deadline = time.monotonic() + VUDC_SECONDS
        while status.read_text().strip() != VUDC_AVAILABLE and time.monotonic() < deadline:
            time.sleep(0.01)


@contextmanager
def functionfs(mount: Path, gadget: Gadget, own: Shown) -> Iterator[Source]:
    try:
        # Not at the top: it loads libaio, which a machine without a controller need not have.
        from gadgets.udc.functionfs import FunctionFs
    except (ImportError, OSError) as error:
        raise Unavailable(LIBAIO.format(error=error)) from None
    with explained("describe the gadget to FunctionFS"):
        function = FunctionFs(mount, gadget.device, own, gadget.bare.coming)
        function.__enter__()
    try:
        yield function
    finally:
        function.__exit__(None, None, None)


@contextmanager
def owned(root: Path, name: str) -> Iterator[None]:
    """A lock that dies with its process: whose tree has none is stale."""
    with explained(f"lock the gadget {name}"):
        lock = open_lock(root, name)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Busy(f"the gadget {name} is presented by another process already") from None
    try:
        yield
    finally:
        os.close(lock)


def open_lock(root: Path, name: str) -> int:
    folder = root / "run/twinhub/udc"
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder / f"{name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)


def take_down_stale(configfs: Configfs, root: Path, mine: str) -> None:
    """Trees that crashed processes left, ours under this name among them."""
    for name in configfs.ours():
        try:
            if name == mine:
                configfs.take_down(name)
            else:
                with owned(root, name):
                    configfs.take_down(name)
        except Busy:
            continue


def load_configfs() -> None:
    """libcomposite, and configfs where it is mounted by nobody yet."""
    gadgets = ROOT / "sys/kernel/config/usb_gadget"
    if os.geteuid():
        raise NotPermitted("only root can present a gadget on a USB device controller; use sudo")
    modprobe = shutil.which("modprobe", path=MODPROBE_PATH)
    if not gadgets.exists() and modprobe:
        subprocess.run([modprobe, "-a", "configfs", "libcomposite"], capture_output=True, check=False)
    if not gadgets.exists():
        with explained("mount configfs"):
            KernelMounts().mount_configfs(ROOT / "sys/kernel/config")
    if not gadgets.exists():
        raise Unavailable("this kernel has no USB gadgets in configfs (CONFIG_USB_LIBCOMPOSITE)")
