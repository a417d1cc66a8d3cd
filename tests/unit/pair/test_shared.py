"""What one appliance remembers the other comes to remember, whatever they did meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.exports import entries
from appliance.exports.store import Store
from appliance.pair.pairing import Pair
from appliance.pair.port import listen
from appliance.pair.settings import PairTable
from appliance.pair.shared import Shared, Sharing
from appliance.security.identity import identity_in
from tests.unit.pair.appliances import QUICK

Json = dict[str, Any]


class Side:
    """An appliance's memory, and the words that are on their way to it."""

    def __init__(self) -> None:
        self.store = Store(Path(":memory:"), clock=count(1000).__next__)
        self.changed: list[set[str]] = []
        self.shared = Shared(self.store, self.changed.append)
        self.coming: list[Json] = []

    def memory(self) -> tuple[Any, ...]:
        return self.store.rules(), self.store.names(), self.store.gadgets(), self.store.audit()


class Two:
    """The link between them loses all that is on its way when it is cut."""

    def __init__(self) -> None:
        self.sides = Side(), Side()
        self.up = False

    def connect(self) -> None:
        self.cut()
        self.up = True
        for n in (0, 1):
            self.say(n, self.sides[n].shared.up())

    def cut(self) -> None:
        self.up = False
        for side in self.sides:
            side.coming.clear()

    def say(self, n: int, message: Json | None) -> None:
        if self.up and message is not None:
            self.sides[1 - n].coming.append(json.loads(json.dumps(message)))

    def deliver(self, n: int) -> None:
        if self.sides[n].coming:
            self.say(n, self.sides[n].shared.hear(self.sides[n].coming.pop(0)))

    def do(self, n: int, change: Callable[[Store], object]) -> None:
        change(self.sides[n].store)
        self.say(n, self.sides[n].shared.news())

    def settle(self) -> None:
        while any(side.coming for side in self.sides):
            self.deliver(0)
            self.deliver(1)


@contextmanager
def two_sides() -> Iterator[Two]:
    two = Two()
    yield two
    for side in two.sides:
        side.store.close()


@pytest.fixture
def two() -> Iterator[Two]:
    with two_sides() as made:
        made.connect()
        made.settle()
        yield made


def share(serial: str) -> Callable[[Store], object]:
    return lambda store: store.add_rule({"serial": serial})


def forget_first(store: Store) -> None:
    for id, _ in store.rules()[:1]:
        store.forget_rule(id)


def test_what_is_done_on_one_is_on_both(two: Two) -> None:
    two.do(0, share("A"))
    two.do(0, lambda store: store.remember_names({"0403:6001:A": "lab"}))
    two.do(1, lambda store: store.add_gadget("stick", {"name": "stick"}))
    two.do(1, lambda store: store.note("share", "share-1"))
    two.settle()
    assert two.sides[0].memory() == two.sides[1].memory()
    assert two.sides[1].store.rules() == [("share-1", {"serial": "A"})]
    assert two.sides[1].store.names() == {"0403:6001:A": "lab"}
    assert {"rule"} <= set().union(*two.sides[1].changed)
    assert {"gadget", "audit"} <= set().union(*two.sides[0].changed)


def test_what_was_forgotten_during_a_cut_does_not_come_back(two: Two) -> None:
    two.do(0, share("A"))
    two.settle()
    two.cut()
    two.do(1, forget_first)
    two.connect()
    two.settle()
    assert two.sides[0].store.rules() == two.sides[1].store.rules() == []


def test_two_rules_of_one_number_are_told_apart_alike(two: Two) -> None:
    two.cut()
    two.do(0, share("A"))
    two.do(1, share("B"))
    two.connect()
    two.settle()
    rules = two.sides[0].store.rules()
    assert rules == two.sides[1].store.rules()
    assert [id for id, _ in rules] == ["share-1-2", "share-1"]
    two.do(0, lambda store: store.forget_rule("share-1-2"))
    two.settle()
    assert two.sides[1].store.rules() == rules[1:]
    assert two.sides[1].store.add_rule({"serial": "C"}) == "share-2"


def test_a_new_one_gets_all_in_pieces(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "BATCH", 100)
    two.cut()
    for n in range(20):
        two.do(0, share(str(n)))
    two.connect()
    two.settle()
    assert two.sides[1].memory() == two.sides[0].memory()
    assert len(two.sides[1].changed) > 5


changes = st.one_of(
    st.sampled_from("ABC").map(share),
    st.just(forget_first),
    st.tuples(st.sampled_from("ab"), st.sampled_from("xy")).map(
        lambda pair: lambda store: store.remember_names(dict([pair]))
    ),
    st.sampled_from("gh").map(lambda name: lambda store: store.add_gadget(name, {"name": name})),
    st.sampled_from("gh").map(lambda name: lambda store: store.forget_gadget(name)),
    st.just(lambda store: store.note("kick", "lab")),
)
events = st.lists(
    st.tuples(
        st.sampled_from(["do", "do", "deliver", "deliver", "deliver", "cut", "connect"]),
        st.integers(0, 1),
        changes,
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(events)
def test_both_remember_the_same_after_any_history(history: list[tuple[str, int, Any]]) -> None:
    with two_sides() as two:
        for what, n, change in history:
            match what:
                case "do":
                    two.do(n, change)
                case "deliver":
                    two.deliver(n)
                case "cut":
                    two.cut()
                case "connect":
                    two.connect()
        two.connect()
        two.settle()
        assert two.sides[0].memory() == two.sides[1].memory()
        assert two.sides[0].store.have() == two.sides[1].store.have()


@pytest.mark.parametrize(
    "said",
    [{}, {"have": []}, {"have": {"a": -1}}, {"have": {"a": True}}, {"have": {"": 1}}, {"want": {"a": 1.5}},
     {"entries": {}, "more": False, "have": {}}, {"entries": [[1]], "more": False, "have": {}},
     {"entries": [["rule", "k", 1, "a", {"number": "x"}]], "more": False, "have": {}},
     {"entries": [["audit", "k", 1, "a", [1, 2, 3, 4]]], "more": False, "have": {}},
     {"entries": [["name", "k", 1 << 63, "a", None]], "more": False, "have": {}}],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_changes_nothing(two: Two, said: Json) -> None:
    before = two.sides[0].memory()
    with pytest.raises(ProtocolError):
        two.sides[0].shared.hear(said)
    assert two.sides[0].memory() == before


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=5)
            | st.dictionaries(st.sampled_from(["have", "want", "entries", "more", "a"]), inner)
        ),
    )
)
def test_any_word_is_understood_or_refused(said: Any) -> None:
    with two_sides() as two:
        try:
            two.sides[0].shared.hear(said)
        except ProtocolError:
            pass


async def test_over_the_link_a_change_on_one_is_on_both(tmp_path: Path) -> None:
    pairs, stores, changes = [], [], [asyncio.Event(), asyncio.Event()]
    sharings = []
    for n in (0, 1):
        (listener,) = listen(["127.0.0.1"], 0)
        table = PairTable(("127.0.0.1",), listener.getsockname()[1], (), 3.0)
        pair = Pair(identity_in(tmp_path / str(n)), table, str(n), pace=QUICK)
        store = Store(tmp_path / str(n) / "state.db")

        async def changed(kinds: set[str], n: int = n) -> None:
            changes[n].set()

        sharing = Sharing(pair, store, changed)
        store.watch(sharing.changed_here)
        await pair.start([listener])
        pairs.append(pair)
        stores.append(store)
        sharings.append(sharing)
    stores[0].add_rule({"serial": "before"})
    await pairs[1].join("127.0.0.1", pairs[0].status()["port"], pairs[0].show_code()["code"])
    await changes[1].wait()
    changes[0].clear()
    stores[1].add_rule({"serial": "after"})
    await changes[0].wait()
    assert stores[0].rules() == stores[1].rules()
    assert len(stores[0].rules()) == 2
    for each in (*sharings, *pairs):
        await each.close()
    for store in stores:
        store.close()
