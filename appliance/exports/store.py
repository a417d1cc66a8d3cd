"""What must outlive the daemon: rules made by `twinhub share`, gadgets added, names given to devices, and the
audit trail.

One SQLite file in the state directory. WAL and synchronous=FULL: what a call has returned from survives a
power cut. Calls wait for the disk, so the daemon makes them in a thread; a lock lets them come from any.
Everything is bounded: rules are refused beyond MAX_RULES, the oldest names and audit rows make room.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from appliance.errors import NotFound, Refused, Unavailable
from appliance.exports.rules import CONDITIONS

VERSION = 2
MAX_RULES = 1000
MAX_NAMES = 10_000
MAX_AUDIT = 10_000
MAX_GADGETS = 1000
DAY = 86_400.0

SCHEMA = """
CREATE TABLE schema (version INTEGER NOT NULL);
CREATE TABLE rules (number INTEGER PRIMARY KEY AUTOINCREMENT, match TEXT NOT NULL UNIQUE, rule TEXT NOT NULL);
CREATE TABLE names (identity TEXT PRIMARY KEY, name TEXT NOT NULL, used REAL NOT NULL);
CREATE TABLE audit (number INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, action TEXT NOT NULL,
                    target TEXT NOT NULL, detail TEXT NOT NULL);
"""
SINCE_2 = "CREATE TABLE gadgets (name TEXT PRIMARY KEY, gadget TEXT NOT NULL)"


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
        self._open()

    def close(self) -> None:
        with self._lock:  # a thread whose task was cancelled may be in a transaction
            self._database.close()

    def rules(self) -> list[tuple[str, dict[str, Any]]]:
        """Rule ids and tables (see `appliance.exports.words`), the newest first: the order of matching."""
        with self._transaction() as database:
            rows = database.execute("SELECT number, rule FROM rules ORDER BY number DESC").fetchall()
        return [(f"share-{number}", json.loads(rule)) for number, rule in rows]

    def add_rule(self, table: Mapping[str, Any]) -> str:
        """The new rule's id. It replaces the rule with the same conditions. Refused beyond MAX_RULES."""
        match = json.dumps({key: table[key] for key in CONDITIONS if key in table})
        with self._transaction() as database:
            database.execute("DELETE FROM rules WHERE match = ?", (match,))
            if database.execute("SELECT count(*) FROM rules").fetchone()[0] >= MAX_RULES:
                raise Refused(
                    f"there are {MAX_RULES} rules already; 'twinhub unshare' some, or share a hub or port"
                )
            row = (match, json.dumps(dict(table)))
            number = database.execute("INSERT INTO rules (match, rule) VALUES (?, ?)", row).lastrowid
        return f"share-{number}"

    def forget_rule(self, id: str) -> None:
        """NotFound if there is none with this id."""
        number = id.removeprefix("share-")
        with self._transaction() as database:
            if not database.execute("DELETE FROM rules WHERE number = ?", (number,)).rowcount:
                raise NotFound(f"there is no rule {id}; 'twinhub rules' prints those there are")

    def gadgets(self) -> dict[str, dict[str, Any]]:
        """Name → table (`appliance.exports.gadgets`) of the gadgets that were added."""
        with self._transaction() as database:
            rows = database.execute("SELECT name, gadget FROM gadgets ORDER BY name").fetchall()
        return {name: json.loads(gadget) for name, gadget in rows}

    def add_gadget(self, name: str, table: Mapping[str, Any]) -> None:
        """Refused beyond MAX_GADGETS."""
        with self._transaction() as database:
            if database.execute("SELECT count(*) FROM gadgets").fetchone()[0] >= MAX_GADGETS:
                raise Refused(f"there are {MAX_GADGETS} gadgets already; 'twinhub gadget remove' some")
            database.execute("INSERT OR REPLACE INTO gadgets VALUES (?, ?)", (name, json.dumps(dict(table))))

    def forget_gadget(self, name: str) -> None:
        """Nothing happens where there is none."""
        with self._transaction() as database:
            database.execute("DELETE FROM gadgets WHERE name = ?", (name,))

    def names(self) -> dict[str, str]:
        """Identity → export name."""
        with self._transaction() as database:
            return dict(database.execute("SELECT identity, name FROM names").fetchall())

    def remember_names(self, names: Mapping[str, str]) -> None:
        """Spares the disk: a name that is remembered already is written again at most once a day."""
        now = self._clock()
        with self._transaction() as database:
            fresh = dict(database.execute("SELECT identity, name FROM names WHERE used > ?", (now - DAY,)))
            if names.items() <= fresh.items():
                return
            database.executemany(
                "INSERT INTO names VALUES (?, ?, ?)"
                " ON CONFLICT (identity) DO UPDATE SET name = excluded.name, used = excluded.used",
                [(identity, name, now) for identity, name in names.items()],
            )
            database.execute(
                "DELETE FROM names WHERE identity NOT IN"
                " (SELECT identity FROM names ORDER BY used DESC, identity LIMIT ?)",
                (MAX_NAMES,),
            )

    def note(self, action: str, target: str, detail: str = "") -> None:
        """Adds a row to the audit trail."""
        with self._transaction() as database:
            row = (self._clock(), action, target, detail)
            number = database.execute(
                "INSERT INTO audit (time, action, target, detail) VALUES (?, ?, ?, ?)", row
            ).lastrowid
            database.execute("DELETE FROM audit WHERE number <= ?", ((number or 0) - MAX_AUDIT,))

    def audit(self, limit: int = 100) -> list[AuditEntry]:
        """The last `limit` rows, the newest last."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT time, action, target, detail FROM audit ORDER BY number DESC LIMIT ?",
                (max(0, limit),),
            ).fetchall()
        return [AuditEntry(*row) for row in reversed(rows)]

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
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema'").fetchone():
                for statement in SCHEMA.split(";\n"):
                    database.execute(statement)
                database.execute("INSERT INTO schema VALUES (1)")
            if database.execute("SELECT version FROM schema").fetchone() == (1,):
                database.execute(SINCE_2)
                database.execute("UPDATE schema SET version = 2")
            found = database.execute("SELECT version FROM schema").fetchone()
        if found != (VERSION,):
            raise Unavailable(
                f"{self._path} was written by another version of Twinhub; run that version,"
                " or move the file away and share your devices again"
            )

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
        except (sqlite3.Error, ValueError, TypeError) as error:  # a damaged cell may hold another type
            raise Unavailable(
                f"{self._path} is damaged: {error}. Move it away together with its -wal and -shm files and"
                " start again: the rules made by 'twinhub share' and the audit trail are lost, those of the"
                " configuration file are not"
            ) from error
