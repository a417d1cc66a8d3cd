"""A pair's groups for Prometheus, each by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

from appliance.api.facade import Json

ROLES: Final = ("out", "backup", "joining", "standby", "promoting", "master", "yielding")
GAUGES: Final[dict[str, tuple[str, Callable[[Json], float]]]] = {
    "epoch": ("The newest epoch that is known here.", lambda group: group["epoch"]),
    "in_sync": ("Whether the backup has the contents.", lambda group: group["in_sync"]),
    "protected": ("Whether outputs wait for the backup.", lambda group: group["protected"]),
    "healthy": ("Whether this appliance is fit to carry it.", lambda group: group["healthy"]),
    "selector_up": ("Whether the selector answers.", lambda group: group["selector"]["answers"]),
}
COUNTERS: Final = {
    "kept": ("sessions_kept", "Sessions whose clients noticed no takeover."),
    "lost": ("sessions_lost", "Sessions that a takeover ended."),
}


def of_the_groups(groups: list[Json]) -> Iterator[Metric]:
    role = GaugeMetricFamily(
        "twinhub_group_role", "1 for the role that it has here.", labels=["group", "role"]
    )
    for group in groups:
        for each in ROLES:
            role.add_metric([group["name"], each], each == group["role"])
    yield role
    for name, (text, value) in GAUGES.items():
        gauge = GaugeMetricFamily(f"twinhub_group_{name}", text, labels=["group"])
        for group in groups:
            gauge.add_metric([group["name"]], value(group))
        yield gauge
    yield from takeovers(groups)


def takeovers(groups: list[Json]) -> Iterator[Metric]:
    done = CounterMetricFamily(
        "twinhub_group_takeovers", "Takeovers to here; lossy: a session was lost.", labels=["group", "result"]
    )
    seconds = SummaryMetricFamily(
        "twinhub_group_takeover_seconds",
        "From the beginning of a takeover to each of its steps.",
        labels=["group", "step"],
    )
    for group in groups:
        for result in ("whole", "lossy"):
            done.add_metric([group["name"], result], group["counts"][result])
        for name, step in group["counts"]["steps"].items():
            seconds.add_metric([group["name"], name], step["count"], step["seconds"])
    yield done
    yield seconds
    for field, (name, text) in COUNTERS.items():
        counter = CounterMetricFamily(f"twinhub_group_{name}", text, labels=["group"])
        for group in groups:
            counter.add_metric([group["name"]], group["counts"][field])
        yield counter
