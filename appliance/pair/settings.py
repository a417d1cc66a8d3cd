"""How a pair and its groups are written: one table of keys for `[pair]`, one for `[[group]]`."""

from __future__ import annotations

import ipaddress
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any, Literal

from appliance.errors import UsageError
from appliance.explain import BadKey
from appliance.exports import names
from appliance.exports.keys import (
    NETWORKS,
    SWITCH,
    Key,
    Kind,
    Network,
    address,
    choice,
    items,
    read,
    require,
    seconds,
    whole,
)
from appliance.exports.words import shaped
from appliance.pair.model import MS, Group, NodeId, Timers
from appliance.pair.selector.spec import parse_spec

Interface = IPv4Interface | IPv6Interface

HIGHEST_VRID = 255
INTERFACE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}"


@dataclass(frozen=True, slots=True)
class PairTable:
    """Where the sibling connects, and how long the daemon may be silent."""

    listen: tuple[str, ...]
    port: int
    allow: tuple[Network, ...]
    stall: float


@dataclass(frozen=True, slots=True)
class Target:
    """Who answers as long as we are on the network: a ping, or the opening of a TCP connection."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port else self.host
        return f"{host}:{self.port}" if self.port else host


@dataclass(frozen=True, slots=True)
class GroupTable:
    """One `[[group]]`: exports that move together, with a virtual address and a selector of their own."""

    name: str
    exports: tuple[str, ...]
    hub: str | None
    address: Interface
    interface: str
    priority: int
    preempt: bool
    preempt_after: float
    serve_stale: bool
    selector: str
    takeover: Literal["auto", "hide", "replug"]
    lease: float
    advert: float
    vrid: int
    targets: tuple[Target, ...]
    every: float
    lost: int
    back: int
    errors: int
    hold_down: float


def _name(found: object) -> str:
    require(isinstance(found, str) and names.is_name(found))
    return str(found)


def _address(found: object) -> Interface:
    require(isinstance(found, str) and "/" in found)
    made = ipaddress.ip_interface(str(found))
    host = made.ip
    require(not (host.is_unspecified or host.is_multicast or host.is_loopback) and "%" not in str(made))
    lone = made.network.num_addresses <= 2
    require(lone or host not in (made.network.network_address, made.network.broadcast_address))
    return made


def _target(found: object) -> Target:
    require(isinstance(found, str))
    if made := re.fullmatch(r"\[(.+)\]:([0-9]{1,5})|([^:]+):([0-9]{1,5})", str(found), re.ASCII):
        port = int(made[2] or made[4])
        require(0 < port < 1 << 16)
        return Target(address(made[1] or made[3]), port)
    return Target(address(found))


def _selector(found: object) -> str:
    require(isinstance(found, str) and found.isprintable())
    try:
        return parse_spec(str(found)).text
    except UsageError as error:
        raise BadKey("selector", str(error).removeprefix(f"selector {found!r}: ")) from None


PAIR_KEYS = (
    Key("listen", items(address, 'a list of IP addresses such as ["192.168.7.2"]'), (),
        "The addresses where the other appliance connects; it proves itself by its key. None: this appliance"
        " is alone."),
    Key("port", whole(1, 65535, "a port"), 3242,
        "The TCP port there, the same on both appliances."),
    Key("allow", NETWORKS, (),
        "The networks it may connect from.",
        "any: a stranger has no key"),
    Key("stall", seconds(0.2, 60), 3.0,
        "Seconds without a sign of life from the daemon, dead or stalled, after which its groups go to the"
        " other appliance. Longer than a restart takes: that needs no takeover."),
)  # fmt: skip

GROUP_KEYS = (
    Key("name", Kind(names.WANTED, _name), None,
        "The name of the group, the same on both appliances."),
    Key("exports", items(_name, "a list of the names of exports", least=1), None,
        "The gadgets that it consists of. Either this or `hub`."),
    Key("hub", shaped(r"[0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3}){0,6}", 'the busid of a hub such as "1-1"'), None,
        "The shared hub that it consists of: where it appears on this appliance when the selector gives it to"
        " us. It may differ on the other one."),
    Key("address", Kind('an address with its network, such as "192.168.7.100/24"', _address), None,
        "The virtual address: clients attach to it, and it is where the master is."),
    Key("interface", shaped(INTERFACE, 'the name of a network interface such as "eth0"'),
        None,
        "The network interface that gets it."),
    Key("selector", Kind('a selector such as "witness:10.0.0.9:3243", "arbiter:/dev/ttyACM0",'
        ' "gpio:/dev/gpiochip0:17", "command:/usr/local/bin/select"', _selector), None,
        "Who grants the group to one appliance at a time. Both name the same one."),
    Key("priority", whole(1, 254), 100,
        "The higher of the two becomes master where nobody is. Give two groups opposite priorities and each"
        " appliance carries one."),
    Key("preempt", SWITCH, False,
        "Whether the appliance with the higher priority takes the group back when it has returned; else the"
        " other one keeps it."),
    Key("preempt_after", seconds(0, 86400), 30.0,
        "Seconds for which it must have been in sync without a break before it does."),
    Key("serve_stale", SWITCH, False,
        "Whether the other appliance serves older contents, rather than none, when the one with the newest is"
        " gone."),
    Key("takeover", choice("auto", "hide", "replug"), "auto",
        "What a client sees when its device moves to the other appliance. `hide`: nothing; `replug`:"
        " that it was unplugged and plugged in again; `auto`: what suits the device's class."),
    Key("lease", seconds(0.5, 60), 2.0,
        "Seconds for which a master without a backup may go on after the selector last heard of it; less than"
        " the selector's own lease."),
    Key("advert", seconds(0.01, 40), 0.02,
        "Seconds between the master's VRRP advertisements, in hundredths; the backup takes over when a little"
        " more than three are missing. The same on both appliances."),
    Key("vrid", whole(1, HIGHEST_VRID), None,
        "The VRRP router id, the same on both appliances and unlike any other on this network.",
        "made of `name`"),
    Key("targets", items(_target, 'a list of addresses to ping, or to open a TCP port of, such as'
        ' ["192.168.7.1", "192.168.7.9:22"]'), (),
        "Machines that answer while this appliance is on the network: a gateway, a server. One of them silent"
        " is that one's fault; all of them silent is ours, unless the other appliance does not hear them"
        " either. A TCP port that refuses answers too.",
        "`[]`: only the link of `interface` is judged"),
    Key("every", seconds(0.02, 60), 0.2,
        "Seconds between two probes of a target, and between two looks at everything else."),
    Key("lost", whole(1, 1000), 5,
        "So many bad looks in a row make a cause of failure."),
    Key("back", whole(1, 1000), 10,
        "So many good ones in a row end it."),
    Key("errors", whole(0, 1_000_000), 0,
        "Failed URBs of one device within a minute that make the group move; 0: never, for a broken device is"
        " as broken on the other appliance."),
    Key("hold_down", seconds(0, 1000), 10.0,
        "Seconds for which a cause of failure stays one at the least, so that a flapping link cannot make the"
        " roles flap."),
)  # fmt: skip

GROUP_HELP = """What moves between the two appliances of a pair as a whole: the devices behind a shared hub,
or gadgets. One appliance is its master, the other its backup. Every group stands in the configuration of
both.

```toml
[[group]]
name = "bench"
hub = "1-1"
address = "192.168.7.100/24"
interface = "eth0"
selector = "arbiter:/dev/ttyACM0"
priority = 150
targets = ["192.168.7.1", "192.168.7.9"]

[[group]]
name = "keyboards"
exports = ["keyboard", "mouse"]
address = "192.168.7.101/24"
interface = "eth0"
selector = "witness:192.168.7.9:3243"
```"""

MUST = ("name", "address", "interface", "selector")


def parse_group(table: Mapping[str, Any], earlier: Sequence[GroupTable] = ()) -> GroupTable:
    """What `table` writes; BadKey for what is wrong in it, alone or beside the `earlier` ones."""
    value = read(GROUP_KEYS, table)
    for key in GROUP_KEYS:
        if key.name in MUST and value[key.name] is None:
            raise BadKey(key.name, f"is missing; wanted {key.kind.wanted}")
    if (value["exports"] is None) == (value["hub"] is None):
        raise BadKey("hub" if value["hub"] else "", "of what does it consist? Give either `exports` or `hub`")
    value["exports"] = value["exports"] or ()
    value["vrid"] = value["vrid"] or vrid_of(value["name"])
    made = GroupTable(**value)
    for other in earlier:
        compare(made, other)
    return made


def compare(made: GroupTable, other: GroupTable) -> None:
    """BadKey for what two groups may not share."""
    if made.name == other.name:
        raise BadKey("name", f"there is another {made.name!r} further up; give this one another name")
    if made.address.ip == other.address.ip:
        raise BadKey("address", f"{made.address.ip} is the address of {other.name!r}; each group has its own")
    if made.vrid == other.vrid:
        raise BadKey(
            "vrid", f"{made.vrid} is that of {other.name!r} too; give this one another `vrid`, on both sides"
        )
    if made.hub and made.hub == other.hub:
        raise BadKey("hub", f"{made.hub} is the hub of {other.name!r}; a hub moves as a whole")
    if both := set(made.exports) & set(other.exports):
        raise BadKey("exports", f"{min(both)!r} is in {other.name!r}; an export is in one group")


def group_of(table: GroupTable, priorities: Mapping[NodeId, int]) -> Group:
    """The group as the pair's protocol knows it, with the `priorities` of both appliances."""
    lease = round(table.lease * 1000) * MS
    return Group(
        name=table.name,
        exports=table.exports,
        address=str(table.address),
        interface=table.interface,
        priorities=priorities,
        preempt=table.preempt,
        serve_stale=table.serve_stale,
        selector=table.selector,
        timers=Timers(lease=lease, renew=lease // 4, hold=round(table.preempt_after * 1000) * MS),
    )


def vrid_of(name: str) -> int:
    """The router id that both appliances make of a group's name."""
    return zlib.crc32(name.encode()) % HIGHEST_VRID + 1
