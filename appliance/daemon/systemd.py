"""What the daemon says to systemd and gets from it: readiness, signs of life, kept sockets.

Sources: sd_notify(3), sd_listen_fds(3).

Everything here does nothing, quietly, where systemd is not the parent.
"""

from __future__ import annotations

import array
import os
import socket
import subprocess
from collections.abc import Iterable

FIRST_FD = 3
PATIENCE = 20
"""Seconds for systemctl, which may have to wait for D-Bus to start. Sessions hang on its answer."""


def notify(*lines: str, fds: Iterable[int] = ()) -> None:
    """Sends state to the service manager, e.g. `notify("READY=1", "STATUS=serving")`."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendmsg(["\n".join(lines).encode()], rights if rights[0][2] else [], 0, address)


def keep(name: str, fd: int) -> None:
    """Puts a descriptor into the store, from which a restarted daemon gets it back by `kept()`."""
    notify("FDSTORE=1", f"FDNAME={name}", fds=[fd])


def kept() -> dict[str, list[int]]:
    """The descriptors systemd hands us, by name; asked once, since the variables are then cleared."""
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return {}
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    found: dict[str, list[int]] = {}
    for number in range(count):
        os.set_inheritable(FIRST_FD + number, False)
        name = names[number] if number < len(names) else "unknown"
        found.setdefault(name, []).append(FIRST_FD + number)
    return found


def watchdog_interval() -> float | None:
    """Seconds between the signs of life we give: half of what the unit asks for."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2_000_000


def restart_is_pending(unit: str = "twinhub.service") -> bool:
    """Whether systemd stops us only to start us again: then sessions are left running."""
    if "INVOCATION_ID" not in os.environ:
        return False
    try:
        asked = subprocess.run(
            ["systemctl", "list-jobs", "--no-legend", "--plain", unit],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return any("restart" in line.split() for line in asked.stdout.splitlines())
