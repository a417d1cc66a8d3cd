"""Media come to be equal while the client writes; and what cannot be made equal is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.sessions.replication import copying
from appliance.sessions.replication.master import Phase
from appliance.sessions.replication.records import CHUNK, MASTERS, Block, Place, Probe, Reader, Zeros
from gadgets.definition import Definition, Part
from gadgets.storage.media.contract import Medium
from gadgets.storage.media.copying import clear, pieces
from gadgets.storage.media.medium import open_medium
from tests.unit.sessions.replicas import Bytes, Numbers, Outside, Pair, command

SIZE = 2 << 20


def disk(*media: str, **lun: object) -> Definition:
    return Definition(
        "disk", functions=(Part("disk", {"luns": [{"medium": each, **lun} for each in media]}),)
    )


def medium_of(side: Outside, lun: int = 0) -> Medium:
    medium = copying.units(side.running.gadget)[Place(0, lun)].medium
    assert medium
    return medium


def content(side: Outside) -> bytes:
    return medium_of(side).read(0, SIZE)


def write(at: int, data: bytes) -> str:
    return f"2a 00 {at:08x} 00 {len(data) // 512:04x} 00"


@pytest.fixture
def pair() -> object:
    made = Pair(disk("memory:2M"))
    yield made
    made.close()


def sync(pair: Pair) -> list[type]:
    """Until nothing moves any more; what kinds of records went over."""
    seen, reader = list[type](), Reader(MASTERS)
    while pair.over or pair.back:
        seen += [type(record) for record in reader.feed(bytes(pair.over))]
        pair.move()
        pair.answer()
    return seen


def test_a_new_copy_gets_what_is_on_the_disk_and_not_what_it_has(pair: Pair) -> None:
    medium_of(pair.master).write(3 * CHUNK, b"master" * 1000)
    medium_of(pair.master).write(0, b"both" * (CHUNK // 2))
    medium_of(pair.copy).write(0, b"both" * (CHUNK // 2))
    medium_of(pair.copy).write(SIZE - CHUNK, b"of old" * 1000)
    pair.log.start()
    kinds = sync(pair)
    assert content(pair.copy) == content(pair.master)
    assert (kinds.count(Probe), kinds.count(Block)) == (3, 1)
    assert kinds.count(Zeros) <= 2
    assert pair.phases == [Phase.CAUGHT_UP]


@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_a_disk_becomes_equal_while_it_is_written(data: st.DataObject) -> None:
    pair, urbs = Pair(disk("memory:2M")), Numbers()
    try:
        medium_of(pair.master).write(0, os.urandom(SIZE))
        pair.master.attach()
        pair.master.do(Bytes(urbs.configure() + command(urbs, "00 00 00 00 00 00")))
        pair.master.do(Bytes(urbs.submit(0x81, 13)))
        pair.log.start()
        while pair.over or pair.back:
            if urbs.last < 60:
                at = data.draw(st.integers(0, SIZE // 512 - 8))
                block = data.draw(st.binary(min_size=8, max_size=8)) * 512
                pair.master.do(Bytes(command(urbs, write(at, block), block)))
            pair.move(data.draw(st.integers(0, len(pair.over))) if urbs.last < 60 else None)
            pair.answer()
        pair.look_again()
        assert pair.phases == [Phase.CAUGHT_UP], pair.reasons
        assert content(pair.copy) == content(pair.master)
    finally:
        pair.close()


def test_clients_have_their_turn_between_the_pieces(pair: Pair) -> None:
    medium_of(pair.master).write(0, os.urandom(SIZE))
    pair.log.start()
    pair.move()
    longest = 0
    while pair.back:
        pair.answer()
        longest = max(longest, len(pair.over))
        pair.move()
    assert longest < 6 * CHUNK
    assert content(pair.copy) == content(pair.master)


def test_a_disk_of_another_size_is_refused() -> None:
    pair = Pair(disk("memory:2M"))
    medium_of(pair.copy).size = SIZE // 2  # type: ignore[misc]
    pair.log.start()
    pair.settle()
    assert pair.phases == [Phase.LOST]
    assert "make them equal" in pair.reasons[0]
    pair.close()


def test_each_has_its_own_file_for_what_the_definition_puts_in(tmp_path: Path) -> None:
    sides = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        sides.append(disk(f"new:{tmp_path / name}/image:2M"))
    pair = Pair(sides[0], follower=sides[1])
    medium_of(pair.master).write(0, b"mine")
    pair.protect()
    assert content(pair.copy) == content(pair.master)
    assert (tmp_path / "two/image").read_bytes()[:4] == b"mine"
    pair.close()


def test_a_medium_that_is_put_in_is_copied_before_the_copy_is_in_sync_again(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"content " * 1024)
    pair = Pair(Definition("drive", functions=(Part("disk", {"luns": [{"removable": True}]}),)))
    pair.protect()
    pair.master.running.local_plain({"insert": f"overlay+{image}"})
    pair.move()
    assert not pair.follower.in_sync
    pair.answer()
    pair.settle()
    assert pair.phases[-2:] == [Phase.SYNCING, Phase.CAUGHT_UP]
    assert pair.follower.in_sync
    assert medium_of(pair.copy).read(0, 8192) == image.read_bytes()
    pair.close()


def test_a_medium_that_is_taken_out_while_it_is_copied_stops_nothing() -> None:
    drive = Definition(
        "drive", functions=(Part("disk", {"luns": [{"removable": True, "medium": "memory:2M"}]}),)
    )
    pair = Pair(drive)
    medium_of(pair.master).write(0, os.urandom(SIZE))
    pair.log.start()
    pair.move()
    pair.answer()
    pair.master.running.local_plain({"eject": 0})
    pair.settle()
    assert pair.phases == [Phase.CAUGHT_UP]
    assert not any(copying.sizes(pair.copy.running.gadget).values())
    pair.close()


def test_a_read_only_medium_with_another_content_is_told() -> None:
    pair = Pair(disk("memory:2M", read_only=True))
    medium_of(pair.copy).write(0, b"other")
    pair.log.start()
    pair.settle()
    assert "read-only" in pair.reasons[-1]
    pair.close()


# What there is to copy


@given(data=st.data(), overlaid=st.booleans())
@settings(max_examples=40)
def test_pieces_cover_a_medium_and_leave_nothing_out(data: st.DataObject, overlaid: bool) -> None:
    medium = open_medium("overlay+memory:1M" if overlaid else "memory:1M")
    try:
        for _ in range(data.draw(st.integers(0, 5))):
            offset = data.draw(st.integers(0, (1 << 20) - 512))
            medium.write(offset, b"x" * 512)
        at = 0
        for offset, length, something in pieces(medium, 64 << 10):
            assert offset == at
            assert something or not any(medium.read(offset, length))
            assert not something or length <= 64 << 10
            at += length
        assert at == medium.size
        for offset, length in clear(medium, 0, medium.size, 64 << 10):
            medium.discard(offset, length)
        assert not any(medium.read(0, medium.size))
    finally:
        medium.close()


def test_a_hole_of_terabytes_costs_nothing() -> None:
    medium = open_medium("sparse:3T")
    medium.write(2 << 40, b"something")
    assert len(list(pieces(medium, CHUNK))) == 3
    medium.close()
