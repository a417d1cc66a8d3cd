"""The log's format, read back however it is cut, and read from anybody."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.sessions.replication.records import (
    BACKUPS,
    HEADER,
    MASTERS,
    Ack,
    Begin,
    Block,
    End,
    Hello,
    Left,
    Local,
    Place,
    Probe,
    Reader,
    Received,
    Record,
    Seen,
    State,
    Tick,
    Want,
    Zeros,
    emit,
)

U8, U32, U64 = st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
PLACES = st.builds(Place, U8, U8)
BYTES = st.binary(max_size=64)
TABLES = st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | U64 | st.text(max_size=5) | BYTES)
RECORDS = {
    "master": st.one_of(
        st.builds(Hello, U64),
        st.builds(
            State, U64, st.booleans(), st.booleans(), TABLES, st.lists(st.lists(U64)), st.none() | TABLES
        ),
        st.builds(Begin, TABLES, TABLES),
        st.builds(Received, BYTES),
        st.builds(Tick, U64),
        st.builds(Local, TABLES),
        st.just(End()),
        st.builds(Block, PLACES, U64, BYTES),
        st.builds(Zeros, PLACES, U64, U64),
        st.builds(Probe, PLACES, U64, U32, st.binary(min_size=16, max_size=16)),
        st.builds(Seen, U64),
    ),
    "backup": st.one_of(
        st.builds(Ack, U64, U32), st.builds(Want, PLACES, U64, U64), st.builds(Left, st.text(max_size=20))
    ),
}
KINDS = {"master": MASTERS, "backup": BACKUPS}


@pytest.mark.parametrize("side", KINDS)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read_however_it_is_cut(side: str, data: st.DataObject) -> None:
    records = data.draw(st.lists(RECORDS[side], max_size=6))
    stream = b"".join(map(emit, records))
    reader, read = Reader(KINDS[side]), list[Record]()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        read += reader.feed(stream[:size])
        stream = stream[size:]
    assert read == records


@pytest.mark.parametrize("side", KINDS)
@given(stream=st.binary(max_size=200), kind=st.integers(0, 40), size=st.integers(0, 60))
@settings(deadline=None)
def test_nonsense_is_a_protocol_error_or_waits_for_its_end(
    side: str, stream: bytes, kind: int, size: int
) -> None:
    reader = Reader(KINDS[side])
    with suppress(ProtocolError):
        list(reader.feed(HEADER.pack(kind, size) + stream))


@pytest.mark.parametrize("record", [Tick(1), Ack(1, 2), Hello(3)])
def test_a_record_of_the_wrong_side_is_refused(record: Record) -> None:
    wrong = KINDS["backup" if record.kind in MASTERS else "master"]
    with pytest.raises(ProtocolError, match=f"kind {record.kind}"):
        list(Reader(wrong).feed(emit(record)))


def test_what_would_be_too_long_is_refused_before_it_has_come() -> None:
    for cls in (*MASTERS.values(), *BACKUPS.values()):
        with pytest.raises(ProtocolError):
            list(Reader({**MASTERS, **BACKUPS}).feed(HEADER.pack(cls.kind, cls.limit + 1)))
