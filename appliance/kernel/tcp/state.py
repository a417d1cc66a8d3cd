"""What must be known of a connection to build it again elsewhere. Pure; positions count modulo 2^32."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from appliance.errors import PeerError, UsageError
from appliance.kernel.tcp.segment import Endpoint, Segment, distance, seq

CLOCK_MARGIN_MS = 1000
"""Covers the way of the facts from one appliance to the other."""
CLOCK_STEP_MS = 2
"""After what the client has seen; the kernel keeps even numbers only."""
CLOCK_DRIFT = 1000
"""One part in so many: two clocks that differ by more are broken."""
CLOCK_LIMIT_MS = 1 << 30
"""A client forgets a timestamp after 24 days (RFC 7323 §5.5); an older estimate is as good as none."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Of a live connection: what its handshake agreed on, and where both streams stood at one moment."""

    local: Endpoint
    remote: Endpoint
    seq_in: int
    """The sequence number of the first byte that the program has not yet read."""
    seq_out: int
    """The sequence number of the next byte that the program writes."""
    mss: int
    sack: bool
    snd_wscale: int | None
    """None, and so the other: windows are not scaled."""
    rcv_wscale: int | None
    timestamp: int | None
    """Our timestamp clock, in ms; None: no timestamps are sent."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Facts:
        """UsageError unless it is what `to_plain` gives."""
        try:
            return cls(**_checked(plain))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"these are no facts of a TCP connection: {error}") from error


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The state to restore; of what was written, `tail` bytes before `snd` may be missing at the client."""

    facts: Facts
    rcv: int
    """The sequence number of the next byte from the client."""
    snd: int
    """The sequence number after the last byte that was written."""
    clock: int | None
    """The timestamp clock now."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Rebuild:
        """UsageError unless it is what `to_plain` gives."""
        try:
            facts, clock = Facts.from_plain(plain["facts"]), plain["clock"]
            rcv, snd = _number(plain["rcv"], 0xFFFFFFFF), _number(plain["snd"], 0xFFFFFFFF)
            return cls(facts, rcv, snd, None if clock is None else _number(clock, 0xFFFFFFFF))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"this is no TCP connection to rebuild: {error}") from error


@dataclass(frozen=True, slots=True)
class Standpoint:
    """What the client's answer to a probe tells."""

    missing: int
    """How many bytes of the tail it has not got."""
    unheard: int
    """How many bytes it has sent after `Rebuild.rcv`."""
    window: int
    """How many bytes after its acknowledgement it takes."""
    clock: int | None
    """Our timestamp clock, now known to be after all that the client has seen."""
    echo: int
    """The client's timestamp clock."""


def rebuild_of(facts: Facts, bytes_in: int, bytes_out: int, elapsed_ms: int) -> Rebuild:
    """Where the connection stands after these bytes since the facts were read, `elapsed_ms` ago."""
    clock = None
    if facts.timestamp is not None:
        elapsed = min(max(elapsed_ms, 0), CLOCK_LIMIT_MS)
        clock = seq(facts.timestamp + elapsed + elapsed // CLOCK_DRIFT + CLOCK_MARGIN_MS)
    return Rebuild(facts, seq(facts.seq_in + bytes_in), seq(facts.seq_out + bytes_out), clock)


def standpoint(rebuild: Rebuild, tail: int, answer: Segment) -> Standpoint:
    """PeerError where nothing can be built that goes on: bytes are gone that one side believes delivered."""
    missing, unheard = distance(answer.ack, rebuild.snd), distance(rebuild.rcv, answer.seq)
    if not 0 <= missing <= tail:
        raise PeerError(f"{_name(rebuild)} lacks {missing} bytes of ours, of which the last {tail} are known")
    if unheard < 0:
        raise PeerError(f"{_name(rebuild)} has sent {-unheard} bytes fewer than were received")
    clock, echo = rebuild.clock, 0
    if clock is not None and answer.timestamps:
        echo, seen = answer.timestamps
        clock = seq(clock + max(0, distance(clock, seen + CLOCK_STEP_MS)))
    return Standpoint(missing, unheard, answer.window << (rebuild.facts.snd_wscale or 0), clock, echo)


def _name(rebuild: Rebuild) -> str:
    address, port = rebuild.facts.remote
    return f"the client at {address} port {port}"


def _checked(plain: Mapping[str, Any]) -> dict[str, Any]:
    if set(plain) != {field.name for field in fields(Facts)}:
        raise ValueError("other names are in it")
    return {
        "local": _endpoint(plain["local"]),
        "remote": _endpoint(plain["remote"]),
        "seq_in": _number(plain["seq_in"], 0xFFFFFFFF),
        "seq_out": _number(plain["seq_out"], 0xFFFFFFFF),
        "mss": _number(plain["mss"], 0xFFFF),
        "sack": plain["sack"] is True,
        **{
            name: None if plain[name] is None else _number(plain[name], limit)
            for name, limit in (("snd_wscale", 14), ("rcv_wscale", 14), ("timestamp", 0xFFFFFFFF))
        },
    }


def _endpoint(plain: Any) -> Endpoint:
    address, port = plain
    return str(ipaddress.ip_address(address)), _number(port, 0xFFFF)


def _number(value: Any, limit: int) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise ValueError(f"{value!r} is no number from 0 to {limit}")
    return value
