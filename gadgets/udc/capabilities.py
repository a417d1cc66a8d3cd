"""Which USB device controllers there are, and what each can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import NotFound, Unavailable
from gadgets.usb.urb import Speed


@dataclass(frozen=True, slots=True)
class Limits:
    in_endpoints: int = 15
    out_endpoints: int = 15
    isochronous: bool = True


LIMITS: Final[Mapping[str, Limits]] = {
    "dwc2": Limits(7, 7),
    "dummy_udc": Limits(isochronous=False),
    "usbip-vudc": Limits(isochronous=False),
}
"""By the controller's driver; another one is taken to have all that USB has."""

SPEEDS: Final = {
    "low-speed": Speed.LOW,
    "full-speed": Speed.FULL,
    "high-speed": Speed.HIGH,
    "super-speed": Speed.SUPER,
    "super-speed-plus": Speed.SUPER_PLUS,
}
"""As the kernel writes them (usb_speed_string)."""


@dataclass(frozen=True, slots=True)
class Controller:
    name: str
    driver: str
    fastest: Speed

    @property
    def limits(self) -> Limits:
        return LIMITS.get(self.driver, Limits())


def controllers(root: Path) -> list[Controller]:
    return [_read(path) for path in sorted((root / "sys/class/udc").glob("*"))]


def controller(root: Path, name: str) -> Controller:
    """The one of this name; "" is the only one. Raises a TwinhubError that says what there is."""
    found = controllers(root)
    if not found:
        raise Unavailable(
            "this machine has no USB device controller; on a Pi, dtoverlay=dwc2,dr_mode=peripheral in"
            " config.txt gives one (docs/udc.md), and without hardware `modprobe dummy_hcd` does"
        )
    names = ", ".join(each.name for each in found)
    if not name and len(found) > 1:
        raise NotFound(f"which USB device controller? There are {names}")
    for each in found:
        if name in ("", each.name):
            return each
    raise NotFound(f"there is no USB device controller {name[:40]!r}; there is {names}")


def _read(path: Path) -> Controller:
    driver = path / "device/driver"
    fastest = SPEEDS.get((path / "maximum_speed").read_text().strip(), Speed.HIGH)
    return Controller(path.name, driver.resolve().name if driver.exists() else "", fastest)
