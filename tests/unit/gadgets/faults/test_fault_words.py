"""How faults are written: in TOML, in JSON, on a command line; and that the page on them is true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import UsageError
from gadgets.definition import parse
from gadgets.faults.catalogue import FAULTS, AddFault, RemoveFault, fault_from_plain
from gadgets.faults.control import Malformed, Stall
from gadgets.faults.data import Corrupt
from gadgets.faults.fault import Until
from gadgets.usb.inputs import plain_input, read_input
from gadgets.usb.records import options, snake
from gadgets.usb.shape import DescriptorType

PAGE = (Path(__file__).parents[4] / "docs/faults.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
ROWS = {
    name: row
    for row in re.findall(r"^\| (`.*) \|$", PAGE, re.MULTILINE)
    for name in re.findall(r"`(\w+)", row.split(" | ")[0])
}


@pytest.mark.parametrize(
    ("plain", "fault"),
    [
        ({"stall": True}, Stall()),
        ({"stall": True, "endpoint": "0x81", "nth": 3}, Stall(endpoint=0x81, nth=3)),
        ({"corrupt": 2, "chance": 0.5, "until": "reset"}, Corrupt(2, chance=0.5, until=Until.RESET)),
        (
            {"malformed": "hid_report", "at": 1, "data": "0f"},
            Malformed(DescriptorType.HID_REPORT, 1, b"\x0f"),
        ),
    ],
)
def test_a_fault_is_a_table_tagged_by_its_kind(plain: dict[str, Any], fault: object) -> None:
    assert fault_from_plain(plain) == fault


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        ({"stal": True}, "did you mean 'stall'"),
        ({"stall": True, "nht": 3}, "did you mean 'nth'"),
        ({"corrupt": "two"}, 'found "two", wanted a whole number'),
        ({"stall": True, "chance": 2}, "chance is 2"),
        ({"stall": True, "nth": -1}, "nth is -1; it cannot be negative"),
        ({"stall": True, "since": 2, "before": 1}, "must be later"),
        ({"stall": True, "endpoint": 300}, "endpoint"),
        ({"throttle": 0}, "at least 1"),
        ({"long_descriptor": "device", "extra": -1}, "extra: found -1, wanted a whole number from 0"),
        ({"flapping": 0}, "at least 1"),
        ({"stuck_key": "any"}, "no key 'any'"),
        ({"reenumeration": True}, "serial: found true, wanted a text"),
    ],
)
def test_a_wrong_fault_is_told_what_is_wrong(plain: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=re.escape(problem)):
        fault_from_plain(plain)


def test_faults_come_and_go_as_local_inputs() -> None:
    kinds = (AddFault, RemoveFault)
    given = {"add_fault": {"corrupt": 2, "endpoint": 0x81}}
    added = read_input(kinds, given)
    assert added == AddFault(Corrupt(2, endpoint=0x81))
    assert read_input(kinds, plain_input(added)) == added
    assert read_input(kinds, {"remove_fault": "stall"}) == RemoveFault("stall")
    assert read_input(kinds, {"remove_fault": True}) == RemoveFault()


def test_no_fault_has_a_key_of_its_own_that_means_something_else_in_all() -> None:
    common = {option.name for option in options(Stall)}
    for kind in FAULTS:
        names = [option.name for option in options(kind)]
        assert len(names) == len(set(names))
        assert set(kind.__annotations__) & common == set()


# The page


def test_the_page_names_every_fault_with_its_keys() -> None:
    common = {option.name for option in options(Stall)}
    for kind in FAULTS:
        row = ROWS[snake(kind.__name__)]
        for option in options(kind):
            assert option.name in common or f"`{option.name}`" in row, f"{kind.__name__}.{option.name}"


def test_the_page_names_every_condition() -> None:
    for option in options(Stall):
        assert f"`{option.name}" in PAGE


@pytest.mark.parametrize("block", BLOCKS)
def test_what_the_page_shows_can_be_built(block: str) -> None:
    disk = (
        "" if "[[function]]" in block else '[[function]]\nkind = "disk"\nluns = [{ medium = "memory:1M" }]\n'
    )
    gadget = parse(disk + block, "page").build()
    gadget.close()
    assert len(tomllib.loads(block)["fault"]) > 1
