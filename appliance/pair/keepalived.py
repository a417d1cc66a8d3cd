"""keepalived's configuration, of groups: a pure function from frozen values to text.

keepalived detects and elects, but runs no script and reads nothing that others may write. What we know goes
in by one small file a group, what it decides comes out of one FIFO.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Final

from appliance.errors import UsageError
from appliance.exports import names
from appliance.pair.settings import HIGHEST_VRID, INTERFACE, GroupTable

FIT: Final = 0
FAULT: Final = -254
"""What makes keepalived give a group up at once; anything between it and FIT lowers the priority."""
MOST: Final = 32
"""Groups of one appliance."""


@dataclass(frozen=True, slots=True)
class Link:
    """The two appliances' own addresses, between which advertisements go. UsageError for what is no pair."""

    own: str
    sibling: str

    def __post_init__(self) -> None:
        unlike = self.own == self.sibling or version(self.own) != version(self.sibling)
        if unlike or "/" in self.own + self.sibling:
            raise UsageError(f"{self.own} and {self.sibling} are not two addresses of one family")


@dataclass(frozen=True, slots=True)
class Instance:
    """What keepalived needs to know of a group; UsageError for what it must not be told."""

    name: str
    vrid: int
    interface: str
    address: str
    """With its prefix length."""
    priority: int
    advert: float

    def __post_init__(self) -> None:
        within = (
            names.is_name(self.name)
            and "/" in self.address
            and version(self.address)
            and re.fullmatch(INTERFACE, self.interface, re.ASCII)
            and 1 <= self.vrid <= HIGHEST_VRID
            and 1 <= self.priority <= 254
            and 0.01 <= self.advert <= 40
        )
        if not within:
            raise UsageError(f"{self.name[:31]!r} cannot be a group of keepalived's; see [[group]]")


@dataclass(frozen=True, slots=True)
class Places:
    """The files between keepalived and us, in a directory that is root's alone."""

    directory: Path

    @property
    def configuration(self) -> Path:
        return self.directory / "keepalived.conf"

    @property
    def fifo(self) -> Path:
        return self.directory / "transitions"

    @property
    def addresses(self) -> Path:
        """Which addresses keepalived may have left behind, one `ADDRESS/LENGTH INTERFACE` a line."""
        return self.directory / "addresses"

    def health(self, name: str) -> Path:
        return self.directory / f"{name}.health"

    def pid(self, which: str) -> Path:
        return self.directory / f"{which}.pid"


def instance_of(group: GroupTable) -> Instance:
    return Instance(group.name, group.vrid, group.interface, str(group.address), group.priority, group.advert)


def version(address: str) -> int:
    """4 or 6; UsageError for what is no IP address, with its prefix length or without."""
    try:
        made = ip_interface(address)
    except ValueError:
        made = None
    if made is None or address not in (str(made), str(made.ip)) or "%" in address:
        raise UsageError(f"{address[:50]!r} is no IP address as it is usually written")
    return made.version


def configuration(instances: Sequence[Instance], link: Link, places: Places) -> str:
    """What keepalived reads."""
    return "\n".join([HEAD.format(fifo=places.fifo), *(section(one, link, places) for one in instances)])


def section(one: Instance, link: Link, places: Places) -> str:
    """A group: its health, and its instance.

    Both appliances start as backups, and who is there first stays: a fail-back is a switchover of ours, for
    keepalived knows of no moment at which the clients would not notice.
    """
    return SECTION.format(
        name=one.name,
        health=places.health(one.name),
        interface=one.interface,
        vrid=one.vrid,
        priority=one.priority,
        advert=f"{one.advert:.2f}",
        own=link.own,
        sibling=link.sibling,
        address=one.address,
    )


def command(places: Places, binary: str = "keepalived") -> list[str]:
    """In the foreground, VRRP alone; when its child dies it ends, so that one place starts it again: ours."""
    return [
        binary, "--dont-fork", "--vrrp", "--dont-respawn", "--log-console", "--no-syslog",
        f"--use-file={places.configuration}",
        f"--pid={places.pid('keepalived')}",
        f"--vrrp_pid={places.pid('vrrp')}",
    ]  # fmt: skip


def addresses(instances: Sequence[Instance]) -> str:
    """What `Places.addresses` says of them."""
    return "".join(f"{one.address} {one.interface}\n" for one in instances)


HEAD: Final = """\
# Written by twinhub; it is written anew whenever the groups change.
global_defs {{
    router_id twinhub
    enable_script_security
    vrrp_version 3
    vrrp_notify_fifo {fifo} root
    dynamic_interfaces
    vrrp_check_unicast_src
    vrrp_garp_interval 0.02
    vrrp_garp_master_repeat 5
    vrrp_garp_master_delay 1
    vrrp_garp_master_refresh 30
    vrrp_garp_master_refresh_repeat 1
    vrrp_no_swap
    max_auto_priority -1
}}
"""

SECTION: Final = """\
track_file {name} {{
    file "{health}"
    weight 1
}}
vrrp_instance {name} {{
    state BACKUP
    interface {interface}
    virtual_router_id {vrid}
    priority {priority}
    advert_int {advert}
    nopreempt
    unicast_src_ip {own}
    unicast_ttl 255
    unicast_peer {{
        {sibling} min_ttl 255 max_ttl 255
    }}
    track_file {{
        {name}
    }}
    virtual_ipaddress {{
        {address} dev {interface}
    }}
}}
"""
