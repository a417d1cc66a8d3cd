"""What every medium does, whatever it is made of: the same calls against the same bytes in a bytearray."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gadgets.storage.media.medium import Medium, open_medium

SIZE = 1 << 20
BLOCK = 512

needs_qemu = pytest.mark.skipif(not shutil.which("qemu-nbd"), reason="needs qemu-utils")


def qcow2(folder: Path) -> str:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", folder / "disk.qcow2", str(SIZE)], check=True)
    return f"qcow2:{folder}/disk.qcow2"


def overlaid(folder: Path) -> str:
    (folder / "disk.img").write_bytes(bytes(SIZE))
    return f"overlay+{folder}/disk.img"


FORMS: dict[str, Callable[[Path], str]] = {
    "file": lambda folder: f"new:{folder}/disk.img:{SIZE}",
    "memory": lambda folder: f"memory:{SIZE}",
    "sparse": lambda folder: f"sparse:{SIZE}",
    "overlay": overlaid,
    "qcow2": qcow2,
}


@pytest.fixture(params=[pytest.param(form, marks=[needs_qemu] * (form == "qcow2")) for form in FORMS])
def medium(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Medium]:
    opened = open_medium(FORMS[request.param](tmp_path))
    yield opened
    opened.close()


blocks = st.tuples(st.integers(0, SIZE // BLOCK - 1), st.integers(1, 40)).map(
    lambda pair: (pair[0] * BLOCK, min(pair[1] * BLOCK, SIZE - pair[0] * BLOCK))
)
calls = st.lists(st.tuples(st.sampled_from(["write", "discard", "flush"]), blocks), max_size=12)


@given(calls=calls, read=blocks)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_medium_reads_what_was_written_and_zeros_where_it_was_discarded(
    medium: Medium, calls: list[tuple[str, tuple[int, int]]], read: tuple[int, int]
) -> None:
    medium.discard(0, SIZE)
    expected = bytearray(SIZE)
    for number, (call, (offset, length)) in enumerate(calls, start=1):
        if call == "write":
            medium.write(offset, memoryview(bytes([number]) * length))
            expected[offset : offset + length] = bytes([number]) * length
        elif call == "discard":
            medium.discard(offset, length)
            expected[offset : offset + length] = bytes(length)
        else:
            medium.flush()
    assert medium.read(*read) == expected[read[0] : sum(read)]
    assert medium.read(0, SIZE) == expected


def test_a_medium_says_its_size_and_that_it_may_be_written(medium: Medium) -> None:
    assert medium.size == SIZE
    assert not medium.read_only


def test_a_medium_takes_its_last_block_and_empty_requests(medium: Medium) -> None:
    medium.write(SIZE - BLOCK, b"x" * BLOCK)
    medium.write(SIZE, b"")
    medium.discard(SIZE, 0)
    assert medium.read(SIZE - BLOCK, BLOCK) == b"x" * BLOCK
    assert medium.read(SIZE, 0) == b""
