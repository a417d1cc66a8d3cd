"""What a session has done: URBs, bytes, errors and latency, by endpoint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

SUB: Final = 3
"""Each power of two is split into 2**SUB buckets: a percentile is off by at most 1/16."""


def bucket(value: int) -> int:
    """The log-linear bucket of a non-negative number."""
    shift = max(value.bit_length() - SUB - 1, 0)
    return (shift << SUB) + (value >> shift)


def middle(index: int) -> int:
    """The number in the middle of a bucket."""
    shift = max((index >> SUB) - 1, 0)
    low = (index - (shift << SUB)) << shift
    return low + (1 << shift >> 1)


BUCKETS: Final = bucket((1 << 63) - 1) + 1


def percentile(histogram: Mapping[int, int], fraction: float) -> int | None:
    """The smallest bucket's middle that at least `fraction` of the values reach; None without values."""
    wanted = fraction * sum(histogram.values())
    for index in sorted(histogram):
        wanted -= histogram[index]
        if wanted <= 0:
            return middle(index)
    return None


@dataclass(slots=True)
class Counters:
    """One endpoint's totals. `latency` counts nanoseconds from forwarding a submit to seeing its answer."""

    urbs: int = 0
    bytes: int = 0
    errors: int = 0
    unlinked: int = 0
    refused: int = 0
    latency: dict[int, int] = field(default_factory=dict)

    def count(self, nanoseconds: int, status: int, moved: int) -> None:
        self.urbs += 1
        self.bytes += moved
        if status < 0:
            self.errors += 1
        shift = nanoseconds.bit_length() - SUB - 1
        index = (shift << SUB) + (nanoseconds >> shift) if shift > 0 else nanoseconds
        self.latency[index] = self.latency.get(index, 0) + 1

    def report(self, in_flight: int) -> dict[str, Any]:
        """For people and metrics: totals, and latency percentiles in microseconds."""
        microseconds = {
            name: None if (ns := percentile(self.latency, fraction)) is None else round(ns / 1000, 1)
            for name, fraction in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
        }
        totals = {name: value for name, value in asdict(self).items() if name != "latency"}
        return {**totals, "in_flight": in_flight, "latency_us": microseconds}

    def freeze(self) -> dict[str, Any]:
        return {**asdict(self), "latency": {str(index): n for index, n in self.latency.items()}}

    @classmethod
    def thaw(cls, frozen: Mapping[str, Any]) -> Counters:
        return cls(**{**frozen, "latency": {int(index): n for index, n in frozen["latency"].items()}})


class Telemetry:
    """The counters of one session by endpoint address (0x81 = IN 1; control counts as 0x00 and 0x80)."""

    def __init__(self, counters: Mapping[int, Counters] | None = None) -> None:
        self.by_address = defaultdict(Counters, counters or {})

    def of(self, address: int) -> Counters:
        return self.by_address[address]

    def report(self, in_flight: Mapping[int, int]) -> dict[str, Any]:
        """`in_flight` counts URBs by endpoint address; endpoints that were never used are left out."""
        used = {
            address: counters
            for address, counters in sorted(self.by_address.items())
            if counters.urbs or counters.unlinked or counters.refused or address in in_flight
        }
        return {
            "urbs": sum(c.urbs for c in used.values()),
            "bytes_in": sum(c.bytes for address, c in used.items() if address & 0x80),
            "bytes_out": sum(c.bytes for address, c in used.items() if not address & 0x80),
            "errors": sum(c.errors for c in used.values()),
            "unlinked": sum(c.unlinked for c in used.values()),
            "refused": sum(c.refused for c in used.values()),
            "in_flight": sum(in_flight.values()),
            "endpoints": {f"0x{a:02x}": c.report(in_flight.get(a, 0)) for a, c in used.items()},
        }

    def freeze(self) -> dict[str, Any]:
        return {str(address): counters.freeze() for address, counters in self.by_address.items()}

    @classmethod
    def thaw(cls, frozen: Mapping[str, Any]) -> Telemetry:
        return cls({int(address): Counters.thaw(counters) for address, counters in frozen.items()})
