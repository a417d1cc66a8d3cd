"""The configuration: one TOML file, checked to the last key, into one frozen value.

`SECTIONS` is the one table that drives parsing, defaults and docs/configuration.md
(`python -m appliance.config --markdown` prints that page).
"""

from __future__ import annotations

import os
import pwd
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, TypeVar

from appliance.errors import ConfigError
from appliance.explain import BadKey, did_you_mean, locate, read_file, shown
from appliance.exports.gadgets import GADGET_HELP, GADGET_KEYS, GadgetTable, parse_gadget
from appliance.exports.keys import (
    NETWORKS,
    Key,
    Kind,
    Network,
    address,
    choice,
    items,
    read,
    require,
    seconds,
    toml,
    whole,
)
from appliance.exports.rules import ExportOptions, Rule
from appliance.exports.words import LONGEST_IDLE, RULE_KEYS, SHARE_HELP, parse_rule
from appliance.pair.settings import (
    GROUP_HELP,
    GROUP_KEYS,
    PAIR_KEYS,
    GroupTable,
    PairTable,
    parse_group,
)

T = TypeVar("T")

LARGEST_FILE = 1 << 20
LONGEST_PATH = 80
"""Leaves room for a session's socket below it, in the 108 bytes of sun_path (unix(7))."""


@dataclass(frozen=True)
class Listen:
    addresses: tuple[str, ...]
    port: int
    allow: tuple[Network, ...]


@dataclass(frozen=True)
class Limits:
    handshake: float
    answer: float
    half_open: int
    per_peer: int
    sessions: int


@dataclass(frozen=True)
class Status:
    address: str
    port: int


@dataclass(frozen=True)
class Paths:
    runtime: Path
    state: Path
    user: str | None


@dataclass(frozen=True)
class Log:
    level: Literal["debug", "info", "warning", "error"]
    format: Literal["text", "json"]


@dataclass(frozen=True)
class Config:
    listen: Listen
    limits: Limits
    status: Status
    paths: Paths
    sessions: ExportOptions
    """What a rule does not say."""
    log: Log
    pair: PairTable
    gadgets: tuple[GadgetTable, ...]
    """The software devices to serve."""
    rules: tuple[Rule, ...]
    """In the order of the file."""
    groups: tuple[GroupTable, ...]
    """What moves between the two appliances of a pair."""


@dataclass(frozen=True)
class Section:
    help: str
    keys: tuple[Key, ...]
    make: Callable[[dict[str, Any]], Any]
    """The section's value, from those of its keys; BadKey if they do not go together."""


def listen_of(value: dict[str, Any]) -> Listen:
    for host in value["addresses"]:
        if not ip_address(host).is_loopback and not value["allow"]:
            raise BadKey(
                "addresses",
                f"found {shown(host)}, which other machines can reach, but `allow` names no networks. USB/IP"
                ' has no passwords: name those who may use the devices, such as allow = ["192.168.7.0/24"]',
            )
    return Listen(**value)


def paths_of(value: dict[str, Any]) -> Paths:
    default = default_paths(os.environ, os.geteuid())
    return Paths(**{name: value[name] or getattr(default, name) for name in value})


def default_paths(environ: Mapping[str, str], uid: int) -> Paths:
    """Of the system's service for root, of the XDG base directories for an ordinary user."""
    if uid == 0:
        return Paths(
            Path("/run/twinhub"), Path("/var/lib/twinhub"), "twinhub" if is_user("twinhub") else None
        )

    def xdg(variable: str) -> Path | None:
        return Path(environ[variable]) / "twinhub" if environ.get(variable, "").startswith("/") else None

    runtime = xdg("XDG_RUNTIME_DIR") or Path(tempfile.gettempdir()) / f"twinhub-{uid}"
    state = xdg("XDG_STATE_HOME") or Path(environ.get("HOME", "/")) / ".local/state/twinhub"
    return Paths(runtime, state, None)


def default_file(environ: Mapping[str, str], uid: int) -> Path:
    if uid == 0:
        return Path("/etc/twinhub/twinhub.toml")
    home = environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if home.startswith("/") else Path(environ.get("HOME", "/")) / ".config"
    return base / "twinhub/twinhub.toml"


def is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _user(found: object) -> str:
    require(isinstance(found, str) and found.isprintable() and is_user(found))
    return str(found)


def _loopback(found: object) -> str:
    require(ip_address(address(found)).is_loopback)
    return address(found)


def _directory(found: object) -> Path:
    require(isinstance(found, str) and found.startswith("/") and found.isprintable())
    require(len(os.fsencode(str(found))) <= LONGEST_PATH)
    return Path(str(found))


PORT = whole(0, 65535, "a port")
DIRECTORY = Kind(f"an absolute path of at most {LONGEST_PATH} bytes", _directory)

SECTIONS: dict[str, Section] = {
    "listen": Section("Where USB/IP clients connect, and who may.", (
        Key("addresses", items(address, 'a list of IP addresses such as ["127.0.0.1", "::1"]', least=1),
            ("127.0.0.1", "::1"),
            'The addresses to listen on; "0.0.0.0" and "::" are all of this machine. One that other machines'
            " can reach needs `allow`."),
        Key("port", PORT, 3240,
            "The TCP port. Clients expect 3240; 0 takes any free one."),
        Key("allow", NETWORKS, (),
            "The networks that may connect. Loopback always may. USB/IP has no passwords and no encryption."),
    ), listen_of),
    "limits": Section("What strangers can make the appliance hold.", (
        Key("handshake", seconds(0.1, 60), 5.0,
            "Seconds in which a client must have sent its request."),
        Key("answer", seconds(0.1, 60), 10.0,
            "Seconds in which it must have taken the answer, and its device must have been made ready."),
        Key("half_open", whole(1, 4096), 128,
            "Connections in these two states at once; a further one is closed."),
        Key("per_peer", whole(1, 4096), 16,
            "How many of them may come from one address."),
        Key("sessions", whole(1, 4096), 256,
            "Devices in use at once."),
    ), lambda value: Limits(**value)),
    "sessions": Section("How devices are served where their rule does not say it.", (
        Key("mode", choice("relayed", "direct"), "relayed",
            "`relayed`: the appliance sees every URB: counters, capture, idle release, proper answers to what"
            " would break the stream. `direct`: the client's socket is given to the kernel, which alone moves"
            " the bytes."),
        Key("idle", seconds(0, LONGEST_IDLE), 0.0,
            "Seconds without a URB after which a relayed session is ended; 0: never."),
        Key("take_over", choice("never", "same-host", "anyone"), "same-host",
            "Who may take a device that is in use. `same-host`: the client address that has it, so that a"
            " client that lost its connection comes straight back; clients behind one NAT or tunnel are one"
            " host. `anyone`: whoever may import it."),
    ), lambda value: ExportOptions(
        mode=value["mode"], take_over=value["take_over"], idle_seconds=value["idle"] or None
    )),
    "status": Section("Prometheus metrics on `/metrics` and JSON on `/status`, for this machine only.", (
        Key("address", Kind('a loopback address such as "127.0.0.1"', _loopback), "127.0.0.1",
            "Where to listen."),
        Key("port", PORT, 3241,
            "The TCP port; 0 takes any free one."),
    ), lambda value: Status(**value)),
    "paths": Section("Where things are, and whose.", (
        Key("runtime", DIRECTORY, None,
            "The control socket and the running sessions; need not survive a reboot.",
            "`/run/twinhub`; of an ordinary user `$XDG_RUNTIME_DIR/twinhub`, or `twinhub-UID` in the"
            " temporary directory"),
        Key("state", DIRECTORY, None,
            "What `twinhub share` made, the names of devices and the audit trail.",
            "`/var/lib/twinhub`; of an ordinary user `$XDG_STATE_HOME/twinhub`, or `~/.local/state/twinhub`"),
        Key("user", Kind("the name of a user of this machine", _user), None,
            "The user that the daemon becomes when root starts it.",
            "`twinhub` if there is such a user, else it stays who it is"),
    ), paths_of),
    "log": Section("What the daemon says on its standard error.", (
        Key("level", choice("debug", "info", "warning", "error"), "info",
            "The least that is worth a line."),
        Key("format", choice("text", "json"), "text",
            "`json`: one object a line."),
    ), lambda value: Log(**value)),
    "pair": Section("The other appliance, once `twinhub pair` has made the two one system.", PAIR_KEYS,
        lambda value: PairTable(**value)),
}  # fmt: skip
SHARE, GADGET, GROUP = "share", "gadget", "group"
THINGS = {SHARE: "rule", GADGET: "gadget", GROUP: "group"}
"""What there may be several of, and what one of them is."""


def load(path: Path | None = None) -> Config:
    """The file at `path`; without one the default file if it exists, or else the defaults. ConfigError."""
    default = default_file(os.environ, os.geteuid())
    if path is None and not default.exists():
        return parse("", str(default))
    path = path or default
    return parse(read_file(path, LARGEST_FILE), str(path))


def parse(source: str, file: str = "twinhub.toml") -> Config:
    """The configuration that `source` writes. ConfigError names file, line, key, what is there, what must."""
    try:
        document = tomllib.loads(source)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None

    def wrong(section: str, error: BadKey, path: tuple[str, ...], nth: int = 0) -> ConfigError:
        return ConfigError(f"{file}, line {locate(source, path, nth)}: {f'{section} {error}'.lstrip()}")

    for name, found in document.items():
        if problem := misplaced(name, found):
            raise wrong("", BadKey(name, problem), (name,))
    values: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        try:
            values[name] = section.make(read(section.keys, document.get(name, {})))
        except BadKey as error:
            raise wrong(f"[{name}]", error, (name, error.key)) from None

    def each(name: str, parse: Callable[[int, Any], T]) -> tuple[T, ...]:
        parsed = []
        for nth, table in enumerate(document.get(name, [])):
            try:
                parsed.append(parse(nth, table))
            except BadKey as error:
                raise wrong(f"[[{name}]]", error, (name, error.key), nth) from None
        return tuple(parsed)

    named: set[str] = set()

    def gadget(nth: int, table: dict[str, Any]) -> GadgetTable:
        if isinstance(table.get("definition"), dict):
            raise BadKey(
                "definition", "found a table, wanted a text; a definition of your own stands in a file"
            )
        made = parse_gadget(table, values["sessions"], Path(file).absolute().parent)
        if twice := named & set(made.names):
            raise BadKey("name", f"there is another {min(twice)!r} further up; give this one another `name`")
        named.update(made.names)
        return made

    groups: list[GroupTable] = []

    def group(nth: int, table: dict[str, Any]) -> GroupTable:
        groups.append(parse_group(table, groups))
        return groups[-1]

    return Config(
        rules=each(SHARE, lambda nth, table: parse_rule(f"config-{nth + 1}", table, values["sessions"])),
        gadgets=each(GADGET, gadget),
        groups=each(GROUP, group),
        **values,
    )


def misplaced(name: str, found: object) -> str | None:
    """What is wrong with `name = found` at the top of the file."""
    if thing := THINGS.get(name):
        tables = isinstance(found, list) and all(isinstance(table, dict) for table in found)
        return None if tables else f"found {shown(found)}, wanted [[{name}]] above each {thing}"
    if name not in SECTIONS:
        return f"unknown section{did_you_mean(name, (*SECTIONS, *THINGS))}"
    return None if isinstance(found, dict) else f"found {shown(found)}, wanted the section [{name}]"


def markdown() -> str:
    """docs/configuration.md."""
    parts = [HEAD]
    for name, section in SECTIONS.items():
        parts.append(f"## [{name}]\n\n{section.help}\n\n{rows(section.keys)}")
    parts.append(f"## [[share]]\n\n{SHARE_HELP}\n\n{rows(RULE_KEYS)}")
    parts.append(f"## [[gadget]]\n\n{GADGET_HELP}\n\n{rows(GADGET_KEYS)}")
    parts.append(f"## [[group]]\n\n{GROUP_HELP}\n\n{rows(GROUP_KEYS)}")
    return "\n".join(parts)


def rows(keys: tuple[Key, ...]) -> str:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        default = key.default_text or ("" if key.default is None else f"`{toml(key.default)}`")
        lines.append(f"| `{key.name}` | {key.kind.wanted} | {default} | {key.help} |")
    return "\n".join(lines) + "\n"


HEAD = """# Configuration

<!-- Written by `python -m appliance.config --markdown > docs/configuration.md`; do not edit. -->

One TOML file: `twinhub serve --config FILE`, or else `/etc/twinhub/twinhub.toml` (of an ordinary user
`~/.config/twinhub/twinhub.toml`), or else the defaults below. Every key may be left out. A wrong key or value
is named with its line, and the daemon does not start.

```toml
[listen]
addresses = ["0.0.0.0", "::"]
allow = ["192.168.7.0/24"]

[[share]]
identity = "0403:6001:A50285BI"
name = "plc-adapter"
allow = ["192.168.7.20"]

[[share]]
class = "hid"
exclude = true

[[share]]
hub = "1-1"
idle = 3600
```

This listens for one network, shares one serial adapter with one machine of it, and everything else behind hub
1-1, except keyboards and mice, with all of it.
"""


if __name__ == "__main__":
    if sys.argv[1:] != ["--markdown"]:
        sys.exit("usage: python -m appliance.config --markdown")
    sys.stdout.write(markdown())
