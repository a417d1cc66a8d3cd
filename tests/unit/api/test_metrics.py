"""What Prometheus sees."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from appliance.api.facade import Json
from appliance.api.metrics import FRESH_SECONDS, Metrics
from tests.unit.api.fake import FakeAppliance


async def scrape(figures: ClientSession) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and the values of its labels in the order of their names."""
    async with figures.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        text = await response.text()
    families = list(text_string_to_metric_families(text))
    return {
        (s.name, *(value for _, value in sorted(s.labels.items()))): s.value
        for family in families
        for s in family.samples
    }


async def test_the_house_in_figures(figures: ClientSession) -> None:
    samples = await scrape(figures)
    expected: dict[tuple[str, ...], float] = {
        ("twinhub_build_info", "0.1.0"): 1,
        ("twinhub_devices",): 4,
        ("twinhub_exports", "available"): 1,
        ("twinhub_exports", "in use"): 1,
        ("twinhub_exports", "error"): 0,
        ("twinhub_sessions", "relayed"): 1,
        ("twinhub_sessions", "direct"): 1,
        ("twinhub_helper_up",): 1,
        ("twinhub_module_loaded", "vhci-hcd"): 0,
    }
    assert {sample: samples.get(sample) for sample in expected} == expected
    assert samples["process_open_fds",] > 0


async def test_a_session_in_figures_by_export_and_endpoint(figures: ClientSession) -> None:
    samples = await scrape(figures)
    expected: dict[tuple[str, ...], float | None] = {
        ("twinhub_urbs_total", "in", "0x81", "hasp"): 4,
        ("twinhub_urb_bytes_total", "in", "0x81", "hasp"): 2048,
        ("twinhub_urb_bytes_total", "out", "0x00", "hasp"): 96,
        ("twinhub_urb_errors_total", "out", "0x00", "hasp"): 1,
        ("twinhub_urbs_unlinked_total", "in", "0x81", "hasp"): 2,
        ("twinhub_urbs_in_flight", "in", "0x81", "hasp"): 1,
        ("twinhub_urb_latency_seconds", "out", "0x00", "hasp", "0.9"): 0.00025,
        ("twinhub_urb_latency_seconds", "in", "0x81", "hasp", "0.9"): None,
    }
    assert {sample: samples.get(sample) for sample in expected} == expected


async def test_the_groups_of_a_pair_in_figures(figures: ClientSession) -> None:
    samples = await scrape(figures)
    expected: dict[tuple[str, ...], float] = {
        ("twinhub_guard_up", "gate"): 1,
        ("twinhub_guard_up", "keeper"): 0,
        ("twinhub_group_role", "bench", "master"): 1,
        ("twinhub_group_role", "bench", "backup"): 0,
        ("twinhub_group_role", "keys", "backup"): 1,
        ("twinhub_group_epoch", "bench"): 7,
        ("twinhub_group_protected", "bench"): 1,
        ("twinhub_group_protected", "keys"): 0,
        ("twinhub_group_healthy", "keys"): 0,
        ("twinhub_group_selector_up", "keys"): 0,
        ("twinhub_group_takeovers_total", "bench", "whole"): 2,
        ("twinhub_group_takeovers_total", "bench", "lossy"): 1,
        ("twinhub_group_takeover_seconds_count", "bench", "answering"): 3,
        ("twinhub_group_takeover_seconds_sum", "bench", "answering"): 0.2,
        ("twinhub_group_sessions_kept_total", "bench"): 3,
        ("twinhub_group_sessions_lost_total", "bench"): 1,
    }
    assert {sample: samples.get(sample) for sample in expected} == expected


async def test_an_appliance_without_groups_has_no_figures_of_guards(
    figures: ClientSession, appliance: FakeAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = await appliance.status() | {"groups": [], "guards": None}

    async def alone() -> Json:
        return status

    monkeypatch.setattr(appliance, "status", alone)
    assert not [name for name, *_ in await scrape(figures) if name.startswith("twinhub_g")]


async def test_kicks_and_refusals_are_counted_by_their_reason(
    figures: ClientSession, appliance: FakeAppliance
) -> None:
    appliance.collector.kicks["operator"] += 1
    appliance.collector.refusals["Busy"] += 2
    samples = await scrape(figures)
    assert samples["twinhub_kicks_total", "operator"] == 1
    assert samples["twinhub_imports_refused_total", "Busy"] == 2


async def test_a_scraper_in_a_hurry_gets_the_same_figures(appliance: FakeAppliance) -> None:
    now, asked = 100.0, 0

    class Counting(FakeAppliance):
        async def sessions(self) -> list[Json]:
            nonlocal asked
            asked += 1
            return await super().sessions()

    metrics = Metrics(Counting(), clock=lambda: now)
    for now, expected in ((100.0, 1), (100.0 + FRESH_SECONDS / 2, 1), (100.0 + FRESH_SECONDS, 2)):  # noqa: B007
        await metrics.refresh()
        assert asked == expected


def test_a_registry_takes_it_before_anything_is_known(appliance: FakeAppliance) -> None:
    registry = CollectorRegistry()
    registry.register(Metrics(appliance))
    assert registry.get_sample_value("twinhub_devices") is None
