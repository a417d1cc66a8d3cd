"""How a medium is opened, and what is said where it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Busy, MediumError, NotFound, NotPermitted, TwinhubError, UsageError
from gadgets.storage.media.medium import open_medium
from gadgets.storage.media.sizes import as_text, parse_size

MEBI = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(b"old!" * (MEBI // 4))
    return path


def test_a_missing_file_is_an_error_that_says_how_to_have_one_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no .*missing\.img; to have an empty disk made, write new:.*:1G"):
        open_medium(f"{tmp_path}/missing.img")


def test_a_new_file_is_made_sparse_once_and_then_kept(tmp_path: Path) -> None:
    spec = f"new:{tmp_path}/new.img:1G"
    medium = open_medium(spec)
    assert (medium.size, medium.read(0, 4)) == (1 << 30, bytes(4))
    medium.write(0, b"kept" * 128)
    medium.close()
    assert (tmp_path / "new.img").stat().st_blocks * 512 < MEBI
    again = open_medium(spec)
    assert again.read(0, 4) == b"kept"
    again.close()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("new:disk.img", "lacks its size"),
        ("memory:lots", "is no size"),
        ("memory:0", "not possible"),
        ("memory:1000", r"are not whole blocks of 512; make it 1024 bytes"),
        ("sparse:1G:x", "is no size"),
        ("nbd://", "write nbd://host:port/export"),
        ("nbd://host:port/", "write nbd://host:port/export"),
        ("nbd+unix:///", r"socket=/path"),
        ("nbd+unix:///x?socket=here", r"socket=/path"),
    ],
)
def test_a_specification_that_makes_no_sense_is_refused_with_what_would(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_medium(spec)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("over", ["", "overlay+"])
def test_a_folder_without_its_word_is_refused(tmp_path: Path, over: str, read_only: bool) -> None:
    with pytest.raises(UsageError, match=r"is a folder; .* write folder:"):
        open_medium(f"{over}{tmp_path}", read_only=read_only)


def test_a_new_file_needs_a_folder_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no folder .*/nowhere to make new\.img in"):
        open_medium(f"new:{tmp_path}/nowhere/new.img:1M")


def test_a_new_file_that_cannot_have_its_size_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(MediumError, match="too large"):
        open_medium(f"new:{tmp_path}/new.img:4096P")
    open_medium(f"new:{tmp_path}/new.img:1M").close()


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300])
@pytest.mark.parametrize(
    "form",
    ["{}", "new:{}:1M", "folder:{}", "qcow2:{}", "overlay+{}", "nbd://{}/x", "nbd+unix:///x?socket={}"],
)
def test_what_nothing_can_be_called_is_refused(form: str, name: str) -> None:
    with pytest.raises(TwinhubError):
        open_medium(form.format(name))


def test_what_is_neither_file_nor_block_device_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither a file nor a block device"):
        open_medium(f"{tmp_path}/pipe")


def test_a_file_that_is_not_whole_blocks_is_refused_by_block_size(disk: Path) -> None:
    os.truncate(disk, MEBI + 512)
    open_medium(str(disk)).close()
    with pytest.raises(UsageError, match=f"make it {MEBI + 4096} bytes"):
        open_medium(str(disk), block_size=4096)


def test_two_gadgets_cannot_write_one_file(disk: Path) -> None:
    first = open_medium(str(disk))
    for read_only in (False, True):
        with pytest.raises(Busy, match=r"used by another gadget; .*overlay\+"):
            open_medium(str(disk), read_only=read_only)
    first.close()
    open_medium(str(disk)).close()


def test_many_gadgets_can_read_one_file_and_overlay_it(disk: Path) -> None:
    media = [
        open_medium(str(disk), read_only=True),
        open_medium(f"overlay+{disk}"),
        open_medium(f"overlay+{disk}"),
    ]
    media[1].write(0, b"mine" * 128)
    assert [medium.read(0, 4) for medium in media] == [b"old!", b"mine", b"old!"]
    assert [medium.read_only for medium in media] == [True, False, False]
    for medium in media:
        medium.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_can_be_opened_read_only(disk: Path) -> None:
    disk.chmod(0o400)
    with pytest.raises(NotPermitted, match="open it read-only"):
        open_medium(str(disk))
    open_medium(str(disk), read_only=True).close()


def test_a_read_only_medium_refuses_to_be_written_even_where_the_disk_forgets_to_ask(disk: Path) -> None:
    medium = open_medium(str(disk), read_only=True)
    with pytest.raises(MediumError):
        medium.write(0, bytes(512))
    medium.close()


def test_a_file_that_became_shorter_is_told_as_an_error_of_the_medium(disk: Path) -> None:
    medium = open_medium(str(disk))
    os.truncate(disk, 512)
    with pytest.raises(MediumError, match="has become shorter"):
        medium.read(0, 4096)
    medium.close()


def test_an_overlay_leaves_the_file_untouched(disk: Path) -> None:
    before = disk.read_bytes(), disk.stat().st_mtime_ns
    medium = open_medium(f"overlay+{disk}")
    medium.write(4096, b"new!" * 128)
    medium.discard(0, 512)
    medium.flush()
    assert medium.read(0, 8192) == bytes(512) + b"old!" * 896 + b"new!" * 128 + b"old!" * 896
    medium.close()
    assert (disk.read_bytes(), disk.stat().st_mtime_ns) == before


def test_an_overlay_over_an_overlay_is_one_too() -> None:
    medium = open_medium("overlay:1M+overlay+memory:1M")
    medium.write(512, b"deep" * 128)
    assert medium.read(0, 1024) == bytes(512) + b"deep" * 128
    medium.close()


@pytest.mark.parametrize("spec", ["overlay:1M+sparse:1G", "sparse:1G:1M"])
def test_what_grows_in_memory_has_a_bound(spec: str) -> None:
    medium = open_medium(spec)
    for at in range(0, MEBI, 65536):
        medium.write(8 * at, bytes(65536))
    with pytest.raises(MediumError, match="may take 1M"):
        medium.write(64 * MEBI, bytes(512))
    medium.write(0, b"over" * 128)
    medium.discard(8 * 65536, 65536)
    medium.write(64 * MEBI, b"room" * 128)
    assert medium.read(64 * MEBI, 4) == b"room"
    medium.close()


def test_a_sparse_disk_of_three_tebibytes_is_addressed_at_its_end() -> None:
    medium = open_medium("sparse:3T", block_size=4096)
    medium.write(medium.size - 4096, b"end." * 1024)
    assert medium.read(medium.size - 8192, 8192) == bytes(4096) + b"end." * 1024
    medium.discard(0, medium.size)
    assert medium.read(medium.size - 4096, 4096) == bytes(4096)
    medium.close()


def test_nothing_stays_open_behind_a_medium_that_cannot_be_opened(disk: Path, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    os.truncate(disk, 1000)
    for spec in (str(disk), f"overlay+{disk}", f"folder:{disk}", "sparse:4E", "nbd://127.0.0.1:1/"):
        with pytest.raises(TwinhubError):
            open_medium(spec)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("text", "size"), [("512", 512), ("64M", 64 << 20), ("1 GiB", 1 << 30), ("3T", 3 << 40), ("10kb", 10240)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.integers(1, 1 << 62))
def test_a_size_comes_back_from_its_text(size: int) -> None:
    assert parse_size(as_text(size)) == size


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        assert parse_size(text) > 0
    except UsageError:
        pass
