"""What can be wrong with a machine, as a table of small questions: each looks, and says what to do."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from appliance.config import Config
from appliance.errors import ConfigError
from appliance.inventory import names, uevents
from appliance.kernel import modules
from appliance.kernel.messages import HELPER_SOCKET
from appliance.kernel.modules import ModuleState
from appliance.kernel.paths import Kernel

BEGINNING: Final = 1767225600
"""2026-01-01 in seconds since 1970: no clock that is right shows an earlier time."""


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """`advice` says what to do; there is none where all is well."""

    level: Level
    what: str
    advice: str = ""


@dataclass(frozen=True)
class Machine:
    """What the checks look at. `status` is the running daemon's, None without one."""

    config: Config
    wrong_config: ConfigError | None = None
    status: dict[str, Any] | None = None
    kernel: Kernel = field(default_factory=Kernel)
    uid: int = field(default_factory=os.geteuid)
    now: float = field(default_factory=time.time)


def configuration(machine: Machine) -> Finding:
    if machine.wrong_config:
        return Finding(
            Level.FAIL, f"configuration: {machine.wrong_config}", "correct it; the rest is judged by defaults"
        )
    return Finding(Level.OK, "the configuration is right")


def daemon(machine: Machine) -> Finding:
    if machine.status is None:
        return Finding(
            Level.WARN, "the daemon does not run", "systemctl enable --now twinhub, or: twinhub serve"
        )
    return Finding(Level.OK, f"the daemon runs (version {machine.status['version']})")


def exporting(machine: Machine) -> Finding:
    return module(machine, modules.EXPORTING, Level.FAIL, "devices plugged in here cannot be shared")


def importing(machine: Machine) -> Finding:
    return module(machine, modules.IMPORTING, Level.WARN, "devices of other machines cannot be attached here")


def module(machine: Machine, wanted: tuple[str, ...], level: Level, without: str) -> Finding:
    states = {name: modules.state(machine.kernel, name) for name in wanted}
    missing = [name for name, state in states.items() if state is ModuleState.MISSING]
    if missing:
        what = f"this kernel has no module {', '.join(missing)}: {without}"
        return Finding(level, what, modules.advice(machine.kernel))
    told = ", ".join(
        f"{name} is {'there, and loaded when needed' if state is ModuleState.AVAILABLE else state}"
        for name, state in states.items()
    )
    return Finding(Level.OK, f"kernel module {told}")


def privilege(machine: Machine) -> Finding:
    if machine.status and machine.status["helper"]:
        return Finding(Level.OK, "the privileged helper answers")
    if machine.status is None and machine.uid == 0:
        return Finding(Level.OK, "this is root: `twinhub serve` will start its own helper")
    if machine.status is None and machine.kernel.root.joinpath(*HELPER_SOCKET.parts[1:]).exists():
        return Finding(Level.OK, "the privileged helper is there")
    return Finding(
        Level.FAIL,
        "no privileged helper answers: devices plugged in here cannot be shared (gadgets can)",
        "systemctl enable --now twinhub-helper.socket, or start `twinhub serve` as root",
    )


def directories(machine: Machine) -> Finding:
    paths = machine.config.paths
    if machine.status:
        return Finding(Level.OK, f"the daemon has its directories {paths.runtime} and {paths.state}")
    closed = [path for path in (paths.runtime, paths.state) if not writable(path)]
    if closed:
        what = f"cannot write to {' and '.join(map(str, closed))}"
        return Finding(Level.FAIL, what, "name others in [paths], or run as the user that they belong to")
    return Finding(Level.OK, f"{paths.runtime} and {paths.state} can be written")


def writable(path: Path) -> bool:
    """Whether we may write to this directory, or make it."""
    there = next(place for place in (path, *path.parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def port(machine: Machine) -> Finding:
    listen = machine.config.listen
    if machine.status:
        return Finding(Level.OK, f"the daemon listens on {', '.join(machine.status['listen'])}")
    for host in listen.addresses:
        if reason := why_not_listen(host, listen.port):
            what = f"cannot listen on {host} port {listen.port}: {os.strerror(reason)}"
            return Finding(Level.FAIL, what, LISTEN_ADVICE.get(reason, "choose another port in [listen]"))
    return Finding(Level.OK, f"port {listen.port} is free")


LISTEN_ADVICE: Final = {
    errno.EADDRINUSE: "`ss -ltnp` tells who has it; stop that, or choose another port in [listen]",
    errno.EADDRNOTAVAIL: "no interface has this address: set it up, or take it out of [listen] addresses",
}


def why_not_listen(host: str, port: int) -> int | None:
    """The errno of trying to, or None if it works."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            return error.errno
    return None


def rival(machine: Machine) -> Finding:
    for entry in machine.kernel.root.joinpath("proc").glob("[0-9]*/comm"):
        try:
            if machine.kernel.read(entry).strip() == "usbipd":
                return Finding(
                    Level.FAIL,
                    f"the stock usbipd runs (process {entry.parent.name}) and will fight over devices",
                    "systemctl disable --now usbipd",
                )
        except OSError:
            continue  # it ended meanwhile
    return Finding(Level.OK, "no other USB/IP server runs")


def reach(machine: Machine) -> Finding:
    listen = machine.config.listen
    if not listen.allow:
        return Finding(Level.OK, "only this machine can reach the devices; [listen] opens them to others")
    networks = ", ".join(map(str, listen.allow))
    if not machine.kernel.module("nf_tables").exists():
        return Finding(Level.OK, f"open to {networks}; no firewall is loaded")
    return Finding(
        Level.WARN,
        f"open to {networks}, and there may be a firewall",
        f"let TCP port {listen.port} in from there, such as: "
        f"nft add rule inet filter input ip saddr {listen.allow[0]} tcp dport {listen.port} accept",
    )


def plug_events(machine: Machine) -> Finding:
    events = uevents.listen(machine.kernel.root)
    if events is None:
        what = "the kernel tells nothing of plugging: devices are found by looking every few seconds"
        return Finding(Level.WARN, what, "allow AF_NETLINK sockets (systemd: RestrictAddressFamilies=)")
    events.close()
    return Finding(Level.OK, "the kernel tells of plugging in and out")


def database(machine: Machine) -> Finding:
    if any(machine.kernel.root.joinpath(place).exists() for place in names.PLACES):
        return Finding(Level.OK, "usb.ids names vendors and products")
    return Finding(Level.WARN, "there is no usb.ids: devices without names stay numbers", "install hwdata")


def clock(machine: Machine) -> Finding:
    if machine.now < BEGINNING:
        what = f"the clock is wrong: it shows {time.strftime('%Y-%m-%d', time.gmtime(machine.now))}"
        return Finding(Level.WARN, what, "timedatectl set-ntp true; logs and the audit trail go by it")
    return Finding(Level.OK, "the clock shows a time that can be")


CHECKS: Final[tuple[Callable[[Machine], Finding], ...]] = (
    configuration,
    daemon,
    exporting,
    importing,
    privilege,
    directories,
    port,
    rival,
    reach,
    plug_events,
    database,
    clock,
)
