"""When an appliance is unfit to carry a group, and for how long."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import parse
from appliance.pair import health
from appliance.pair.health import (
    MINUTE,
    MOST_DEVICES,
    Cause,
    ErrorRate,
    Health,
    Rule,
    Sibling,
    Targets,
    Verdict,
    is_on_network,
    judged,
)
from appliance.pair.keepalived import FAULT, FIT

RULE = Rule(lost=5, back=10, hold_down=10.0)
LOOKS = st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=300)
RULES = st.builds(Rule, lost=st.integers(1, 6), back=st.integers(1, 12), hold_down=st.floats(0, 30))


def history(looks: list[tuple[bool, float]], rule: Rule) -> list[tuple[float, bool, Verdict]]:
    """(when, what was seen, the verdict then) of looks that are so many seconds after each other."""
    told, verdict, now = [], Verdict(), 0.0
    for is_good, later in looks:
        now += later
        verdict = judged(verdict, rule, is_good, now)
        told.append((now, is_good, verdict))
    return told


def after(looks: str, rule: Rule = RULE, every: float = 1.0) -> str:
    """The verdicts on `looks`, both written as + and -."""
    told = history([(look == "+", every) for look in looks], rule)
    return "".join("+" if verdict.is_good else "-" for _, _, verdict in told)


def test_five_bad_looks_in_a_row_are_a_failure_and_ten_good_ones_its_end() -> None:
    assert after("----+-----" + "+" * 9 + "-" + "+" * 10) == "+" * 9 + "-" * 20 + "+"


def test_a_failure_stands_for_its_hold_down_however_good_the_looks_are() -> None:
    assert after("-----" + "+" * 30, every=0.5) == "++++" + "-" * 20 + "+" * 11


def test_the_good_looks_during_the_hold_down_count() -> None:
    assert after("-" + "+" * 12, Rule(1, 3, 10.0)) == "-" * 10 + "+" * 3


@given(LOOKS, RULES)
def test_what_flaps_cannot_flap_more_often_than_the_hold_down_allows(
    looks: list[tuple[bool, float]], rule: Rule
) -> None:
    told = [(0.0, True, Verdict()), *history(looks, rule)]
    falls = [now for (_, _, was), (now, _, verdict) in pairwise(told) if was.is_good > verdict.is_good]
    rises = [now for (_, _, was), (now, _, verdict) in pairwise(told) if was.is_good < verdict.is_good]
    assert all(rise - fall >= rule.hold_down for fall, rise in zip(falls, rises, strict=False))
    assert all(later - fall >= rule.hold_down for fall, later in pairwise(falls))


@given(LOOKS, RULES)
def test_no_verdict_changes_without_so_many_looks_in_a_row(
    looks: list[tuple[bool, float]], rule: Rule
) -> None:
    told = [(0.0, True, Verdict()), *history(looks, rule)]
    for at, ((_, _, was), (_, _, verdict)) in enumerate(pairwise(told)):
        if was.is_good != verdict.is_good:
            needed = rule.lost if was.is_good else rule.back
            assert [is_good for is_good, _ in looks[at + 1 - needed : at + 1]] == [verdict.is_good] * needed


def test_a_group_is_unfit_while_any_cause_holds() -> None:
    state = Health({Cause.HUB: Rule(1, 1, 5), Cause.NETWORK: Rule(1, 1, 0)})
    assert (state.causes, state.delta) == ((), FIT)
    state.look(Cause.HUB, False, 0)
    state.look(Cause.NETWORK, False, 0)
    assert (state.causes, state.delta) == ((Cause.HUB, Cause.NETWORK), FAULT)
    state.look(Cause.NETWORK, True, 1)
    state.look(Cause.HUB, True, 1)
    assert (state.causes, state.delta) == ((Cause.HUB,), FAULT)
    state.look(Cause.HUB, True, 5)
    assert (state.causes, state.delta) == ((), FIT)


def test_each_cause_has_its_rule() -> None:
    (group,) = parse("""
        [[group]]
        name = "bench"
        hub = "1-1"
        address = "192.168.7.100/24"
        interface = "eth0"
        selector = "arbiter:/dev/ttyACM0"
        lost = 3
        back = 7
        hold_down = 20
    """).groups
    made = health.rules(group)
    assert made.keys() == set(Cause)
    assert made[Cause.NETWORK] == Rule(3, 7, 20)
    assert made[Cause.HUB] == made[Cause.ERRORS] == Rule(1, 7, 20)


@pytest.mark.parametrize(
    ("answers", "sibling", "is_fit"),
    [
        ((), Sibling.SILENT, True),  # nothing to be judged by
        ((True, False, False), Sibling.SILENT, True),  # a silent target is that target's fault
        ((True, True), Sibling.BLIND, True),
        ((False, False), Sibling.SEES, False),  # the other one hears them: it is us
        ((False, False), Sibling.SILENT, False),  # nobody answers at all: it is us
        ((False, False), Sibling.BLIND, True),  # nobody hears them: they, or the network
    ],
)
def test_the_network_is_judged_by_several(answers: tuple[bool, ...], sibling: Sibling, is_fit: bool) -> None:
    assert is_on_network(answers, sibling) == is_fit


def test_one_silent_target_is_known_by_name() -> None:
    targets = Targets(("gateway", "server"), Rule(2, 3, 0))
    for _ in range(2):
        targets.heard({"gateway": True, "server": False}, 0)
    assert targets.silent == ("server",)
    for _ in range(3):
        targets.heard({"gateway": True, "server": True}, 1)
    assert targets.silent == ()


def test_the_errors_of_the_last_minute_count_for_each_device_alone() -> None:
    rate = ErrorRate()
    for second in range(50):
        rate.count("dongle", 2, second + 0.5)
        rate.count("disk", 1, second)
    assert rate.worst(50) == 100
    assert rate.worst(80) == 2 * 29
    assert rate.worst(110) == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 20)), max_size=100))
def test_errors_are_forgotten_after_a_minute_and_not_before(counts: list[tuple[int, float]]) -> None:
    rate, times = ErrorRate(), list(accumulate(later for _, later in counts))
    for (failed, _), now in zip(counts, times, strict=True):
        rate.count("x", failed, now)
    end = times[-1] if times else 0.0
    ages = [(failed, end - now) for (failed, _), now in zip(counts, times, strict=True)]
    surely = sum(failed for failed, age in ages if age <= MINUTE - 1)
    perhaps = sum(failed for failed, age in ages if age < MINUTE + 1)
    assert surely <= rate.worst(end) <= perhaps


def test_however_many_devices_fail_the_memory_is_bounded() -> None:
    rate = ErrorRate()
    for number in range(2 * MOST_DEVICES):
        rate.count(f"device {number}", 1, 0)
    assert len(rate._counts) == MOST_DEVICES
