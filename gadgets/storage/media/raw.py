"""A disk in a file or block device, byte for byte, locked against a second writer."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from appliance.errors import MediumError, NotFound, UsageError
from gadgets.storage.media.contract import opening, trouble, using, whole_blocks

PUNCH_HOLE = 0x01 | 0x02
"""FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE of linux/falloc.h."""
ZEROS = memoryview(bytes(1 << 20))

libc = ctypes.CDLL(None, use_errno=True)


class RawMedium:
    """Of an open descriptor, which it owns. `name` is for messages."""

    def __init__(self, fd: int, name: str, size: int, *, read_only: bool = False) -> None:
        self.fd, self.name, self.size, self.read_only = fd, name, size, read_only

    def read(self, offset: int, length: int) -> bytes:
        try:
            data = os.pread(self.fd, length, offset)
        except OSError as error:
            raise trouble(self.name, error) from error
        if len(data) != length:
            raise MediumError(f"{self.name} has become shorter than the {self.size} bytes it had when opened")
        return data

    def write(self, offset: int, data: bytes | memoryview) -> None:
        try:
            written = os.pwrite(self.fd, data, offset)
            while written < len(data):
                written += os.pwrite(self.fd, memoryview(data)[written:], offset + written)
        except OSError as error:
            raise trouble(self.name, error) from error

    def flush(self) -> None:
        with using(self.name):
            os.fdatasync(self.fd)

    def discard(self, offset: int, length: int) -> None:
        if not punch_hole(self.fd, offset, length):
            for at in range(offset, offset + length, len(ZEROS)):
                self.write(at, ZEROS[: offset + length - at])

    def close(self) -> None:
        os.close(self.fd)


def punch_hole(fd: int, offset: int, length: int) -> bool:
    """fallocate(2), which Python's os has without its modes. False where the file system cannot."""
    arguments = (ctypes.c_int64(offset), ctypes.c_int64(length))
    return length == 0 or libc.fallocate64(fd, PUNCH_HOLE, *arguments) == 0


def open_raw(path: Path, *, read_only: bool, block_size: int) -> RawMedium:
    """A raw image or block device; its size is the disk's."""
    with opening(path):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise UsageError(f"{path} is neither a file nor a block device")
        # On a block device O_EXCL means: not while it is mounted (open(2)).
        exclusive = os.O_EXCL if stat.S_ISBLK(mode) and not read_only else 0
        fd = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | exclusive | os.O_CLOEXEC)
    try:
        with opening(path):
            fcntl.flock(fd, (fcntl.LOCK_SH if read_only else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            size = whole_blocks(str(path), os.lseek(fd, 0, os.SEEK_END), block_size)
    except BaseException:
        os.close(fd)
        raise
    return RawMedium(fd, str(path), size, read_only=read_only)


def open_new(path: Path, size: int, *, read_only: bool, block_size: int) -> RawMedium:
    """As `open_raw`; a file that isn't there is made first, `size` bytes long and empty of blocks."""
    whole_blocks(str(path), size, block_size)
    with opening(path):
        if not path.parent.exists():
            raise NotFound(f"there is no folder {path.parent} to make {path.name} in")
        with suppress(FileExistsError), path.open("xb") as file:
            try:
                file.truncate(size)
            except OSError:
                path.unlink()
                raise
    return open_raw(path, read_only=read_only, block_size=block_size)
