"""Files and block devices: what is durable, what room is given back, what the kernel's errors become."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import Busy, MediumError
from gadgets.storage.media import raw
from gadgets.storage.media.contract import opening
from gadgets.storage.media.medium import open_medium

MEBI = 1 << 20

WRITER = """
import signal, sys
from gadgets.storage.media.medium import open_medium
medium = open_medium(sys.argv[1])
for at in range(0, medium.size, 1 << 16):
    medium.write(at, b"kept" * (1 << 14))
medium.flush()
print("flushed", flush=True)
signal.pause()
"""


def test_what_was_flushed_survives_the_death_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, f"new:{path}:4M"], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "flushed\n"
        writer.send_signal(signal.SIGKILL)
    medium = open_medium(str(path))
    assert medium.read(0, 4 * MEBI) == b"kept" * MEBI, "and its lock went with it"
    medium.close()


def test_a_flush_asks_the_kernel_to_write_it_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    medium = raw.open_new(tmp_path / "disk.img", MEBI, read_only=False, block_size=512)
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    medium.flush()
    assert synced == [medium.fd]
    medium.close()


def test_a_flush_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    medium = open_medium(f"new:{tmp_path}/disk.img:1M")
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(MediumError, match=r"disk\.img: Input/output error"):
        medium.flush()
    medium.close()


def test_a_full_file_system_is_an_error_of_the_medium() -> None:
    with open("/dev/full", "r+b", buffering=0) as full:
        medium = raw.RawMedium(full.fileno(), "full", MEBI)
        with pytest.raises(MediumError, match="full: No space left on device"):
            medium.write(0, bytes(512))


def test_discarded_blocks_give_their_room_back(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    medium = open_medium(f"new:{path}:8M")
    medium.write(0, b"x" * 8 * MEBI)
    medium.flush()
    before = path.stat().st_blocks
    medium.discard(MEBI, 6 * MEBI)
    assert path.stat().st_blocks * 512 <= before * 512 - 5 * MEBI
    assert path.stat().st_size == 8 * MEBI
    assert medium.read(MEBI - 1, 2) == b"x\0"
    medium.close()


def test_where_no_holes_can_be_punched_zeros_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "punch_hole", lambda fd, offset, length: False)
    medium = open_medium(f"new:{tmp_path}/disk.img:4M")
    medium.write(0, b"x" * 4 * MEBI)
    medium.discard(512, 3 * MEBI)
    assert medium.read(0, 4 * MEBI) == b"x" * 512 + bytes(3 * MEBI) + b"x" * (MEBI - 512)
    medium.close()


def test_a_write_that_the_kernel_takes_in_parts_is_written_wholly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medium = open_medium(f"new:{tmp_path}/disk.img:1M")
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, data[:700], offset))
    medium.write(512, bytes(range(256)) * 16)
    assert medium.read(0, 5120) == bytes(512) + bytes(range(256)) * 16 + bytes(512)
    medium.close()


def test_a_block_device_that_is_mounted_is_busy() -> None:
    with (
        pytest.raises(Busy, match="/dev/sda is in use by this machine; unmount it first"),
        opening("/dev/sda"),
    ):
        raise OSError(errno.EBUSY, "Device or resource busy")
