"""Which control requests a fresh device has to hear again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.sessions.history import LIMIT, History
from tests.unit.sessions.pdus import answer, relay, submit, through

SET_CONFIGURATION = bytes.fromhex("0009010000000000")
SET_INTERFACE_1_1 = bytes.fromhex("010b010001000000")
SET_LINE_CODING = bytes.fromhex("2120000000000700") + b"\x00\xc2\x01\x00\x00\x00\x08"
CONTROL_LINES_ON = bytes.fromhex("2122030000000000")
CONTROL_LINES_OFF = bytes.fromhex("2122000000000000")


def history(*requests: str, vendor: str = "0100") -> list[str]:
    """What is left of these requests without data, as hexadecimal setup bytes."""
    whole = History(bytes(8) + bytes.fromhex(vendor), [bytes.fromhex(request) for request in requests])
    return [request.hex() for request in whole.freeze()]


def test_the_last_of_each_kind_is_kept_in_the_order_of_last_use() -> None:
    both = History(b"", [CONTROL_LINES_ON, SET_LINE_CODING, SET_INTERFACE_1_1, CONTROL_LINES_OFF])
    assert both.freeze() == (SET_LINE_CODING, SET_INTERFACE_1_1, CONTROL_LINES_OFF)


def test_set_configuration_takes_the_place_of_all_before_it() -> None:
    whole = History(b"", [SET_CONFIGURATION, CONTROL_LINES_ON, SET_CONFIGURATION])
    assert whole.freeze() == (SET_CONFIGURATION,)


@pytest.mark.parametrize(
    "request_",
    ["8006000100001200", "0201000081000000", "21ff000000000000", "2123ffff00000000", "a1fe000000000100"],
    ids=["read a descriptor", "clear a halt", "reset of Bulk-Only", "send a break", "how many LUNs"],
)
def test_what_leaves_no_mark_is_not_kept(request_: str) -> None:
    assert history(request_) == []


@pytest.mark.parametrize(
    ("vendor", "one", "other"),
    [
        ("0100", "2109010200000000", "2109020200000000"),
        ("0100", "210a000400000000", "210a010400000000"),
        ("0100", "2101000100000000", "2101000200000000"),
        ("0304", "4001010100000000", "4001020200000000"),
        ("861a", "409a121300000000", "409a182500000000"),
        ("c410", "4107010100000000", "4107020200000000"),
    ],
    ids=["two reports", "two idle rates", "two controls", "DTR and RTS of FTDI", "CH34x", "CP210x"],
)
def test_two_things_are_two_entries(vendor: str, one: str, other: str) -> None:
    assert history(one, other, vendor=vendor) == [one, other]


@pytest.mark.parametrize(
    ("vendor", "old", "new"),
    [
        ("0100", "2109010201000000", "2109010201000000"),
        ("0304", "40031a0000000000", "40034e0000010000"),
        ("861a", "409a121383980000", "409a1213cc990000"),
        ("0100", "40050100000000000", "4005020000000000"),
    ],
    ids=["a report", "FTDI's baud rate", "a CH34x register", "a vendor's request"],
)
def test_a_new_value_takes_the_place_of_the_old(vendor: str, old: str, new: str) -> None:
    assert history(old[:16], new, vendor=vendor) == [new]


def test_a_history_that_had_to_forget_says_so() -> None:
    requests = [bytes((0x40, 5, 0, 0, index & 0xFF, index >> 8, 0, 0)) for index in range(LIMIT + 1)]
    whole = History(b"", requests)
    assert whole.freeze() == tuple(requests[1:])
    forgetful = History(b"")
    for request in requests:
        forgetful.note(request)
    assert not forgetful.complete
    forgetful.note(SET_CONFIGURATION)
    assert forgetful.complete


def test_a_request_of_which_data_is_missing_is_forgotten() -> None:
    forgetful = History(b"")
    forgetful.note(SET_LINE_CODING[:-1])
    assert (forgetful.freeze(), forgetful.complete) == ((), False)


@given(st.lists(st.binary(min_size=8, max_size=8).map(lambda setup: setup[:6] + bytes(2)), max_size=30))
def test_what_is_left_of_what_is_left_is_the_same(requests: list[bytes]) -> None:
    once = History(b"", requests).freeze()
    assert History(b"", once).freeze() == once


@pytest.mark.parametrize("chunk", [1, 50, 1 << 16])
def test_a_relay_remembers_what_the_device_did(chunk: int) -> None:
    session = relay()
    coding, data = SET_LINE_CODING[:8], SET_LINE_CODING[8:]
    through(session.up, submit(1, 0x00, setup=coding, data=data), chunk)
    assert session.freeze().history == ()
    through(session.down, answer(1, actual=7), chunk)
    assert session.freeze().history == (SET_LINE_CODING,)


def test_a_relay_does_not_remember_what_failed() -> None:
    session = relay()
    through(session.up, submit(1, 0x00, setup=CONTROL_LINES_ON))
    through(session.down, answer(1, status=-32))
    assert session.freeze().history == ()
