"""The table of what happens when links and parts are lost is what the model does, and what the docs say."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

from appliance.pair.table import ROWS, Row, written
from tests.unit.pair.explore import begin, serves, settle
from tests.unit.pair.explore_world import World

DOCS = Path(__file__).parents[3] / "docs"
LINKS = ("C-A", "C-B", "A-B", "A-S", "B-S")


@cache
def in_sync() -> World:
    return settle(begin(), 30)


def lose(row: Row, way: str) -> World:
    world = in_sync().clone()
    for link in row.links.split():
        ends = link[0] + link[2]
        for cut in {"out": [ends], "in": [ends[::-1]], "both": [ends, ends[::-1]]}[way]:
            world.apply(("cut", cut))
    for part in row.parts.split(", ") if row.parts else ():
        if part == "S":
            world.apply(("selector", False))
        else:
            world.apply(("pause" if part.endswith("frozen") else "crash", part[0]))
    for name in "AB":
        if not world.open("C" + name, name + "C"):
            world.apply(("health", name, False))
    return settle(world, 40)


def bring_back(world: World) -> World:
    world.apply(("mend_all",)).apply(("selector", True))
    for name, machine in world.machines.items():
        world.apply(("resume", name) if machine.node else ("start", name))
        world.apply(("health", name, True))
    return world


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.links or 'no link'}, {row.parts or 'no part'}")
def test_the_table_says_who_answers_and_who_is_master_when_all_is_back(row: Row) -> None:
    for way in ("both", "out", "in") if row.links else ("both",):
        world = lose(row, way)
        answers = serves(world, 15)
        assert (answers or "nobody") in row.answers.split(" or "), way
        back = serves(bring_back(world))
        assert back in row.after.split(" or "), way
        settle(world, 40)
        roles = [machine.node.role.value for machine in world.machines.values() if machine.node]
        assert (world.broken, sorted(roles)) == ("", ["master", "standby"]), way


def test_the_table_has_every_combination_of_lost_links() -> None:
    every = {" ".join(lost) for n in range(6) for lost in combinations(LINKS, n)}
    assert {row.links for row in ROWS if not row.parts} == every


def test_the_table_in_the_docs_is_up_to_date() -> None:
    text = (DOCS / "pairing.md").read_text()
    assert text == written(text), "run `python -m appliance.pair.table docs/pairing.md`"
