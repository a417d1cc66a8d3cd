"""A small share of the fuzz run; `make soak` does the whole."""

from __future__ import annotations

from tests.fuzz.fuzz_usbip import fuzz, fuzz_server


def test_twenty_thousand_hostile_inputs_crash_no_parser() -> None:
    tally = fuzz(20_000, seed=2)
    assert tally.crashes == 0
    assert 0 < tally.rejected < tally.inputs == 20_000


async def test_five_hundred_hostile_connections_leave_the_server_as_it_was() -> None:
    tally = await fuzz_server(500, seed=2)
    assert 0 < tally.rejected < tally.inputs == 500
