"""What a rule matches, and which rule decides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.exports.rules import behind, first_match
from appliance.exports.words import parse_rule

from .plugged import device, hub, keyboard


def matches(table: dict[str, object], candidate) -> bool:
    return first_match([parse_rule("config-1", table)], candidate) is not None


@pytest.mark.parametrize(
    "table",
    [
        {"busid": "1-1.2"},
        {"device": "0403:6001"},
        {"serial": "A1"},
        {"identity": "0403:6001:A1"},
        {"hub": "1-1"},
        {"hub": "usb1"},
        {"port": "1-1.2"},
        {"port": "1-1"},
        {"any": True},
        {"device": "0403:6001", "serial": "A1"},
    ],
)
def test_a_device_is_matched_by(table: dict[str, object]) -> None:
    assert matches(table, device("1-1.2", "0403:6001", "A1"))


@pytest.mark.parametrize(
    "table",
    [
        {"busid": "1-1"},
        {"busid": "1-1.20"},
        {"device": "0403:6010"},
        {"serial": "A"},
        {"identity": "0403:6001"},
        {"hub": "1-1.2"},
        {"hub": "usb11"},
        {"port": "1-1.20"},
        {"port": "1-1.2.1"},
        {"class": "hid"},
        {"device": "0403:6001", "serial": "B2"},
    ],
)
def test_a_device_is_not_matched_by(table: dict[str, object]) -> None:
    assert not matches(table, device("1-1.2", "0403:6001", "A1"))


def test_vid_and_pid_are_hex_in_either_case() -> None:
    assert matches({"device": "0ABC:00FF"}, device(ids="0abc:00ff"))


def test_an_identity_without_serial_holds_at_its_place_only() -> None:
    here, there = device("1-1", serial=None), device("1-2", serial=None)
    assert matches({"identity": here.identity}, here)
    assert not matches({"identity": here.identity}, there)


def test_an_identity_with_serial_still_matches_when_a_twin_is_plugged_in() -> None:
    alone = device()
    beside_a_twin = replace(alone, identity=f"{alone.identity}@{alone.place}")
    assert matches({"identity": alone.identity}, beside_a_twin)


@pytest.mark.parametrize("word", ["hid", "03"])
def test_a_class_is_that_of_the_device_or_of_an_interface(word: str) -> None:
    assert matches({"class": word}, keyboard())
    assert matches({"class": word}, device(device_class=3))


@pytest.mark.parametrize(
    ("above", "busid", "is_behind"),
    [
        ("1-1", "1-1.2", True),
        ("1-1", "1-1.2.3", True),
        ("1-1", "1-1", False),
        ("1-1", "1-10", False),
        ("1-1", "11-1.2", False),
        ("usb1", "1-1", True),
        ("usb1", "1-1.2", True),
        ("usb1", "usb1", False),
        ("usb1", "11-1", False),
    ],
)
def test_behind_a_hub_is_what_hangs_on_it_however_deep(above: str, busid: str, is_behind: bool) -> None:
    assert behind(above, busid) is is_behind


@pytest.mark.parametrize("table", [{"any": True}, {"hub": "usb1"}, {"busid": "1-1"}, {"device": "0424:9514"}])
def test_no_rule_matches_a_hub(table: dict[str, object]) -> None:
    assert not matches(table, hub("1-1"))


@pytest.mark.parametrize("table", [{"any": True}, {"busid": "1-1.2"}])
def test_no_rule_matches_what_is_imported_over_usbip(table: dict[str, object]) -> None:
    assert not matches(table, device("1-1.2", is_vhci=True))


@pytest.mark.parametrize("wide", [{"any": True}, {"hub": "1-1"}, {"port": "1-1"}, {"class": "hid"}])
def test_what_is_built_in_needs_a_rule_that_names_it(wide: dict[str, object]) -> None:
    built_in = keyboard("1-1.4", removable=False)
    assert not matches(wide, built_in)
    assert matches({"identity": built_in.identity}, built_in)
    assert matches(wide | {"device": "0627:0001"}, built_in)


def test_the_first_matching_rule_decides() -> None:
    rules = [
        parse_rule("share-2", {"device": "0627:0001", "exclude": True}),
        parse_rule("share-1", {"hub": "1-1"}),
        parse_rule("config-1", {"any": True}),
    ]
    assert [first_match(rules, d).id for d in (keyboard("1-1.4"), device("1-1.2"), device("2-1"))] == [
        "share-2",
        "share-1",
        "config-1",
    ]
