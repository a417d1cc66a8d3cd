"""A recording is a stranger's file: whatever is in it, it is read or refused, and no more."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from gadgets.hid.keyboard import keyboard
from gadgets.replay import format as f
from gadgets.replay.recording import Recording, answers_of
from gadgets.usb.urb import Completion, IsoPacket, SetupPacket, Urb
from tests.unit.gadgets.host import bench
from tests.unit.gadgets.replay.test_replay import benching, record, typing

KEYBOARD = record(keyboard(), typing)
BENCH = record(bench()[0], benching)
EMPTY = f.preamble({"snapshot": {}, "keep": 4096})

numbers = st.integers(-(2**63), 2**63 - 1)
small = st.integers(-(2**31), 2**31 - 1)
packets = st.lists(st.builds(IsoPacket, numbers, numbers), max_size=3).map(tuple)


END = f.frame(f.END, b"{}")


def drain(data: bytes) -> list[object]:
    """All entries but the end."""
    return [step.entry for step in Recording(data + END).steps()][:-1]


@given(
    numbers,
    st.integers(0, 255),
    st.binary(max_size=80),
    st.none() | st.binary(min_size=8, max_size=8).map(SetupPacket.parse),
    packets,
)
def test_a_transfer_comes_back_as_it_was(
    number: int, endpoint: int, data: bytes, setup: SetupPacket | None, iso: tuple[IsoPacket, ...]
) -> None:
    urb = Urb(number, endpoint, len(data), data, setup, 0x40, iso, 4, 9)
    assert drain(EMPTY + f.frame(f.SUBMITTED, f.submitted(urb, data, 0))) == [urb]


@given(
    st.lists(
        st.builds(Completion, numbers, small, numbers, st.binary(max_size=40), packets, numbers, numbers),
        max_size=4,
    ),
    st.integers(0, 50),
)
def test_answers_come_back_as_far_as_they_were_kept(completions: list[Completion], keep: int) -> None:
    found = answers_of(f.answers(completions, keep), keep)
    for done in completions:
        done.data = done.data[:keep]
    assert found == completions


@given(st.recursive(st.none() | st.integers() | st.text() | st.binary(), lambda inner: st.lists(inner)))
def test_plain_values_with_bytes_come_back(value: object) -> None:
    assert f.from_json(f.to_json(value)) == value


@given(st.binary(max_size=200))
def test_what_is_no_recording_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Recording(data)


@given(st.binary(max_size=300))
def test_rubbish_behind_the_preamble_is_a_torn_tail(data: bytes) -> None:
    recording = Recording(EMPTY + data)
    list(recording.steps())
    assert recording.torn <= len(data)


@given(
    st.lists(
        st.tuples(st.sampled_from([bytes((c,)) for c in b"SUBLTAREZC?"]), st.binary(max_size=80)), max_size=5
    )
)
def test_frames_of_rubbish_are_refused_or_read(frames: list[tuple[bytes, bytes]]) -> None:
    with suppress(ProtocolError):
        drain(EMPTY + b"".join(f.frame(kind, payload) for kind, payload in frames))


@pytest.mark.parametrize("whole", [KEYBOARD, BENCH])
@given(data=st.data())
def test_a_flipped_bit_is_found(whole: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    spoilt = bytearray(whole)
    spoilt[bit // 8] ^= 1 << bit % 8
    try:
        recording = Recording(bytes(spoilt))
        list(recording.steps())
    except ProtocolError:
        return
    assert recording.torn > 0


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"[" * 100_000, "not JSON"),
        (b"[]", "lacks a snapshot"),
        (b'{"snapshot": {}, "keep": true}', "how much"),
        (b'{"snapshot": {}, "keep": -1}', "how much"),
        (b"\xff", "not JSON"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(header: bytes, problem: str) -> None:
    start = f.PREAMBLE.pack(f.MAGIC, f.VERSION, 0, len(header)) + header
    with pytest.raises(ProtocolError, match=problem):
        Recording(start + f.CRC.pack(f.crc32(start)))


def test_another_version_is_told() -> None:
    data = bytearray(EMPTY)
    data[8] = 9
    with pytest.raises(ProtocolError, match="format 9"):
        Recording(bytes(data))


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (b"L", b"[1]"),
        (b"L", b"[" * 50_000),
        (b"A", b""),
        (b"B", b"\x09"),
        (b"U", b""),
        (b"S", f.SUBMIT.pack(1, 1, f.ELSEWHERE, 8, 0, 0, 0, 0, 8) + f.PLACE.pack(1 << 40)),
        (b"S", f.SUBMIT.pack(1, 1, 0, 1 << 60, 0, 0, 0, 0, 0)),
        (b"S", f.SUBMIT.pack(1, 1, 0, 0, 0, 0, 0, 9, 0)),
        (b"?", b""),
    ],
)
def test_a_whole_frame_that_makes_no_sense_is_refused_with_its_place(kind: bytes, payload: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"damaged at byte {len(EMPTY)}"):
        drain(EMPTY + f.frame(kind, payload))


def test_a_recording_can_be_read_from_a_mapped_file() -> None:
    steps = zip(Recording(memoryview(KEYBOARD)).steps(), Recording(KEYBOARD).steps(), strict=True)
    assert all(mapped == read for mapped, read in steps)
