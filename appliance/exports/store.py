"""What must outlive the daemon: rules made by `twinhub share`, gadgets added, names given to devices, and the
audit trail. Both appliances of a pair have the same (`appliance.exports.entries`).

One SQLite file in the state directory. WAL and synchronous=FULL: what a call has returned from survives a
power cut. Calls wait for the disk, so the daemon makes them in a thread; a lock lets them come from any.
Everything is bounded: rules are refused beyond MAX_RULES, the oldest names and audit rows make room.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, NamedTuple

from appliance.errors import NotFound, ProtocolError, Refused, Unavailable
from appliance.exports import entries
from appliance.exports.entries import Entry, Have, get, put, values
from appliance.exports.rules import CONDITIONS

VERSION = 3
MAX_RULES = 1000
MAX_NAMES = 10_000
MAX_AUDIT = 10_000
MAX_GADGETS = 1000
DAY = 86_400.0

RULE, NAME, GADGET, AUDIT, LAST = "rule", "name", "gadget", "audit", "last"
"""Kinds of entries: a rule by its conditions, a name by identity, a gadget by name, an audit row by its
stamp; LAST has the last number that a rule was given."""


class AuditEntry(NamedTuple):
    time: float
    """Seconds since the epoch."""
    action: str
    """ "share", "unshare", "attach", "kick", …"""
    target: str
    detail: str


class Store:
    """Raises Unavailable, with what to do, when the file cannot be read or written."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._changed: Callable[[], None] = lambda: None
        self._open()

    def close(self) -> None:
        with self._lock:  # a thread whose task was cancelled may be in a transaction
            self._database.close()

    def watch(self, changed: Callable[[], None]) -> None:
        """`changed` is called, in the thread that did it, after every change made here."""
        self._changed = changed

    def rules(self) -> list[tuple[str, dict[str, Any]]]:
        """Rule ids and tables (see `appliance.exports.words`), the newest first: the order of matching."""
        with self._transaction() as database:
            return [(id, entry.value["rule"]) for id, entry in _numbered(database)]

    def add_rule(self, table: Mapping[str, Any]) -> str:
        """The new rule's id. It replaces the rule with the same conditions. Refused beyond MAX_RULES."""
        match = json.dumps({key: table[key] for key in CONDITIONS if key in table})
        with self._change() as database:
            others = [entry for entry in values(database, RULE) if entry.key != match]
            if len(others) >= MAX_RULES:
                raise Refused(
                    f"there are {MAX_RULES} rules already; 'twinhub unshare' some, or share a hub or port"
                )
            last = max((entry.value["number"] for entry in others), default=0)
            number = max(last, get(database, LAST, RULE) or 0) + 1
            put(database, LAST, RULE, number)
            put(database, RULE, match, {"number": number, "rule": dict(table)})
        return f"share-{number}"

    def forget_rule(self, id: str) -> None:
        """NotFound if there is none with this id."""
        with self._change() as database:
            entry = dict(_numbered(database)).get(id)
            if entry is None:
                raise NotFound(f"there is no rule {id}; 'twinhub rules' prints those there are")
            put(database, RULE, entry.key, None)

    def gadgets(self) -> dict[str, dict[str, Any]]:
        """Name → table (`appliance.exports.gadgets`) of the gadgets that were added."""
        with self._transaction() as database:
            return {entry.key: entry.value for entry in sorted(values(database, GADGET))}

    def add_gadget(self, name: str, table: Mapping[str, Any]) -> None:
        """Refused beyond MAX_GADGETS."""
        with self._change() as database:
            if len(values(database, GADGET)) >= MAX_GADGETS:
                raise Refused(f"there are {MAX_GADGETS} gadgets already; 'twinhub gadget remove' some")
            put(database, GADGET, name, dict(table))

    def forget_gadget(self, name: str) -> None:
        """Nothing happens where there is none."""
        with self._change() as database:
            if get(database, GADGET, name) is not None:
                put(database, GADGET, name, None)

    def names(self) -> dict[str, str]:
        """Identity → export name."""
        with self._transaction() as database:
            return {entry.key: entry.value["name"] for entry in values(database, NAME)}

    def remember_names(self, names: Mapping[str, str]) -> None:
        """Spares the disk: a name that is remembered already is written again at most once a day."""
        now = self._clock()
        with self._transaction() as database:
            known = {identity: get(database, NAME, identity) for identity in names}
        stale = {
            identity: name
            for identity, name in names.items()
            if not (old := known[identity]) or old["name"] != name or old["used"] <= now - DAY
        }
        if not stale:
            return
        with self._change() as database:
            for identity, name in stale.items():
                put(database, NAME, identity, {"name": name, "used": float(now)})
            entries.prune(database, f"kind = '{NAME}' AND value IS NOT NULL", MAX_NAMES)

    def note(self, action: str, target: str, detail: str = "") -> None:
        """Adds a row to the audit trail."""
        with self._change() as database:
            key = f"{entries.next_counter(database)} {entries.replica_of(database)}"
            put(database, AUDIT, key, [float(self._clock()), action, target, detail])
            entries.prune(database, f"kind = '{AUDIT}'", MAX_AUDIT)

    def audit(self, limit: int = 100) -> list[AuditEntry]:
        """The last `limit` rows, the newest last."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT value FROM entries WHERE kind = ? ORDER BY counter DESC, replica DESC LIMIT ?",
                (AUDIT, max(0, limit)),
            ).fetchall()
        return [AuditEntry(*json.loads(text)) for (text,) in reversed(rows)]

    # What the sibling has, and lacks

    def have(self) -> Have:
        with self._transaction() as database:
            return entries.have(database)

    def since(self, theirs: Mapping[str, int]) -> tuple[list[Entry], bool]:
        """A batch of what the sibling lacks, and whether that is all."""
        with self._transaction() as database:
            return entries.since(database, theirs)

    def merge(self, theirs: Sequence[Entry], have: Mapping[str, int]) -> set[str]:
        """Takes a batch of the sibling's over; kinds that changed. ProtocolError if it makes no sense."""
        for entry in theirs:
            if entry.value is not None and not SHAPES.get(entry.kind, lambda _: True)(entry.value):
                raise ProtocolError(f"the sibling has a {entry.kind} that makes no sense: {entry.key[:60]!r}")
        with self._transaction() as database:
            changed = entries.merge(database, theirs, have)
            entries.prune(database, f"kind = '{AUDIT}'", MAX_AUDIT)
            entries.prune(database, f"kind = '{NAME}' AND value IS NOT NULL", MAX_NAMES)
        return changed

    def _open(self) -> None:
        with self._explained():
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            with self._explained():
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = FULL")
                if (problem := self._database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                    raise sqlite3.DatabaseError(problem)
                self._migrate()
        except BaseException:
            self._database.close()
            raise

    def _migrate(self) -> None:
        with self._transaction() as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            if "schema" not in tables:
                database.execute("CREATE TABLE schema (version INTEGER NOT NULL)")
                database.execute("INSERT INTO schema VALUES (2)")
            if database.execute("SELECT version FROM schema").fetchone() in ((1,), (2,)):
                for statement in entries.SCHEMA.split(";\n"):
                    database.execute(statement)
                database.execute("INSERT INTO replica VALUES (?)", (token_hex(6),))
                _take_over(database, tables)
                database.execute("UPDATE schema SET version = ?", (VERSION,))
            found = database.execute("SELECT version FROM schema").fetchone()
        if found != (VERSION,):
            raise Unavailable(
                f"{self._path} was written by another version of Twinhub; run that version,"
                " or move the file away and share your devices again"
            )

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A transaction that the sibling is told of."""
        with self._transaction() as database:
            yield database
        self._changed()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing."""
        with self._lock, self._explained():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise Unavailable(
                f"cannot use {self._path}: {error}; its directory must exist, be writable and have space"
            ) from error
        except (
            sqlite3.Error,
            ValueError,
            TypeError,
            KeyError,
            IndexError,
        ) as error:  # a damaged cell may hold another type
            raise Unavailable(
                f"{self._path} is damaged: {error}. Move it away together with its -wal and -shm files and"
                " start again: the rules made by 'twinhub share' and the audit trail are lost, those of the"
                " configuration file are not"
            ) from error


def _numbered(database: sqlite3.Connection) -> list[tuple[str, Entry]]:
    """Rules by id, the newest first. Two that got one number on either side of a cut are told apart alike."""
    rules = sorted(values(database, RULE), key=lambda entry: (entry.value["number"], *entry[2:4]))
    times: Counter[int] = Counter()
    named = []
    for entry in rules:
        number = entry.value["number"]
        times[number] += 1
        again = f"-{times[number]}" if times[number] > 1 else ""
        named.append((f"share-{number}{again}", entry))
    return named[::-1]


def _has(value: object, **kinds: type) -> bool:
    return isinstance(value, dict) and all(type(value.get(key)) is kind for key, kind in kinds.items())


SHAPES: Final[dict[str, Callable[[Any], bool]]] = {
    RULE: lambda value: _has(value, number=int, rule=dict),
    NAME: lambda value: _has(value, name=str, used=float),
    GADGET: lambda value: isinstance(value, dict),
    AUDIT: lambda value: isinstance(value, list) and list(map(type, value)) == [float, str, str, str],
    LAST: lambda value: type(value) is int,
}
"""By kind, what an entry of the sibling's has to be."""


def _take_over(database: sqlite3.Connection, tables: set[str]) -> None:
    """What a Twinhub before there were pairs remembered."""
    if "rules" in tables:
        last = 0
        for number, match, rule in database.execute("SELECT * FROM rules ORDER BY number").fetchall():
            put(database, RULE, match, {"number": number, "rule": json.loads(rule)})
            last = number
        put(database, LAST, RULE, last)
        for identity, name, used in database.execute("SELECT * FROM names").fetchall():
            put(database, NAME, identity, {"name": name, "used": used})
        for number, *row in database.execute("SELECT * FROM audit ORDER BY number").fetchall():
            put(database, AUDIT, str(number), row)
    if "gadgets" in tables:
        for name, gadget in database.execute("SELECT * FROM gadgets").fetchall():
            put(database, GADGET, name, json.loads(gadget))
    for table in tables & {"rules", "names", "audit", "gadgets"}:
        database.execute(f"DROP TABLE {table}")
