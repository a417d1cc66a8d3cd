"""How people make a pair, look at it and end it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.api.fake import PAIR, FakeAppliance
from tests.unit.cli.conftest import Twinhub

CODE = """\
On the other appliance, within 5 minutes:
  twinhub pair 192.168.7.2 1234-5678
The code is for one appliance; three wrong tries end it.
"""
CODE_OF_ANY_ADDRESS = """\
On the other appliance, within 5 minutes:
  twinhub pair HOST 1234-5678
The code is for one appliance; three wrong tries end it. HOST is how it reaches attic.
"""
STATUS = """\
attic (a1b2c3d4e5f6) is paired with cellar (0f1e2d3c4b5a) at 192.168.7.3
  link  up for 1 h, Twinhub 0.1.0 there
GROUP  ADDRESS           ROLE HERE  OWNER   EPOCH  IN SYNC  PROTECTED  HEALTHY
bench  192.168.7.100/24  master     attic   7      yes      yes        yes
keys   192.168.7.101/24  backup     cellar  3      no       no         no: network
  bench: came here 1 min ago in 42 ms (executed 6, answering 42); \
sessions kept: disk; lost: keyboard: the client is gone
  keys: its selector, witness:192.168.7.9, does not answer
  keys: no answer from 192.168.7.1
"""
DOWN = """\
attic (a1b2c3d4e5f6) is paired with cellar (0f1e2d3c4b5a) at 192.168.7.3
  link  down: 192.168.7.3 port 3242 does not answer
There are no groups.
"""
ALONE = "attic (a1b2c3d4e5f6) has no sibling; 'twinhub pair' makes a pair.\n"


@pytest.fixture(autouse=True)
def one_hour_after_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 3600.0)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("pair", CODE),
        ("pair status", STATUS),
        ("pair 192.168.7.3 1234-5678", "attic and cellar (192.168.7.3) are a pair now.\n"),
        ("unpair", "cellar is no sibling of this appliance any more; 'twinhub pair' makes a new pair.\n"),
    ],
)
def test_what_people_read(twinhub: Twinhub, appliance: FakeAppliance, words: str, text: str) -> None:
    said = twinhub(*words.split())
    assert (said.code, said.err, said.out) == (0, "", text)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("pair", ("pair_code",)),
        ("pair 192.168.7.3 1234-5678", ("pair_join", "192.168.7.3", 0, "1234-5678")),
        ("pair cellar.example 1234-5678 --port 7", ("pair_join", "cellar.example", 7, "1234-5678")),
        ("unpair", ("unpair",)),
    ],
)
def test_what_is_asked_of_the_daemon(
    twinhub: Twinhub, appliance: FakeAppliance, words: str, asked: tuple[Any, ...]
) -> None:
    twinhub(*words.split())
    assert appliance.asked == [asked]


@pytest.mark.parametrize("words", ["pair", "pair status", "pair 192.168.7.3 1234-5678", "unpair"])
def test_json_is_json_everywhere(twinhub: Twinhub, appliance: FakeAppliance, words: str) -> None:
    json.loads(twinhub(*words.split(), "--json").out)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"sibling": None, "link": None}, ALONE),
        (
            {
                "link": {
                    "up": False, "since": None, "problem": "192.168.7.3 port 3242 does not answer",
                    "software": None,
                },
                "groups": [],
            },
            DOWN,
        ),
    ],
)  # fmt: skip
def test_a_pair_that_is_none_or_is_cut_is_told_so(
    twinhub: Twinhub, appliance: FakeAppliance, change: dict[str, Any], text: str
) -> None:
    appliance.paired = PAIR | change
    assert twinhub("pair", "status").out == text


def test_an_appliance_that_listens_everywhere_does_not_know_its_name(
    twinhub: Twinhub, appliance: FakeAppliance
) -> None:
    appliance.paired = PAIR | {"listen": ["0.0.0.0", "::"]}
    assert twinhub("pair").out == CODE_OF_ANY_ADDRESS


def test_a_wrong_code_is_an_error(twinhub: Twinhub, appliance: FakeAppliance) -> None:
    said = twinhub("pair", "192.168.7.3", "0000-0000")
    assert (said.code, said.err) == (5, "twinhub: the code is wrong: 2 more tries\n")


def test_anything_else_is_explained(twinhub: Twinhub, appliance: FakeAppliance) -> None:
    said = twinhub("pair", "192.168.7.3")
    assert said.code == 2
    assert "twinhub pair HOST CODE" in said.err


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        ("switchover bench", "switchover"),
        ("failback bench", "fail_back"),
        ("maintenance bench", "maintenance"),
        ("maintenance bench --end", "resume"),
        ("take bench", "take"),
    ],
)
def test_an_order_is_answered_with_what_the_group_is_then(
    twinhub: Twinhub, appliance: FakeAppliance, words: str, wish: str
) -> None:
    said = twinhub(*words.split())
    assert said.out == "bench: this appliance is master now, epoch 7; its backup is in sync.\n"
    assert appliance.asked == [("order", "bench", wish)]


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ({"in_sync": False}, "master now, epoch 7; its backup is not in sync yet."),
        ({"role": "out"}, "out now, epoch 7; attic is its owner."),
        ({"role": "backup", "owner": None, "owner_name": None}, "backup now, epoch 7; nobody is its owner."),
    ],
)
def test_who_ordered_reads_where_the_group_went(
    twinhub: Twinhub, appliance: FakeAppliance, change: dict[str, Any], how: str
) -> None:
    appliance.paired = PAIR | {"groups": [PAIR["groups"][0] | change]}
    assert twinhub("maintenance", "bench").out == f"bench: this appliance is {how}\n"
