"""What both appliances of a pair remember alike: entries under a key each, the last writer wins.

Every change is an entry of its own, stamped with a counter greater than all that this replica has seen, and
with the replica that made it. Of two for one key that with the greater stamp stays, in whatever order they
come. What is gone stays as an entry without a value, so that it does not come back. A replica says what it
has by the greatest counter it knows of each replica. All functions are for within a transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from appliance.errors import ProtocolError, Refused

SCHEMA: Final = """
CREATE TABLE replica (id TEXT NOT NULL);
CREATE TABLE seen (replica TEXT PRIMARY KEY, counter INTEGER NOT NULL);
CREATE TABLE entries (kind TEXT NOT NULL, key TEXT NOT NULL, counter INTEGER NOT NULL, replica TEXT NOT NULL,
                      value TEXT, PRIMARY KEY (kind, key));
CREATE INDEX by_stamp ON entries (counter, replica);
CREATE INDEX by_kind ON entries (kind, counter)
"""
LARGEST: Final = 120 << 10
"""Bytes of a value as JSON: it has to fit into a line of the control link."""
LONGEST_KEY: Final = 16 << 10
BATCH: Final = 32 << 10
"""Bytes of values that are enough for one message."""
MOST_GONE: Final = 10_000
MOST_REPLICAS: Final = 1000
LARGEST_COUNTER: Final = 1 << 62

Have = dict[str, int]


class Entry(NamedTuple):
    kind: str
    key: str
    counter: int
    replica: str
    value: Any
    """None: it is gone"""


def replica_of(database: sqlite3.Connection) -> str:
    return str(database.execute("SELECT id FROM replica").fetchone()[0])


def next_counter(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT coalesce(max(counter), 0) + 1 FROM seen").fetchone()[0])


def put(database: sqlite3.Connection, kind: str, key: str, value: Any) -> None:
    """A change made here; `None` removes. Refused for a value that is too large."""
    text = None if value is None else json.dumps(value)
    if len(text or "") > LARGEST:
        raise Refused(f"this is larger than {LARGEST >> 10} KiB and cannot be remembered")
    replica, counter = replica_of(database), next_counter(database)
    row = (kind, key, counter, replica, text)
    database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", row)
    learn(database, {replica: counter})
    if value is None:
        prune(database, "value IS NULL", MOST_GONE)


def values(database: sqlite3.Connection, kind: str) -> list[Entry]:
    """Those there are of this kind, the oldest first."""
    rows = database.execute(
        "SELECT * FROM entries WHERE kind = ? AND value IS NOT NULL ORDER BY counter, replica", (kind,)
    )
    return [revived(row) for row in rows]


def get(database: sqlite3.Connection, kind: str, key: str) -> Any:
    """None where there is nothing."""
    row = database.execute(
        "SELECT value FROM entries WHERE kind = ? AND key = ? AND value IS NOT NULL", (kind, key)
    ).fetchone()
    return json.loads(row[0]) if row else None


def prune(database: sqlite3.Connection, which: str, most: int) -> None:
    """Forgets the oldest of those for which the condition holds, beyond so many. Each replica for itself."""
    database.execute(
        f"DELETE FROM entries WHERE {which} AND counter <="
        f" (SELECT counter FROM entries WHERE {which} ORDER BY counter DESC LIMIT 1 OFFSET ?)",
        (most,),
    )


def have(database: sqlite3.Connection) -> Have:
    return dict(database.execute("SELECT replica, counter FROM seen").fetchall())


def since(database: sqlite3.Connection, theirs: Mapping[str, int]) -> tuple[list[Entry], bool]:
    """A batch of what one who has `theirs` lacks, the oldest first, and whether that is all."""
    batch: list[Entry] = []
    size = 0
    for row in database.execute("SELECT * FROM entries ORDER BY counter, replica"):
        if row[2] > theirs.get(row[3], 0):
            if size > BATCH:
                return batch, False
            batch.append(revived(row))
            size += len(row[1]) + len(row[4] or "")
    return batch, True


def merge(database: sqlite3.Connection, entries: Iterable[Entry], theirs: Mapping[str, int]) -> set[str]:
    """Takes over what another replica has, and that it `has` so much. The kinds that changed."""
    changed = set()
    for entry in entries:
        stamp = database.execute(
            "SELECT counter, replica FROM entries WHERE kind = ? AND key = ?", (entry.kind, entry.key)
        ).fetchone()
        if stamp is None or stamp < (entry.counter, entry.replica):
            text = None if entry.value is None else json.dumps(entry.value)
            row = (*entry[:4], text)
            database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", row)
            changed.add(entry.kind)
        learn(database, {entry.replica: entry.counter})
    learn(database, theirs)
    prune(database, "value IS NULL", MOST_GONE)
    return changed


def learn(database: sqlite3.Connection, theirs: Mapping[str, int]) -> None:
    database.executemany(
        "INSERT INTO seen VALUES (?, ?)"
        " ON CONFLICT (replica) DO UPDATE SET counter = max(counter, excluded.counter)",
        theirs.items(),
    )


def revived(row: tuple[Any, ...]) -> Entry:
    kind, key, counter, replica, text = row
    return Entry(kind, key, counter, replica, None if text is None else json.loads(text))


def parse_have(said: object) -> Have:
    """ProtocolError unless it is one."""
    if not isinstance(said, dict) or len(said) > MOST_REPLICAS:
        raise ProtocolError("the sibling does not say properly what it has")
    for replica, counter in said.items():
        if not is_stamp(counter, replica):
            raise ProtocolError("the sibling does not say properly what it has")
    return said


def parse_entries(said: object) -> list[Entry]:
    """ProtocolError unless they are."""
    if not isinstance(said, list):
        raise ProtocolError("the sibling's entries are no list")
    return [parse_entry(each) for each in said]


def parse_entry(said: object) -> Entry:
    match said:
        case [str(kind), str(key), int(counter), str(replica), value]:
            sized = len(kind) <= 32 and len(key) <= LONGEST_KEY and len(json.dumps(value)) <= LARGEST
            if sized and is_stamp(counter, replica):
                return Entry(kind, key, counter, replica, value)
    raise ProtocolError("an entry of the sibling's makes no sense")


def is_stamp(counter: object, replica: object) -> bool:
    whole = type(counter) is int and 0 < counter < LARGEST_COUNTER
    return whole and isinstance(replica, str) and 0 < len(replica) <= 32
