from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from fat_reader import Tree, read_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import UsageError
from gadgets.storage.media.fat import LARGEST_FILE, LARGEST_FOLDER, File, Folder, Layout, lay_out, moment
from gadgets.storage.media.fat_names import FORBIDDEN, legal, short_names, units

FSCK = shutil.which("fsck.vfat") or shutil.which("fsck.vfat", path="/usr/sbin:/sbin")

names = st.text(st.characters(exclude_categories=()), min_size=1, max_size=40)
hostile = st.sampled_from(
    ["AUX", "con.txt", "...", " ", "a.", "A", "a", "~1", "README~1", "readme", ".x", "x" * 255]
)


def content_of(file: File) -> bytes:
    return (file.source or "?").encode(errors="replace")[:1] * file.size


def image(layout: Layout, path: Path) -> None:
    with path.open("wb") as written:
        written.truncate(layout.size)
        for offset, piece in layout.pieces:
            written.seek(offset)
            written.write(piece)
        for offset, file in layout.files:
            written.seek(offset)
            written.write(content_of(file))


def as_tree(folder: Folder) -> Tree:
    return {
        child.name: as_tree(child) if isinstance(child, Folder) else content_of(child)
        for child in folder.children
    }


@st.composite
def folders(draw: st.DrawFn, depth: int = 3) -> Folder:
    children: list[File | Folder] = []
    for name in legal(draw(st.lists(names | hostile, max_size=6))):
        modified = draw(st.floats(-1e12, 1e12))
        if depth and draw(st.booleans()):
            children.append(Folder(name, modified, draw(folders(depth=depth - 1)).children))
        else:
            children.append(File(name, draw(st.integers(0, 20_000)), modified, name[:1]))
    return Folder("", 0, tuple(children))


@given(root=folders(), block_size=st.sampled_from([512, 4096]))
@settings(max_examples=60)
def test_what_is_laid_out_is_read_back_and_nothing_overlaps(root: Folder, block_size: int) -> None:
    layout = lay_out(root, block_size)
    stored: dict[int, bytes] = {}
    for offset, data in layout.pieces + [(offset, content_of(file)) for offset, file in layout.files]:
        stored |= {offset + at: data[at : at + 512] for at in range(0, len(data), 512)}
    sizes = [len(data) for _, data in layout.pieces] + [file.size for _, file in layout.files]
    assert len(stored) == sum(-(-size // 512) for size in sizes)

    def read(offset: int, length: int) -> bytes:
        sectors = (stored.get(at, b"").ljust(512, b"\0") for at in range(offset, offset + length, 512))
        return b"".join(sectors)

    assert read_tree(read) == as_tree(root)


@pytest.mark.skipif(not FSCK, reason="needs dosfstools")
@given(root=folders(), block_size=st.sampled_from([512, 4096]))
@settings(max_examples=15)
def test_fsck_finds_nothing_to_say(
    tmp_path_factory: pytest.TempPathFactory, root: Folder, block_size: int
) -> None:
    path = tmp_path_factory.mktemp("fat") / "image"
    image(lay_out(root, block_size), path)
    said = subprocess.run([str(FSCK), "-nv", path], capture_output=True, text=True, check=False)
    path.unlink()
    assert said.returncode == 0, said.stdout + said.stderr


@given(st.lists(names | hostile, max_size=30))
def test_legal_names_are_distinct_but_for_case_and_as_many(given_names: list[str]) -> None:
    made = legal(given_names)
    assert len(made) == len(given_names)
    assert max(Counter(name.upper() for name in made).values(), default=1) == 1
    for name in made:
        assert not FORBIDDEN.search(name)
        assert 1 <= units(name) <= 255
        assert not name.endswith((" ", "."))


@given(st.lists(names | hostile, max_size=30).map(legal))
def test_short_names_are_distinct_and_of_allowed_letters(given_names: list[str]) -> None:
    made = short_names(given_names)
    assert len(set(made)) == len(made) == len(given_names)
    assert all(len(short) == 11 and short[0] != 0x20 and short == short.upper() for short in made)


def test_names_that_fat_can_hold_stay_as_they_are() -> None:
    kept = ["Grüße.txt", "ő", "日本", "😀.png", "a b", ".profile", "x.tar.gz", "UPPER.TXT"]
    assert legal(kept) == kept


def test_names_it_cannot_hold_are_changed_as_little_as_will_do() -> None:
    assert legal(["a?b", "tail. .", "Same", "SAME", "same.txt", "SAME.txt", "..", "\udc80"]) == [
        "a_b", "tail", "Same", "SAME~2", "same.txt", "SAME~2.txt", "_", "_~2",
    ]  # fmt: skip


def test_many_names_alike_get_short_names_that_fit() -> None:
    made = short_names([f"alike and long {number}.txt" for number in range(1200)])
    assert made[0] == b"ALIKE_~1TXT"
    assert made[-1] == b"ALI~1200TXT"
    assert len(set(made)) == 1200


def test_a_real_short_name_is_not_given_to_another() -> None:
    assert short_names(["longish name", "LONGIS~1"]) == [b"LONGIS~2   ", b"LONGIS~1   "]


def test_the_same_tree_gives_the_same_image() -> None:
    root = Folder("", 1e9, (File("b", 5000, 1e9), Folder("c", 1e9, (File("d", 1, 1e9),))))
    assert lay_out(root, 512) == lay_out(root, 512)


def test_an_image_has_room_to_spare() -> None:
    assert lay_out(Folder("", 0, ()), 512).size > 512 << 20
    assert lay_out(Folder("", 0, (File("a", LARGEST_FILE, 0),)), 512).size > 5 << 30


def test_a_folder_of_more_files_than_fat_can_list_is_refused() -> None:
    crowd = tuple(File(f"file {number}", 0, 0) for number in range(LARGEST_FOLDER // 64))
    with pytest.raises(UsageError, match="'crowd' has too many files"):
        lay_out(Folder("", 0, (Folder("crowd", 0, crowd),)), 512)


def test_times_that_fat_cannot_say_become_the_nearest() -> None:
    assert moment(0) == (1 << 5 | 1, 0)
    assert moment(1e12) == (127 << 9 | 12 << 5 | 31, 23 << 11 | 59 << 5 | 29)
    assert moment(1_000_000_000) == (21 << 9 | 9 << 5 | 9, 1 << 11 | 46 << 5 | 20)
