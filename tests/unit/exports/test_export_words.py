"""A rule can be written as a table (TOML, JSON) or as the words of a command; both say the same."""

from __future__ import annotations

import argparse
import shlex
import tomllib
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import UsageError
from appliance.explain import BadKey
from appliance.exports.rules import Condition, ExportOptions
from appliance.exports.words import (
    RULE_KEYS,
    add_arguments,
    command_of,
    parse_rule,
    shared_rule,
    table_of,
    toml_of,
)

PARSER = argparse.ArgumentParser(exit_on_error=False)
add_arguments(PARSER)


def table_from(command: str) -> dict[str, Any]:
    return table_of(PARSER.parse_args(shlex.split(command)[2:]))


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(
    str.isprintable
)
BUSIDS = st.from_regex(r"[1-9]-[1-9](\.[1-9]){0,3}", fullmatch=True)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "busid": BUSIDS,
    "device": st.from_regex(r"[0-9a-f]{4}:[0-9a-f]{4}", fullmatch=True),
    "serial": TEXTS,
    "identity": TEXTS,
    "hub": BUSIDS,
    "port": BUSIDS,
    "class": st.sampled_from(["hid", "storage", "ff"]),
    "any": st.just(True),
    "exclude": st.just(True),
    "name": st.from_regex(r"[a-z][A-Za-z0-9._:-]{0,30}", fullmatch=True).filter(
        lambda n: not n.startswith("usb")
    ),
    "mode": st.sampled_from(["relayed", "direct"]),
    "allow": st.lists(
        st.sampled_from(["10.0.0.0/8", "2001:db8::/32", "192.168.7.5"]), min_size=1, max_size=3
    ),
    "take_over": st.sampled_from(["never", "same-host", "anyone"]),
    "idle": st.floats(0, 604800),
}
TABLES = st.fixed_dictionaries({"serial": TEXTS}, optional={k: v for k, v in GOOD.items() if k != "serial"})


def test_every_key_of_a_rule_is_tried_here() -> None:
    assert {key.name for key in RULE_KEYS} == set(GOOD)


@pytest.mark.parametrize(
    ("command", "table"),
    [
        ("twinhub share 1-1.2", {"busid": "1-1.2"}),
        ("twinhub share 0403:6001", {"device": "0403:6001"}),
        ("twinhub share --serial A1", {"serial": "A1"}),
        ("twinhub share --hub 1-1 --exclude", {"hub": "1-1", "exclude": True}),
        ("twinhub share --port 1-1.3 --name lab", {"port": "1-1.3", "name": "lab"}),
        ("twinhub share 0403:6001 --serial A1", {"device": "0403:6001", "serial": "A1"}),
        (
            "twinhub share --any --mode direct --allow 10.0.0.0/8 --allow ::1 --take-over never --idle 60",
            {
                "any": True,
                "mode": "direct",
                "allow": ["10.0.0.0/8", "::1"],
                "take_over": "never",
                "idle": 60.0,
            },
        ),
    ],
)
def test_the_words_of_a_command_make_a_table(command: str, table: dict[str, Any]) -> None:
    assert table_from(command) == table


def test_saying_one_thing_twice_is_an_error() -> None:
    with pytest.raises(UsageError, match="two answers"):
        table_from("twinhub share 1-1.2 --busid 1-1.3")


@given(TABLES)
def test_a_command_says_the_same_as_its_table(table: dict[str, Any]) -> None:
    assert table_from(command_of(table)) == table


@given(TABLES)
def test_toml_says_the_same_as_its_table(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml_of(table)) == {"share": [table]}


@given(TABLES)
def test_good_words_make_a_rule(table: dict[str, Any]) -> None:
    rule = parse_rule("share-1", table)
    assert Condition("serial", table["serial"]) in rule.match.conditions
    assert rule.table == table


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "nmae"]) | st.text(max_size=10), VALUES, max_size=6))
def test_any_table_is_a_rule_or_an_error_for_the_user(table: dict[str, Any]) -> None:
    try:
        rule = shared_rule("share-1", table)
    except UsageError:
        return
    assert rule.match.conditions


def test_what_a_rule_does_not_say_is_as_the_sessions_section_says() -> None:
    defaults = ExportOptions(mode="direct", take_over="never", idle_seconds=60.0)
    assert parse_rule("share-1", {"any": True}, defaults).options == defaults


def test_what_a_rule_says_wins_over_the_sessions_section() -> None:
    defaults = ExportOptions(mode="direct", take_over="never", idle_seconds=60.0)
    table = {"any": True, "mode": "relayed", "allow": ["10.0.0.7"], "take_over": "anyone", "idle": 0}
    assert parse_rule("share-1", table, defaults).options == ExportOptions(
        mode="relayed", allow=(ip_network("10.0.0.7"),), take_over="anyone", idle_seconds=None
    )


def test_conditions_are_in_one_order_however_they_were_written() -> None:
    one = parse_rule("share-1", {"serial": "A1", "device": "0403:6001"}).match
    assert one == parse_rule("share-1", {"device": "0403:6001", "serial": "A1"}).match


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({}, "which devices? Give one of busid, device,"),
        ({"name": "x"}, "which devices?"),
        ({"any": False}, "any: found false, wanted true"),
        ({"busid": "1.2"}, 'busid: found "1.2", wanted a busid such as "1-1.2"'),
        ({"device": "403:6001"}, 'device: found "403:6001", wanted VID:PID'),
        ({"class": "09"}, "not 09, a hub's"),
        ({"class": "hub"}, 'class: found "hub"'),
        ({"any": True, "name": "1-1"}, "does not look like a busid"),
        ({"any": True, "name": "x" * 32}, "at most 31 characters"),
        ({"any": True, "allow": "10.0.0.0/8"}, "allow: found"),
        ({"any": True, "allow": ["10.0.0.1/8"]}, "no bits set behind the prefix"),
        ({"any": True, "idle": "long"}, 'idle: found "long", wanted seconds from 0 to 604800'),
        ({"any": True, "idle": float("nan")}, "idle: found NaN"),
        ({"any": True, "nmae": "x"}, "nmae: unknown key; did you mean 'name'?"),
        ({"any": True, "\n": 1}, r"\n: unknown key; known are allow, any,"),
    ],
)
def test_an_error_names_the_key_what_is_there_and_what_must_be(table: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadKey) as caught:
        parse_rule("share-1", table)
    assert sentence in str(caught.value)


def test_the_source_of_a_rule_is_told_by_its_id() -> None:
    assert parse_rule("share-7", {"any": True}).source == "share"
    assert parse_rule("config-2", {"any": True}).source == "config"
