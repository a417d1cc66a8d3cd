"""What a serial port's other end can be: each does the input and output that the function may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from appliance.errors import UsageError
from gadgets.serial.companions.pty import Pty
from gadgets.serial.companions.script import Script
from gadgets.serial.companions.tcp import Dial, Listen
from gadgets.usb.companion import Companion
from gadgets.usb.records import Located

CONNECT = '"pty", "pty:LINK", "tcp:HOST:PORT", "listen:PORT", "script:FILE" or ""'


def companion_for(connect: str) -> Companion | None:
    """What `connect` names; it opens nothing yet. Raises UsageError."""
    kind, _, where = connect.partition(":")
    make = _KINDS.get(kind)
    if make is None:
        raise UsageError(f"a serial port cannot connect to {connect!r}; wanted {CONNECT}")
    try:
        return make(where)
    except ValueError:
        raise UsageError(f"{connect!r} lacks something, or has a wrong port; wanted {CONNECT}") from None


def located(connect: str, base: Path) -> str:
    """The same; a relative path in it counts from `base`."""
    kind, _, where = connect.partition(":")
    return f"{kind}:{base / where}" if kind in ("pty", "script") and where else connect


ConnectText = Annotated[str, Located(located)]


def _dial(where: str) -> Companion:
    host, _, number = where.rpartition(":")
    if not host:
        raise ValueError(where)
    return Dial(host.strip("[]"), _port(number, least=1))


def _port(number: str, least: int) -> int:
    port = int(number)
    if not least <= port <= 0xFFFF:
        raise ValueError(number)
    return port


def _script(where: str) -> Companion:
    if not where:
        raise ValueError(where)
    return Script(Path(where))


def _nothing(where: str) -> None:
    if where:
        raise ValueError(where)


_KINDS: dict[str, Callable[[str], Companion | None]] = {
    "": _nothing,
    "pty": lambda where: Pty(Path(where) if where else None),
    "tcp": _dial,
    "listen": lambda where: Listen(_port(where, least=0)),
    "script": _script,
}
