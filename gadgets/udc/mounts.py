"""FunctionFS, mounted and unmounted by libc: mount(8) need not be there."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

NOT_MOUNTED = (errno.EINVAL, errno.ENOENT)


class KernelMounts:
    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def mount(self, instance: str, where: Path) -> None:
        self._call(self._libc.mount, instance.encode(), os.fsencode(where), b"functionfs", 0, None)

    def mount_configfs(self, where: Path) -> None:
        self._call(self._libc.mount, b"configfs", os.fsencode(where), b"configfs", 0, None)

    def unmount(self, where: Path) -> None:
        try:
            self._call(self._libc.umount2, os.fsencode(where), 0)
        except OSError as error:
            if error.errno not in NOT_MOUNTED:
                raise

    def _call(self, function: ctypes._NamedFuncPointer, *arguments: object) -> None:
        if function(*arguments):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
