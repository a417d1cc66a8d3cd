"""The hub tree as text: a line for each device, as `twinhub devices` prints it.

DEVICE        ID         NAME                  SERIAL    SPEED  POWER  DRIVER         SHARED
usb1          1d6b:0002  xHCI Host Controller  00:14.0   480M          hub (4 ports)
└─ 1-1        0409:55aa  USB2.0 Hub                      480M   2mA    hub (4 ports)
   ├─ 1-1.1   0627:0001  QEMU USB Keyboard     ABC123    12M    100mA  usbhid         keyboard
   └─ 1-1.2   …
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final
from unicodedata import combining, east_asian_width

from appliance.inventory.model import UsbDevice, UsbInterface, position
from gadgets.usb.urb import Speed

SPEEDS: Final = {
    Speed.LOW: "1.5M", Speed.FULL: "12M", Speed.HIGH: "480M",
    Speed.WIRELESS: "480M", Speed.SUPER: "5G", Speed.SUPER_PLUS: "10G",
}  # fmt: skip

HEADER: Final = ("DEVICE", "ID", "NAME", "SERIAL", "SPEED", "POWER", "DRIVER", "SHARED")
NAME, SERIAL, POWER, SPEED, DRIVER = (HEADER.index(n) for n in ("NAME", "SERIAL", "POWER", "SPEED", "DRIVER"))
SHRINKS: Final = ((NAME, 20), (SERIAL, 8), (POWER, 0), (SPEED, 0), (SERIAL, 0), (NAME, 10), (DRIVER, 0))
"""What gives way on a narrow terminal, one after the other: a column, and the cells it keeps (0: none)."""
GAP: Final = 2

BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"

Row = Sequence[str]


def render(
    devices: Iterable[UsbDevice],
    shared: Callable[[str], str | None] = lambda busid: None,
    *,
    width: int | None = None,
    details: bool = False,
    color: bool = False,
) -> str:
    """Text of whole lines, none wider than `width` cells; "" for no devices.

    `shared` tells the last column by busid, e.g. a dict's `get`. `details` adds a line for each interface.
    A device whose hub is not among `devices` stands at the left edge.
    """
    ordered = sorted(devices, key=lambda device: position(device.busid))
    if not ordered:
        return ""
    branches = dict(_branches(ordered))
    rows = [HEADER, *(_row(branches[d.busid][0], d, shared(d.busid) or "") for d in ordered)]
    styles = [BOLD, *(DIM if device.is_hub else "" for device in ordered)]
    lines = [
        [f"{style}{line}{PLAIN}" if color and style else line]
        for line, style in zip(_aligned(rows, width), styles, strict=True)
    ]
    if details:
        for device, below in zip(ordered, lines[1:], strict=True):
            told = (f"{branches[device.busid][1]}  {_interface(i)}" for i in device.interfaces)
            below += [_cut(line, width or len(line)).rstrip() for line in told]
    return "".join(f"{line}\n" for block in lines for line in block)


def _branches(ordered: list[UsbDevice]) -> Iterator[tuple[str, tuple[str, str]]]:
    """By busid, the lines of the tree in front of a device, and in front of what is below it."""
    there = {device.busid for device in ordered}
    below: dict[str, str] = {}
    last = {device.parent_busid: device.busid for device in ordered}
    for device in ordered:
        if device.parent_busid not in there:
            here, below[device.busid] = "", ""
        else:
            is_last = last[device.parent_busid] == device.busid
            here = below[device.parent_busid] + ("└─ " if is_last else "├─ ")
            below[device.busid] = below[device.parent_busid] + ("   " if is_last else "│  ")
        has_children = device.busid in last
        yield device.busid, (here, below[device.busid] + ("│" if has_children else " "))


def _row(branch: str, device: UsbDevice, shared: str) -> Row:
    return (
        branch + device.busid,
        device.ids,
        device.label,
        device.serial or "",
        SPEEDS[device.speed],
        f"{device.max_power_ma}mA" if device.max_power_ma else "",
        _driver(device),
        shared,
    )


def _driver(device: UsbDevice) -> str:
    """The one that matters: of the interfaces, unless the whole device has a special one (usbip-host)."""
    if device.driver not in ("usb", None):
        return device.driver
    drivers = ", ".join(driver for driver, _ in groupby(i.driver for i in device.interfaces) if driver)
    return f"{drivers} ({device.ports} ports)" if device.ports else drivers


def _interface(interface: UsbInterface) -> str:
    what = interface.class_name or f"class {interface.interface_class:02x}"
    told = (f"{interface.number}: {interface.name or what}", interface.driver, " ".join(interface.nodes))
    return "  ".join(part for part in told if part)


def _aligned(rows: Sequence[Row], width: int | None) -> Iterator[str]:
    """In columns; a column that no row fills is left out, header and all."""
    widths = [max(map(cells_of, column)) for column in zip(*rows, strict=True)]
    for at, column in enumerate(zip(*rows[1:], strict=True)):
        if not any(column):
            widths[at] = 0
    for at, least in SHRINKS:
        excess = _total(widths) - (width or _total(widths))
        if excess > 0:
            widths[at] = min(widths[at], max(least, widths[at] - excess)) if least else 0
    for row in rows:
        fields = (_cut(text, cells) for text, cells in zip(row, widths, strict=True) if cells)
        line = (" " * GAP).join(fields)
        yield (_cut(line, width) if width else line).rstrip()


def _total(widths: Sequence[int]) -> int:
    shown = [cells for cells in widths if cells]
    return sum(shown) + GAP * (len(shown) - 1)


def _cut(text: str, cells: int) -> str:
    """Exactly `cells` wide: padded, or cut with an ellipsis."""
    if cells_of(text) <= cells:
        return text + " " * (cells - cells_of(text))
    while text and cells_of(text) > cells - 1:
        text = text[:-1]
    return text + "…" + " " * (cells - 1 - cells_of(text))


def cells_of(text: str) -> int:
    """Columns of a terminal: wide characters take two, combining ones none."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
