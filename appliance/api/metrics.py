"""The appliance's figures for Prometheus: what the facade tells now, and two counters the daemon keeps.

`Metrics` fits `prometheus_client.CollectorRegistry.register`, but needs no registry. Figures of a session are
labelled with its export, so a series goes on from session to session (Prometheus takes the fall for a reset).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from appliance.api.facade import Appliance, Json
from appliance.api.group_metrics import of_the_groups

FRESH_SECONDS: Final = 1.0
"""Figures so young are told again: whoever asks in a hurry costs the sessions nothing."""
STATES: Final = ("available", "in use", "error", "absent")
MODES: Final = ("relayed", "direct", "gadget")
QUANTILES: Final = {"p50": "0.5", "p90": "0.9", "p99": "0.99"}
COUNTED: Final = {
    "urbs": ("twinhub_urbs", "URBs completed."),
    "bytes": ("twinhub_urb_bytes", "Bytes moved by URBs."),
    "errors": ("twinhub_urb_errors", "URBs completed with an error."),
    "unlinked": ("twinhub_urbs_unlinked", "URBs cancelled by the client."),
    "refused": ("twinhub_urbs_refused", "URBs answered without asking the device."),
}
"""The counters of an endpoint, see `appliance.sessions.telemetry`."""


@dataclass(frozen=True)
class Figures:
    """What the facade told at one moment."""

    status: Json
    devices: list[Json]
    exports: list[Json]
    sessions: list[Json]


class Metrics:
    """The daemon counts in `kicks` (by who ended the session) and `refusals` (by the error's name)."""

    def __init__(self, appliance: Appliance, clock: Callable[[], float] = time.monotonic) -> None:
        self.kicks: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self._appliance = appliance
        self._clock = clock
        self._figures: Figures | None = None
        self._taken_at = 0.0
        self._taking = asyncio.Lock()
        self._process = ProcessCollector(registry=None)

    async def refresh(self) -> None:
        async with self._taking:
            if self._figures and self._clock() - self._taken_at < FRESH_SECONDS:
                return
            self._figures = Figures(
                await self._appliance.status(),
                self._appliance.devices(),
                self._appliance.exports(),
                await self._appliance.sessions(),
            )
            self._taken_at = self._clock()

    def collect(self) -> Iterator[Metric]:
        yield counter("kicks", "Sessions ended by force, by whom.", "by", self.kicks)
        yield counter("imports_refused", "Imports refused, by the error's name.", "reason", self.refusals)
        yield from self._process.collect()
        if self._figures:
            yield from of_the_house(self._figures)
            yield from of_the_sessions(self._figures.sessions)
            yield from of_the_groups(self._figures.status["groups"])


def of_the_house(figures: Figures) -> Iterator[Metric]:
    status = figures.status
    states = dict.fromkeys(STATES, 0) | Counter(export["state"] for export in figures.exports)
    modes = dict.fromkeys(MODES, 0) | Counter(session["mode"] for session in figures.sessions)
    yield gauge("build_info", "Which Twinhub this is.", "version", {status["version"]: 1})
    yield number("uptime_seconds", "Seconds since the daemon started.", status["uptime"])
    yield number("helper_up", "Whether the privileged helper answers.", status["helper"])
    if guards := status["guards"]:
        yield gauge("guard_up", "Whether the root processes that groups need answer.", "guard", guards)
    yield gauge("module_loaded", "Whether the kernel module is loaded.", "module", status["modules"])
    yield number("devices", "USB devices plugged in, hubs included.", len(figures.devices))
    yield gauge("exports", "Exports, by state.", "state", states)
    yield gauge("sessions", "Sessions, by how they run.", "mode", modes)


def of_the_sessions(sessions: list[Json]) -> Iterator[Metric]:
    """By export, direction and endpoint; a direct session has no figures, its URBs pass us by."""
    told = [(session["export"], session["stats"]) for session in sessions if session["stats"]]
    labels = ("export", "direction", "endpoint")
    counted = {
        field: CounterMetricFamily(name, text, labels=labels) for field, (name, text) in COUNTED.items()
    }
    in_flight = GaugeMetricFamily("twinhub_urbs_in_flight", "URBs not yet answered.", labels=labels)
    latency = GaugeMetricFamily(
        "twinhub_urb_latency_seconds",
        "From forwarding an URB to its answer, over the session.",
        labels=(*labels, "quantile"),
    )
    for export, stats in told:
        for address, endpoint in stats["endpoints"].items():
            place = (export, "in" if int(address, 16) & 0x80 else "out", address)
            for field, family in counted.items():
                family.add_metric(place, endpoint[field])
            in_flight.add_metric(place, endpoint["in_flight"])
            for percentile, quantile in QUANTILES.items():
                if (microseconds := endpoint["latency_us"][percentile]) is not None:
                    latency.add_metric((*place, quantile), microseconds / 1e6)
    yield from counted.values()
    yield in_flight
    yield latency


def counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return filled(CounterMetricFamily(f"twinhub_{name}", text, labels=[label]), values)


def gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return filled(GaugeMetricFamily(f"twinhub_{name}", text, labels=[label]), values)


def number(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"twinhub_{name}", text, value)


def filled(family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float]) -> Metric:
    for label, value in values.items():
        family.add_metric([label], value)
    return family
