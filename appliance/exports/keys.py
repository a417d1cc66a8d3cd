"""What an operator may write: a key, the kind of its value, its default, and the sentence that explains it.

Tables of `Key`s drive the parsing of TOML and of command words, the defaults, and docs/configuration.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from appliance.explain import BadKey, did_you_mean, shown

Network = IPv4Network | IPv6Network

MAX_ITEMS = 64
"""Of any list that an operator writes."""


@dataclass(frozen=True)
class Kind:
    """A kind of value: `parse` takes what TOML gave and raises ValueError for what is not `wanted`."""

    wanted: str
    parse: Callable[[Any], Any]


@dataclass(frozen=True)
class Key:
    name: str
    kind: Kind
    default: Any
    help: str
    default_text: str = ""
    """How the documentation shows a default that TOML cannot, or that depends on the machine."""


def read(keys: Sequence[Key], table: Mapping[str, object]) -> dict[str, Any]:
    """The parsed value of every key in `keys`, defaults filled in; BadKey for the first that is wrong."""
    known = {key.name: key for key in keys}
    for name in table:
        if name not in known:
            raise BadKey(name, f"unknown key{did_you_mean(name, known)}")
    return {key.name: one(key, table[key.name]) if key.name in table else key.default for key in keys}


def one(key: Key, found: object) -> Any:
    """`found`, parsed as the value of `key`."""
    try:
        return key.kind.parse(found)
    except ValueError:
        raise BadKey(key.name, f"found {shown(found)}, wanted {key.kind.wanted}") from None


def toml(value: object) -> str:
    """A parsed value as TOML writes it."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value if isinstance(value, bool | int | float) else str(value), ensure_ascii=False)


def text(wanted: str = "a text", longest: int = 255) -> Kind:
    """A non-empty text on one line."""

    def parse(found: object) -> str:
        require(isinstance(found, str) and 0 < len(found) <= longest and found.isprintable())
        return str(found)

    return Kind(wanted, parse)


def choice(*words: str) -> Kind:
    def parse(found: object) -> object:
        require(found in words)
        return found

    return Kind("one of " + ", ".join(toml(word) for word in words), parse)


def whole(lowest: int, highest: int, what: str = "a whole number") -> Kind:
    def parse(found: Any) -> int:
        require(type(found) is int and lowest <= found <= highest)
        return int(found)

    return Kind(f"{what} from {lowest} to {highest}", parse)


def seconds(lowest: float, highest: float) -> Kind:
    def parse(found: Any) -> float:
        require(type(found) in (int, float) and lowest <= found <= highest)
        return float(found)

    return Kind(f"seconds from {lowest:g} to {highest:g}", parse)


def network(found: object) -> Network:
    """One network ("10.0.0.0/8") or address; ValueError names nothing else."""
    require(isinstance(found, str))
    return ip_network(str(found))


def items(parse: Callable[[Any], Any], wanted: str, least: int = 0) -> Kind:
    """A list of `least` to MAX_ITEMS items."""

    def parse_all(found: Any) -> tuple[Any, ...]:
        require(isinstance(found, list | tuple) and least <= len(found) <= MAX_ITEMS)
        return tuple(parse(item) for item in found)

    return Kind(wanted, parse_all)


def address(found: object) -> str:
    """One IP address, in its canonical text."""
    require(isinstance(found, str))
    return str(ip_address(str(found)))


def require(holds: bool) -> None:
    if not holds:
        raise ValueError


def switched(found: object) -> bool:
    require(isinstance(found, bool))
    return bool(found)


SWITCH = Kind("true or false", switched)
NETWORKS = items(
    network,
    'addresses or networks, with no bits set behind the prefix, such as ["192.168.7.0/24", "2001:db8::5"]',
)
