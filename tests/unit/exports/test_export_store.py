"""What `twinhub share` made, names and the audit trail outlive the daemon."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import NotFound, Refused, Unavailable
from appliance.exports import store as module
from appliance.exports.store import AuditEntry, Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "twinhub.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path, clock=iter(range(1000, 10_000)).__next__)
    yield opened
    opened.close()


def test_rules_come_newest_first(store: Store) -> None:
    assert store.add_rule({"hub": "1-1"}) == "share-1"
    assert store.add_rule({"serial": "A1", "name": "lab"}) == "share-2"
    assert store.rules() == [("share-2", {"serial": "A1", "name": "lab"}), ("share-1", {"hub": "1-1"})]


def test_a_rule_replaces_the_one_with_the_same_conditions(store: Store) -> None:
    store.add_rule({"serial": "A1", "device": "0403:6001", "exclude": True})
    store.add_rule({"device": "0403:6001", "serial": "A1", "name": "lab"})
    assert store.rules() == [("share-2", {"device": "0403:6001", "serial": "A1", "name": "lab"})]


def test_the_id_of_a_forgotten_rule_is_not_used_again(store: Store) -> None:
    store.forget_rule(store.add_rule({"hub": "1-1"}))
    assert store.add_rule({"hub": "1-1"}) == "share-2"


@pytest.mark.parametrize("id", ["share-9", "config-1", "share-", "x"])
def test_a_rule_that_is_not_there_cannot_be_forgotten(store: Store, id: str) -> None:
    with pytest.raises(NotFound, match=f"there is no rule {id}"):
        store.forget_rule(id)


def test_gadgets_are_remembered_until_they_are_forgotten(store: Store, path: Path) -> None:
    for name in ("stick", "kiosk"):
        store.add_gadget(name, {"definition": {"name": name}})
    store.add_gadget("kiosk", {"definition": {"name": "other"}})
    store.forget_gadget("stick")
    store.forget_gadget("nothing")
    again = Store(path)
    assert again.gadgets() == {"kiosk": {"definition": {"name": "other"}}}
    again.close()


def test_gadgets_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GADGETS", 1)
    store.add_gadget("stick", {})
    with pytest.raises(Refused, match="gadget remove"):
        store.add_gadget("kiosk", {})


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_from_before_there_were_pairs_is_taken_over(path: Path, version: int) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.executescript(f"{BEFORE_PAIRS}; INSERT INTO schema VALUES ({version})")
        if version == 2:
            database.executescript(SINCE_GADGETS)
    database.close()
    for _ in range(2):
        store = Store(path)
        assert store.rules() == [("share-7", {"serial": "A1"}), ("share-3", {"hub": "1-1"})]
        assert store.names() == {"A": "pen"}
        assert store.audit() == [AuditEntry(5.0, "share", "share-3", ""), AuditEntry(6.0, "kick", "pen", "x")]
        assert store.gadgets() == ({"stick": {"name": "stick"}} if version == 2 else {})
        store.close()
    store = Store(path)
    assert store.add_rule({"hub": "1-2"}) == "share-8"
    store.close()


BEFORE_PAIRS = """
CREATE TABLE schema (version INTEGER NOT NULL);
CREATE TABLE rules (number INTEGER PRIMARY KEY AUTOINCREMENT, match TEXT NOT NULL UNIQUE, rule TEXT NOT NULL);
CREATE TABLE names (identity TEXT PRIMARY KEY, name TEXT NOT NULL, used REAL NOT NULL);
CREATE TABLE audit (number INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, action TEXT NOT NULL,
                    target TEXT NOT NULL, detail TEXT NOT NULL);
INSERT INTO rules VALUES (3, '{"hub": "1-1"}', '{"hub": "1-1"}'), (7, '{"serial": "A1"}', '{"serial": "A1"}');
INSERT INTO names VALUES ('A', 'pen', 1.0);
INSERT INTO audit (time, action, target, detail) VALUES (5, 'share', 'share-3', ''), (6, 'kick', 'pen', 'x')
"""
SINCE_GADGETS = """
CREATE TABLE gadgets (name TEXT PRIMARY KEY, gadget TEXT NOT NULL);
INSERT INTO gadgets VALUES ('stick', '{"name": "stick"}')
"""


def test_names_are_remembered_and_replaced(store: Store) -> None:
    store.remember_names({"A": "pen", "B": "lab"})
    store.remember_names({"B": "lab-2"})
    assert store.names() == {"A": "pen", "B": "lab-2"}


def test_names_that_are_remembered_already_cost_no_write(path: Path) -> None:
    now = [1000.0]
    store = Store(path, clock=lambda: now[0])
    writes = path.with_name("twinhub.db-wal").stat

    def written(names: dict[str, str]) -> bool:
        before = writes().st_size
        store.remember_names(names)
        return writes().st_size > before

    assert written({"A": "pen", "B": "lab"})
    assert not written({"A": "pen"})
    assert written({"A": "lab-2"})
    now[0] += module.DAY
    assert written({"A": "lab-2"})
    store.close()


def test_the_audit_trail_tells_who_did_what_and_when(store: Store) -> None:
    store.note("share", "share-1", "uid 0: --hub 1-1")
    store.note("attach", "lab", "10.0.0.7")
    assert store.audit() == [
        AuditEntry(1000, "share", "share-1", "uid 0: --hub 1-1"),
        AuditEntry(1001, "attach", "lab", "10.0.0.7"),
    ]
    assert [entry.action for entry in store.audit(limit=1)] == ["attach"]


def test_everything_is_there_after_a_restart(store: Store, path: Path) -> None:
    store.add_rule({"hub": "1-1"})
    store.remember_names({"A": "pen"})
    store.note("share", "share-1")
    store.close()
    again = Store(path)
    assert (again.rules(), again.names()) == ([("share-1", {"hub": "1-1"})], {"A": "pen"})
    assert len(again.audit()) == 1
    again.close()


def test_what_was_done_survives_a_power_cut(store: Store, path: Path, tmp_path: Path) -> None:
    store.add_rule({"hub": "1-1"})
    frozen = tmp_path / "frozen"
    shutil.copytree(path.parent, frozen)
    after = Store(frozen / path.name)
    assert after.rules() == [("share-1", {"hub": "1-1"})]
    after.close()


def test_every_commit_waits_for_the_disk(store: Store) -> None:
    assert store._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_nothing_grows_without_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RULES", 3)
    monkeypatch.setattr(module, "MAX_NAMES", 3)
    monkeypatch.setattr(module, "MAX_AUDIT", 3)
    for n in range(5):
        store.note("kick", str(n))
        store.remember_names({f"device {n}": f"name-{n}"})
    assert [entry.target for entry in store.audit()] == ["2", "3", "4"]
    assert sorted(store.names()) == ["device 2", "device 3", "device 4"]
    for n in range(3):
        store.add_rule({"serial": str(n)})
    with pytest.raises(Refused, match="there are 3 rules already"):
        store.add_rule({"serial": "3"})
    assert store.add_rule({"serial": "2", "name": "lab"}) == "share-4"


def test_a_refused_rule_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add_rule({"serial": "1"})
    monkeypatch.setattr(module, "MAX_RULES", 0)
    with pytest.raises(Refused):
        store.add_rule({"serial": "1", "name": "lab"})
    assert store.rules() == [("share-1", {"serial": "1"})]


def test_calls_may_come_from_any_thread(store: Store) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: store.note("kick", str(n)), range(40)))
    assert len(store.audit()) == 40


def test_a_directory_that_cannot_be_made_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match=r"cannot use .*file/twinhub\.db: .*must exist, be writable"):
        Store(tmp_path / "file" / "twinhub.db")


def test_a_damaged_file_is_named_with_what_to_do(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(
        Unavailable, match=r"is damaged: .* Move it away .* those of the configuration file are not"
    ):
        Store(path)


def test_a_file_of_another_version_is_left_alone(store: Store, path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE schema SET version = 99")
    database.close()
    with pytest.raises(Unavailable, match="another version of Twinhub"):
        Store(path)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("healthy") / "twinhub.db"
    store = Store(path)
    store.add_rule({"hub": "1-1"})
    store.note("share", "share-1")
    store.close()
    return path.read_bytes()


PLACE = st.floats(0, 1, exclude_max=True)


@settings(max_examples=50, derandomize=True, database=None)
@given(spots=st.lists(st.tuples(PLACE, st.integers(0, 255)), min_size=1, max_size=8), kept=st.none() | PLACE)
def test_a_file_damaged_anywhere_opens_or_is_refused_in_a_sentence(
    healthy: bytes,
    tmp_path_factory: pytest.TempPathFactory,
    spots: list[tuple[float, int]],
    kept: float | None,
) -> None:
    damaged = bytearray(healthy)
    for place, byte in spots:
        damaged[int(place * len(damaged))] = byte
    path = tmp_path_factory.mktemp("damaged") / "twinhub.db"
    path.write_bytes(damaged if kept is None else damaged[: int(kept * len(damaged))])
    try:
        store = Store(path)
    except Unavailable:
        return
    try:
        store.rules(), store.names(), store.audit()
    except Unavailable:
        pass
    finally:
        store.close()
