from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gadgets.storage.media.extents import Extents

ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=30)


@given(ranges)
def test_extents_know_every_byte_as_a_set_would(added: list[tuple[int, int]]) -> None:
    extents, known = Extents(), set[int]()
    for start, length in added:
        extents.add(start, start + length)
        known |= set(range(start, start + length))
    parts = list(extents.parts(5, 70))
    assert [at for start, end, has in parts if has for at in range(start, end)] == sorted(
        known & set(range(5, 70))
    )
    assert [start for start, _, _ in parts[1:]] == [end for _, end, _ in parts[:-1]], "no gaps"
    assert (parts[0][0], parts[-1][1]) == (5, 70)


@given(ranges)
def test_extents_that_touch_are_one(added: list[tuple[int, int]]) -> None:
    extents = Extents()
    for start, length in added:
        extents.add(start, start + length)
    assert all(end < start for end, start in zip(extents.ends, extents.starts[1:], strict=False))
