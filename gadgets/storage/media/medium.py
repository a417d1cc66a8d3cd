"""`open_medium`: what is in a disk, in one line of text.

disk.img               a raw file or block device, as long as it is
new:disk.img:1G        the same; made, empty and sparse, if it isn't there
memory:64M             memory, gone when the disk is closed
sparse:3T[:2G]         memory, of which only what was written takes room: at most 1G, or what is said
folder:pictures        a FAT file system with the folder's files; writes do not reach the folder
qcow2:disk.qcow2       an image of QEMU's, by qemu-nbd
nbd://host/export      an NBD server's export; nbd+unix:///export?socket=/path for a local one
overlay[:2G]+…         any of these, not touched: what is written stays in memory, at most 1G
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Protocol

from appliance.errors import MediumError, UsageError
from gadgets.storage.media.contract import Medium
from gadgets.storage.media.folder import open_folder
from gadgets.storage.media.memory import ROOM, open_memory
from gadgets.storage.media.nbd import open_nbd
from gadgets.storage.media.overlay import Overlay
from gadgets.storage.media.qcow2 import open_qcow2
from gadgets.storage.media.raw import open_new, open_raw
from gadgets.storage.media.sizes import parse_size
from gadgets.usb.records import Located

__all__ = ["Medium", "MediumError", "MediumText", "open_medium"]


class Opener(Protocol):
    def __call__(self, rest: str, *, read_only: bool, block_size: int) -> Medium: ...


def open_medium(spec: str, *, read_only: bool = False, block_size: int = 512) -> Medium:
    """Raises NotFound, Busy, NotPermitted, Unavailable, UsageError …, all of which say what to do."""
    ensure_possible(spec)
    if found := OVERLAY.match(spec):
        return overlay(found[1], spec[found.end() :], read_only=read_only, block_size=block_size)
    form, colon, rest = spec.partition(":")
    if colon and (opener := FORMS.get(form)):
        return opener(rest, read_only=read_only, block_size=block_size)
    return open_raw(Path(spec), read_only=read_only, block_size=block_size)


def ensure_possible(spec: str) -> None:
    """Raises UsageError for what neither a file nor a host can be called."""
    try:
        possible = b"\0" not in os.fsencode(spec)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise UsageError(f"{spec!r} has a character that no name can have")


def located(spec: str, base: Path) -> str:
    """The same medium; a relative path in it counts from `base`."""
    if found := OVERLAY.match(spec):
        return found[0] + located(spec[found.end() :], base)
    form, colon, rest = spec.partition(":")
    if not (colon and form in FORMS):
        return str(base / spec) if spec else ""
    return f"{form}:{base / rest}" if form in ("new", "folder", "qcow2") else spec


MediumText = Annotated[str, Located(located)]


def new(rest: str, *, read_only: bool, block_size: int) -> Medium:
    path, _, size = rest.rpartition(":")
    if not path:
        raise UsageError(f"new:{rest} lacks its size: write new:{rest}:1G")
    return open_new(Path(path), parse_size(size), read_only=read_only, block_size=block_size)


def memory(rest: str, *, read_only: bool, block_size: int) -> Medium:
    return open_memory(parse_size(rest), read_only=read_only, block_size=block_size)


def sparse(rest: str, *, read_only: bool, block_size: int) -> Medium:
    size, colon, room = rest.partition(":")
    most = parse_size(room) if colon else ROOM
    return open_memory(parse_size(size), room=most, read_only=read_only, block_size=block_size)


def folder(rest: str, *, read_only: bool, block_size: int) -> Medium:
    return open_folder(Path(rest), read_only=read_only, block_size=block_size)


def qcow2(rest: str, *, read_only: bool, block_size: int) -> Medium:
    return open_qcow2(Path(rest), read_only=read_only, block_size=block_size)


def overlay(room: str, base: str, *, read_only: bool, block_size: int) -> Medium:
    most = parse_size(room) if room else ROOM
    under = open_medium(base, read_only=True, block_size=block_size)
    return under if read_only else Overlay(under, room=most)


def nbd(rest: str, *, read_only: bool, block_size: int) -> Medium:
    return open_nbd(f"nbd:{rest}", read_only=read_only, block_size=block_size)


def nbd_unix(rest: str, *, read_only: bool, block_size: int) -> Medium:
    return open_nbd(f"nbd+unix:{rest}", read_only=read_only, block_size=block_size)


OVERLAY = re.compile(r"overlay(?::([^+]*))?\+")
FORMS: dict[str, Opener] = {
    "new": new,
    "memory": memory,
    "sparse": sparse,
    "folder": folder,
    "qcow2": qcow2,
    "nbd": nbd,
    "nbd+unix": nbd_unix,
}
