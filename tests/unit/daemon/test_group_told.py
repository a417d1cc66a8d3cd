"""What is remembered of takeovers, and what is counted."""

from __future__ import annotations

from appliance.daemon.group_told import TIMELINES, Takeovers
from appliance.pair.timeline import Timeline


def takeover(epoch: int, *lost: str) -> Timeline:
    return Timeline("takeover", epoch, {"executed": 2.0, "answering": 40.0}, ["disk", "keyboard"], list(lost))


def test_the_latest_are_remembered_and_all_are_counted() -> None:
    takeovers = Takeovers()
    for epoch in range(TIMELINES):
        takeovers.add(takeover(epoch))
    takeovers.add(takeover(TIMELINES, "serial: the client is gone"))
    assert [each.epoch for each in takeovers.latest] == list(range(1, TIMELINES + 1))
    counts = takeovers.counts()
    assert (counts["whole"], counts["lossy"], counts["kept"], counts["lost"]) == (TIMELINES, 1, 34, 1)
    assert counts["steps"]["answering"]["count"] == TIMELINES + 1
    assert round(counts["steps"]["answering"]["seconds"], 6) == 0.68


def test_a_daemon_that_has_seen_none_counts_none() -> None:
    assert Takeovers().counts() == {"whole": 0, "lossy": 0, "kept": 0, "lost": 0, "steps": {}}
