"""The patterns of usbtest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadgets.testdevice.pattern import BLOCK, Pattern, first_mismatch, patterned

PACKETS = st.sampled_from((8, 64, 512, 1023, 1024))
LENGTHS = st.one_of(st.integers(0, 3000), st.integers(BLOCK - 2000, 2 * BLOCK + 2000))


@given(PACKETS, LENGTHS)
def test_mod63_counts_in_each_packet_anew(packet_size: int, length: int) -> None:
    data = patterned(Pattern.MOD63, packet_size, length)
    assert data == bytes(at % packet_size % 63 for at in range(length))


@pytest.mark.parametrize("pattern", [Pattern.ZEROS, Pattern.ANY])
def test_the_others_are_zeros_to_the_host(pattern: Pattern) -> None:
    assert patterned(pattern, 512, 3 * BLOCK) == bytes(3 * BLOCK)


@given(st.sampled_from(Pattern), PACKETS, LENGTHS)
def test_what_it_makes_matches(pattern: Pattern, packet_size: int, length: int) -> None:
    assert first_mismatch(pattern, packet_size, patterned(pattern, packet_size, length)) is None


@given(st.sampled_from((Pattern.ZEROS, Pattern.MOD63)), PACKETS, st.integers(1, 3000), st.data())
def test_the_first_wrong_byte_is_found(
    pattern: Pattern, packet_size: int, length: int, draw: st.DataObject
) -> None:
    data = bytearray(patterned(pattern, packet_size, length))
    wrong = draw.draw(st.sets(st.integers(0, length - 1), min_size=1, max_size=3))
    for at in wrong:
        data[at] ^= 0x80
    assert first_mismatch(pattern, packet_size, bytes(data)) == min(wrong)


@given(st.binary())
def test_any_data_matches_any(data: bytes) -> None:
    assert first_mismatch(Pattern.ANY, 64, data) is None
