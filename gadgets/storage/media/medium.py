"""`open_medium`: what is in a disk, in one line of text.

disk.img            a raw file or block device, as long as it is
new:disk.img:1G     the same; made, empty and sparse, if it isn't there
memory:64M          memory, gone when the disk is closed
sparse:3T[:2G]      memory, of which only what was written takes room: at most 1G, or what is said
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from appliance.errors import MediumError, UsageError
from gadgets.storage.media.contract import Medium
from gadgets.storage.media.memory import ROOM, open_memory
from gadgets.storage.media.raw import open_new, open_raw
from gadgets.storage.media.sizes import parse_size

__all__ = ["Medium", "MediumError", "open_medium"]


class Opener(Protocol):
    def __call__(self, rest: str, *, read_only: bool, block_size: int) -> Medium: ...


def open_medium(spec: str, *, read_only: bool = False, block_size: int = 512) -> Medium:
    """Raises NotFound, Busy, NotPermitted, Unavailable or UsageError, all of which say what to do."""
    form, colon, rest = spec.partition(":")
    if colon and (opener := FORMS.get(form)):
        return opener(rest, read_only=read_only, block_size=block_size)
    return open_raw(Path(spec), read_only=read_only, block_size=block_size)


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


FORMS: dict[str, Opener] = {"new": new, "memory": memory, "sparse": sparse}
