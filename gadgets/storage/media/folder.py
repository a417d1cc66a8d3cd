"""A disk made of a folder: a FAT32 image of what is in it now. Writes go to the image, not to the folder."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from appliance.errors import MediumError, NotFound, UsageError
from gadgets.storage.media.contract import opening, using
from gadgets.storage.media.fat import LARGEST_FILE, File, Folder, Layout, lay_out
from gadgets.storage.media.fat_names import legal
from gadgets.storage.media.raw import RawMedium

MOST_FILES = 100_000
DEEPEST = 64
SAID = 10
"""Names of left-out files that a message holds."""

STEP = 1 << 20

log = logging.getLogger(__name__)


def open_folder(path: Path, *, read_only: bool, block_size: int) -> RawMedium:
    """The image is an unnamed file in $TMPDIR or /var/tmp, gone with the disk, and takes the folder's size.
    What FAT cannot hold and links that lead out of the folder are left out, and the log says so."""
    with opening(path):
        if not path.is_dir():
            raise NotFound(f"there is no folder {path}")
    left_out: list[str] = []
    layout = lay_out(scanned(os.path.realpath(path), left_out), block_size)
    if left_out:
        more = f" and {len(left_out) - SAID} more" * (len(left_out) > SAID)
        log.warning("%s: left out of the disk: %s%s", path, ", ".join(left_out[:SAID]), more)
    return image_of(layout, f"the image of {path}", read_only=read_only)


def scanned(root: str, left_out: list[str]) -> Folder:
    """The tree under `root`, sorted by name; `left_out` gets what it cannot have, and why."""
    found = 0

    def folder(path: str, name: str, depth: int) -> Folder:
        nonlocal found
        with opening(path), os.scandir(path) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
            kept = []
            for entry in entries:
                if reason := objection(entry, root, depth):
                    left_out.append(f"{os.path.relpath(entry.path, root)!r} ({reason})")
                else:
                    kept.append(entry)
            found += len(kept)
            if found > MOST_FILES:
                raise UsageError(f"{root} has more than {MOST_FILES} files: too many for a disk of a folder")
            names = legal(entry.name for entry in kept)
            nodes = [node(*both, depth) for both in zip(kept, names, strict=True)]
            return Folder(name, os.stat(path).st_mtime, tuple(nodes))

    def node(entry: os.DirEntry[str], name: str, depth: int) -> File | Folder:
        if entry.is_dir():
            return folder(entry.path, name, depth + 1)
        facts = entry.stat()
        return File(name, facts.st_size, facts.st_mtime, os.path.realpath(entry.path))

    return folder(root, "", 0)


def objection(entry: os.DirEntry[str], root: str, depth: int) -> str:
    """Why a file or folder cannot be on the disk; "" where it can."""
    if entry.is_symlink() and not is_file_within(entry.path, root):
        return "a link to something else than a file of this folder"
    if entry.is_dir():
        return "too deep" if depth >= DEEPEST else ""
    if not entry.is_file():
        return "neither a file nor a folder"
    return "larger than 4 GiB" if entry.stat().st_size > LARGEST_FILE else ""


def is_file_within(link: str, root: str) -> bool:
    target = os.path.realpath(link)
    return os.path.isfile(target) and os.path.commonpath((target, root)) == root


def image_of(layout: Layout, name: str, *, read_only: bool) -> RawMedium:
    with using(name), tempfile.TemporaryFile(dir=os.environ.get("TMPDIR", "/var/tmp")) as image:
        image.truncate(layout.size)
        medium = RawMedium(os.dup(image.fileno()), name, layout.size, read_only=read_only)
    try:
        for offset, piece in layout.pieces:
            medium.write(offset, piece)
        for offset, file in layout.files:
            copy(file, medium, offset)
    except BaseException:
        medium.close()
        raise
    return medium


def copy(file: File, medium: RawMedium, offset: int) -> None:
    with opening(file.source):
        source = os.open(file.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with using(file.source), open(source, "rb", buffering=0) as content:
        left = file.size
        while left and (data := content.read(min(left, STEP))):
            medium.write(offset + file.size - left, data)
            left -= len(data)
    if left:
        raise MediumError(f"{file.source} became shorter while it was copied; try again")
