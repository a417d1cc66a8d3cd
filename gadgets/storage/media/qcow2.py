"""A disk in a qcow2 image: qemu-nbd reads it, and ends with us, however we end."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from appliance.errors import Busy, MediumError, Unavailable
from gadgets.storage.media.contract import opening
from gadgets.storage.media.nbd import NbdMedium, over_unix

PATIENCE = 30.0
"""Seconds qemu-nbd has to start, and to write out what it holds."""


class Qcow2Medium(NbdMedium):
    """Without `--persistent`, qemu-nbd ends when its only client hangs up; `server` is its pidfd."""

    server: int

    def close(self) -> None:
        super().close()
        with suppress(ProcessLookupError):
            if not ended(self.server):
                signal.pidfd_send_signal(self.server, signal.SIGKILL)
        os.close(self.server)


def open_qcow2(path: Path, *, read_only: bool, block_size: int) -> Qcow2Medium:
    program = shutil.which("qemu-nbd")
    if not program:
        raise Unavailable("a qcow2 disk needs qemu-nbd: apt install qemu-utils")
    with opening(path):
        path.open("rb" if read_only else "r+b").close()
    with TemporaryDirectory(prefix="twinhub-") as folder:
        socket, pid_file = Path(folder, "socket"), Path(folder, "pid")
        start([
            program, "--fork", f"--pid-file={pid_file}", f"--socket={socket}", "--format=qcow2",
            "--cache=writeback", "--discard=unmap", *["--read-only"] * read_only, "--", str(path.resolve()),
        ], path)  # fmt: skip
        server = os.pidfd_open(int(pid_file.read_text()))
        try:
            connected = over_unix(f"qcow2:{path}", str(socket), "", read_only, block_size)
        except BaseException:
            signal.pidfd_send_signal(server, signal.SIGKILL)
            os.close(server)
            raise
    medium = Qcow2Medium(connected.sock, connected.export, str(path), read_only=read_only)
    medium.server = server
    return medium


def start(command: list[str], path: Path) -> None:
    """With --fork, qemu-nbd returns when it listens, or has said why it cannot."""
    try:
        started = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise MediumError(f"{path}: qemu-nbd does not start within {PATIENCE:.0f} s") from error
    if started.returncode:
        said = started.stderr.strip().removeprefix("qemu-nbd: ")
        raise (Busy if "lock" in said else MediumError)(f"qemu-nbd: {said}")


def ended(server: int) -> bool:
    """Waits for qemu-nbd to have written everything and given its locks back."""
    poll = select.poll()
    poll.register(server, select.POLLIN)
    return bool(poll.poll(PATIENCE * 1000))
