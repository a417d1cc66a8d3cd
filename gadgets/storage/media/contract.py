"""`Medium`: bytes that stay, as a disk sees them; and how trouble with them is told."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from appliance.errors import Busy, MediumError, NotFound, NotPermitted, TwinhubError, UsageError


class Medium(Protocol):
    """`size` bytes, in units of the block size it was opened with. The caller keeps offset and length within
    `size`, and writes and discards nothing where `read_only`. Calls may block; all raise MediumError."""

    @property
    def size(self) -> int: ...

    @property
    def read_only(self) -> bool: ...

    def read(self, offset: int, length: int) -> bytes: ...

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Seen by the next `read`; durable after the next `flush`."""

    def flush(self) -> None:
        """What was written is durable when this returns, as far as the medium can outlive us at all."""

    def discard(self, offset: int, length: int) -> None:
        """These bytes read as zeros from now on, and take no room where that can be had."""

    def close(self) -> None:
        """Gives back the file, lock, process or connection, without a flush of its own."""


def whole_blocks(what: str, size: int, block_size: int) -> int:
    """`size`, where it makes a disk of such blocks; else a UsageError."""
    if size <= 0 or size % block_size:
        whole = max(-(-size // block_size), 1) * block_size
        raise UsageError(f"{what}: {size} bytes are not whole blocks of {block_size}; make it {whole} bytes")
    return size


TROUBLE: dict[int, tuple[type[TwinhubError], str]] = {
    errno.ENOENT: (NotFound, "there is no {0}; to have an empty disk made, write new:{0}:1G"),
    errno.EISDIR: (UsageError, "{0} is a folder; to make a disk of it, write folder:{0}"),
    errno.EWOULDBLOCK: (Busy, "{0} is used by another gadget; end that one, or write overlay+{0} for both"),
    errno.EBUSY: (Busy, "{0} is in use by this machine; unmount it first"),
} | dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS),
    (NotPermitted, "{0} may not be written, or not even be read; change that, or open it read-only"),
)


@contextmanager
def opening(what: object) -> Iterator[None]:
    """The system's errors while a medium is opened, as the user's."""
    try:
        yield
    except OSError as error:
        kind, sentence = TROUBLE.get(error.errno or 0, (MediumError, f"{{0}}: {error.strerror}"))
        raise kind(sentence.format(what)) from error


@contextmanager
def using(what: object) -> Iterator[None]:
    """The system's errors while a medium is used, as a MediumError."""
    try:
        yield
    except OSError as error:
        raise trouble(what, error) from error


def trouble(what: object, error: OSError) -> MediumError:
    """As `using`, for those who read and write so often that its cost shows."""
    return MediumError(f"{what}: {error.strerror or error}")
