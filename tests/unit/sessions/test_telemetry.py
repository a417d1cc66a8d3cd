"""Counters and percentiles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.sessions.telemetry import Counters, Telemetry, bucket, middle, percentile

times = st.integers(0, 1 << 62)


@given(times)
def test_a_bucket_stands_for_its_values_within_a_sixteenth(value: int) -> None:
    assert abs(middle(bucket(value)) - value) <= value / 16


@given(times, times)
def test_buckets_are_in_the_order_of_their_values(one: int, other: int) -> None:
    assert (bucket(one) <= bucket(other)) or one > other


@given(st.lists(times, min_size=1), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_within_a_sixteenth_of_the_exact_one(values: list[int], fraction: float) -> None:
    counters = Counters()
    for value in values:
        counters.count(value, 0, 1)
    ordered = sorted(values)
    exact = next(v for n, v in enumerate(ordered, 1) if n >= fraction * len(ordered))
    found = percentile(counters.latency, fraction)
    assert found is not None
    assert abs(found - exact) <= exact / 16


def test_without_values_there_is_no_percentile() -> None:
    assert percentile({}, 0.5) is None


def test_the_report_sums_up_by_direction() -> None:
    telemetry = Telemetry()
    telemetry.of(0x81).count(2000, 0, 512)
    telemetry.of(0x02).count(1000, -32, 0)
    telemetry.of(0x02).count(1000, 0, 31)
    telemetry.of(0x83)
    report = telemetry.report({0x81: 3})
    assert (report["urbs"], report["bytes_in"], report["bytes_out"]) == (3, 512, 31)
    assert (report["errors"], report["in_flight"]) == (1, 3)
    assert list(report["endpoints"]) == ["0x02", "0x81"]
    assert report["endpoints"]["0x81"]["latency_us"] == {"p50": 2.0, "p90": 2.0, "p99": 2.0}


@given(st.dictionaries(st.integers(0, 255), st.lists(st.tuples(times, st.integers(-200, 0), times))))
def test_counters_survive_being_written_down(counted: dict[int, list[tuple[int, int, int]]]) -> None:
    telemetry = Telemetry()
    for address, values in counted.items():
        for value in values:
            telemetry.of(address).count(*value)
    assert Telemetry.thaw(telemetry.freeze()).report({}) == telemetry.report({})
