"""What can be wrong with a machine that carries groups of a pair; the questions after those of `checks`."""

from __future__ import annotations

import asyncio
import grp
import pwd
import shutil
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from appliance.cli.checks import Finding, Level, Machine
from appliance.errors import ConfigError, TwinhubError
from appliance.kernel import modules
from appliance.kernel.modules import ModuleState
from appliance.pair.selector import keys, open_selector
from appliance.pair.selector.spec import parse_spec
from appliance.pair.settings import GroupTable

PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
QUEUE: Final = ("nfnetlink-queue", "xt-NFQUEUE")
QUEUES: Final = "proc/net/netfilter/nfnetlink_queue"
"""There once the first of them is; the second follows it."""
TCP_REPAIR: Final = 19
"""linux/tcp.h."""
KEYED: Final = ("witness", "arbiter")
"""Selectors that know their appliances by a shared key."""
ASKED: Final = ("witness",)
"""Those that may be asked by anyone who has the key, beside the daemon."""
START: Final = (
    "systemctl enable --now twinhub-gate.socket twinhub-keepalived.socket, or start `twinhub serve` as root"
)
NOBODY_PINGS: Final = "1\t0"

Json = dict[str, Any]


def programs(machine: Machine) -> Finding:
    versions = {table.address.version for table in machine.config.groups}
    firewalls = [name for name, version in (("iptables", 4), ("ip6tables", 6)) if version in versions]
    missing = [name for name in ("keepalived", *firewalls) if shutil.which(name, path=PATH) is None]
    if missing:
        what = f"groups need {' and '.join(missing)}, not found here"
        return Finding(Level.FAIL, what, "apt-get install keepalived iptables")
    return Finding(Level.OK, f"{' and '.join(('keepalived', *firewalls))} are installed")


def queue(machine: Machine) -> Finding:
    if guards(machine).get("gate"):
        return Finding(Level.OK, "the kernel gives the gate its packets (NFQUEUE)")
    if machine.kernel.root.joinpath(QUEUES).exists():
        return Finding(Level.OK, "the kernel has NFQUEUE")
    missing = [name for name in QUEUE if modules.state(machine.kernel, name) is ModuleState.MISSING]
    if missing:
        what = f"found no kernel module {' and no '.join(missing)}: the gate may not be able to judge packets"
        return Finding(Level.WARN, what, "a kernel with CONFIG_NETFILTER_XT_TARGET_NFQUEUE is wanted")
    return Finding(Level.OK, "the kernel has NFQUEUE")


def repair(machine: Machine) -> Finding:
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        except PermissionError:
            what = "whether connections can be rebuilt (TCP_REPAIR) only root can tell"
            return Finding(Level.WARN, what, "run `twinhub doctor` as root")
        except OSError as error:
            what = f"this kernel cannot rebuild connections (TCP_REPAIR): {error.strerror}"
            return Finding(Level.FAIL, what, "use a Linux kernel of its own, no sandbox")
    return Finding(Level.OK, "the kernel can rebuild connections (TCP_REPAIR)")


def processes(machine: Machine) -> Finding:
    if machine.status is None:
        return Finding(Level.OK, "gate and keeper are asked when the daemon runs")
    if not carried(machine):
        return Finding(Level.OK, "gate and keeper are asked when there is a sibling")
    silent = [name for name, answers in guards(machine).items() if not answers]
    if silent:
        what = f"{' and '.join(silent)} {'do' if silent[1:] else 'does'} not answer: no group can move here"
        return Finding(Level.FAIL, what, START)
    return Finding(Level.OK, "gate and keeper answer")


def sibling(machine: Machine) -> Finding:
    if machine.status is None:
        return Finding(Level.OK, "whether groups are protected is looked at when the daemon runs")
    if not carried(machine):
        what = "this appliance has no sibling yet: its groups wait"
        return Finding(Level.WARN, what, "say `twinhub pair` here, and what it prints on the other one")
    bare = [name for name, group in carried(machine).items() if not group["protected"]]
    if bare:
        what = f"not protected: {', '.join(bare)}; what happens to the master is felt by clients"
        return Finding(Level.WARN, what, "`twinhub pair status` on both appliances says how they are")
    return Finding(Level.OK, "every group that is carried is protected")


def interfaces(machine: Machine) -> Finding:
    there = machine.kernel.root.joinpath("sys/class/net")
    for table in machine.config.groups:
        if not (there / table.interface).exists():
            what = f"group {table.name}: there is no network interface {table.interface}"
            return Finding(Level.FAIL, what, f"name one of those in `ip -br link` in [[group]] {table.name}")
    return Finding(Level.OK, "the groups' network interfaces are there")


def secrets(machine: Machine) -> Finding:
    """The selectors' keys: there, of a fit size, closed to others, and open to the daemon."""
    for table in machine.config.groups:
        spec = parse_spec(table.selector, table.name)
        if spec.kind not in KEYED:
            continue
        path = Path(spec.options.get("key", keys.DEFAULT))
        try:
            keys.read_key(path)
        except ConfigError as error:
            return Finding(Level.FAIL, str(error), 'docs/selectors.md, "The key"')
        if (user := machine.config.paths.user) and not may_read(user, path):
            what = f"the daemon, as user {user}, may not read the selector's key {path}"
            return Finding(Level.FAIL, what, f"chgrp {user} {path} && chmod 640 {path}")
    return Finding(Level.OK, "the selectors' keys are for the daemon alone, where there are any")


def may_read(user: str, path: Path) -> bool:
    try:
        who = pwd.getpwnam(user)
    except KeyError:
        return True  # the daemon says so itself
    about = path.stat()
    groups = [who.pw_gid, *(group.gr_gid for group in grp.getgrall() if user in group.gr_mem)]
    owns = who.pw_uid == about.st_uid and about.st_mode & stat.S_IRUSR
    return bool(who.pw_uid == 0 or owns or (about.st_gid in groups and about.st_mode & stat.S_IRGRP))


def selectors(machine: Machine) -> Finding:
    for table in machine.config.groups:
        if wrong := wrong_selector(machine, table):
            return wrong
    return Finding(Level.OK, "every selector answers, or is asked when the daemon runs; leases fit")


def wrong_selector(machine: Machine, table: GroupTable) -> Finding | None:
    """What is wrong with this group's, if anything."""
    spec = parse_spec(table.selector, table.name)
    if group := carried(machine).get(table.name):
        lease = group["selector"]["lease"]
        if not group["selector"]["answers"]:
            what = f"group {table.name}: its selector {table.selector} does not answer"
            return Finding(Level.FAIL, what, "without it there is no takeover; docs/selectors.md")
    elif spec.kind in ASKED:
        try:
            lease = asyncio.run(lease_of(table))
        except TwinhubError as error:
            return Finding(Level.FAIL, f"group {table.name}: {error}", "without it there is no takeover")
    else:
        return None
    if lease and lease <= table.lease:
        what = f"group {table.name}: the selector's lease is {lease:g} s, its own {table.lease:g} s, not less"
        return Finding(Level.FAIL, what, "lower `lease` in [[group]] on both, or raise the selector's")
    return None


async def lease_of(table: GroupTable) -> float:
    selector = open_selector(table.selector, table.name)
    try:
        await selector.look()
        return selector.lease
    finally:
        await selector.close()


def pings(machine: Machine) -> Finding:
    pinged = [table.name for table in machine.config.groups if any(not each.port for each in table.targets)]
    file = machine.kernel.root / "proc/sys/net/ipv4/ping_group_range"
    if pinged and file.exists() and machine.kernel.read(file).strip() == NOBODY_PINGS:
        what = f"nobody may ping here: the network of {', '.join(pinged)} is not judged"
        return Finding(Level.WARN, what, "sysctl -w net.ipv4.ping_group_range='0 2147483647'")
    return Finding(Level.OK, "the groups' targets can be asked, where there are any")


def carried(machine: Machine) -> dict[str, Json]:
    """The groups, by name, as the daemon tells them; none without a daemon or a sibling."""
    return {group["name"]: group for group in (machine.status or {}).get("groups", [])}


def guards(machine: Machine) -> dict[str, bool]:
    return (machine.status or {}).get("guards") or {}


GROUP_CHECKS: Final[Sequence[Callable[[Machine], Finding]]] = (
    programs,
    queue,
    repair,
    processes,
    sibling,
    interfaces,
    secrets,
    selectors,
    pings,
)
