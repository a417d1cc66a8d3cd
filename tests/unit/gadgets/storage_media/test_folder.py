from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fat_reader import Tree, read_tree

from appliance.errors import NotFound, UsageError
from gadgets.storage.media import folder as module
from gadgets.storage.media.medium import open_medium


def tree_of(path: Path, **options: int) -> Tree:
    medium = open_medium(f"folder:{path}", **options)
    try:
        return read_tree(medium.read)
    finally:
        medium.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    (path / "Süden" / "deep").mkdir(parents=True)
    (path / "a.txt").write_text("hello")
    (path / "empty").touch()
    (path / "Süden" / "large.bin").write_bytes(os.urandom(3_000_001))
    (path / "Süden" / "deep" / "ő😀.txt").write_text("names survive")
    return path


@pytest.mark.parametrize("block_size", [512, 4096])
def test_a_disk_has_the_folders_files(pictures: Path, block_size: int) -> None:
    assert tree_of(pictures, block_size=block_size) == {
        "a.txt": b"hello",
        "empty": b"",
        "Süden": {
            "large.bin": (pictures / "Süden" / "large.bin").read_bytes(),
            "deep": {"ő😀.txt": b"names survive"},
        },
    }


def test_an_empty_folder_makes_an_empty_disk(tmp_path: Path) -> None:
    assert tree_of(tmp_path) == {}


def test_the_same_folder_makes_the_same_image_wherever_it_is(pictures: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", pictures, tmp_path / "copy"], check=True)
    first, second = (open_medium(f"folder:{path}") for path in (pictures, tmp_path / "copy"))
    assert first.size == second.size
    step = 16 << 20
    for at in range(0, 32 << 20, step):
        assert first.read(at, step) == second.read(at, step)
    first.close()
    second.close()


def test_writes_reach_the_image_and_not_the_folder(pictures: Path) -> None:
    medium = open_medium(f"folder:{pictures}")
    medium.write(0, b"x" * 512)
    medium.flush()
    assert medium.read(0, 512) == b"x" * 512
    medium.close()
    assert (pictures / "a.txt").read_text() == "hello"


def test_links_out_of_the_folder_are_left_out_and_said(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret").write_text("not yours")
    (pictures / "within").symlink_to("a.txt")
    (pictures / "out").symlink_to("../secret")
    (pictures / "absolute").symlink_to(tmp_path / "secret")
    (pictures / "nowhere").symlink_to("missing")
    (pictures / "loop").symlink_to("loop")
    (pictures / "Süden" / "up").symlink_to("..")
    os.mkfifo(pictures / "pipe")
    with caplog.at_level(logging.WARNING):
        tree = tree_of(pictures)
    assert tree["within"] == b"hello"
    assert set(tree) == {"a.txt", "empty", "Süden", "within"}
    assert set(tree["Süden"]) == {"large.bin", "deep"}
    for left_out in ("out", "absolute", "nowhere", "loop", "Süden/up", "pipe"):
        assert f"{left_out!r} (" in caplog.text


def test_hostile_names_come_through_as_near_as_fat_has_them(tmp_path: Path) -> None:
    for name in (
        b"a:b",
        b"new\nline",
        b"\xff\xfe",
        b"trailing. ",
        b"CON",
        b"Readme",
        b"README",
        b"-rf",
        b"*",
    ):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    assert tree_of(tmp_path) == {
        "_": b"*",
        "-rf": b"-rf",
        "CON": b"CON",
        "README": b"README",
        "Readme~2": b"Readme",
        "a_b": b"a:b",
        "new_line": b"new\nline",
        "trailing": b"trailing. ",
        "__": b"\xff\xfe",
    }


def test_what_is_nested_too_deep_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "DEEPEST", 2)
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert tree_of(tmp_path) == {"a": {"b": {}}}
    assert "'a/b/c' (too deep)" in caplog.text


def test_a_tree_as_deep_as_allowed_is_laid_out(tmp_path: Path) -> None:
    (tmp_path / "/".join("d" * module.DEEPEST)).mkdir(parents=True)
    tree, depth = tree_of(tmp_path), 0
    while tree:
        tree, depth = tree["d"], depth + 1  # type: ignore[assignment]
    assert depth == module.DEEPEST


def test_a_file_larger_than_fat_can_hold_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(4 << 30)
    with caplog.at_level(logging.WARNING):
        assert tree_of(tmp_path) == {}
    assert "'huge' (larger than 4 GiB)" in caplog.text


def test_a_folder_of_too_many_files_is_refused(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 4)
    with pytest.raises(UsageError, match="more than 4 files"):
        open_medium(f"folder:{pictures}")


def test_a_message_names_only_the_first_of_many_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(30):
        (tmp_path / f"link{number:02}").symlink_to("/")
    with caplog.at_level(logging.WARNING):
        tree_of(tmp_path)
    assert "'link09'" in caplog.text
    assert "'link10'" not in caplog.text
    assert "and 20 more" in caplog.text


def test_a_missing_folder_or_a_file_is_refused(pictures: Path) -> None:
    with pytest.raises(NotFound):
        open_medium(f"folder:{pictures}/missing")
    with pytest.raises(NotFound, match=r"no folder .*a\.txt"):
        open_medium(f"folder:{pictures}/a.txt")


@pytest.mark.skipif(not shutil.which("mdir"), reason="needs mtools")
def test_mtools_reads_the_names_too(pictures: Path) -> None:
    medium = open_medium(f"folder:{pictures}", read_only=True)
    assert medium.read_only
    image = pictures.parent / "image"
    image.write_bytes(medium.read(0, 32 << 20))
    medium.close()
    listed = subprocess.run(
        ["mdir", "-b", "-/", "-i", image, "::"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1"},
    )
    assert "::/Süden/large.bin" in listed.stdout
