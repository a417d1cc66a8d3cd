from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbd_server import ALL_FLAGS, GO_MAGIC, Server

from appliance.errors import (
    Busy,
    MediumError,
    NotFound,
    ProtocolError,
    Refused,
    TwinhubError,
    Unavailable,
    UsageError,
)
from gadgets.storage.media import qcow2
from gadgets.storage.media.medium import open_medium
from gadgets.storage.media.nbd import NbdMedium, negotiate, of_socket
from gadgets.storage.media.nbd_wire import Export, Flag

READ, WRITE, DISCONNECT, FLUSH, WRITE_ZEROES = 0, 1, 2, 3, 6

needs_qemu = pytest.mark.skipif(not shutil.which("qemu-nbd"), reason="needs qemu-utils")


def opened(server: Server, *, read_only: bool = False, block_size: int = 512) -> NbdMedium:
    return of_socket(server.as_socket(), "", "nbd:test", read_only=read_only, block_size=block_size)


# The client, against a server in memory


@pytest.mark.parametrize("server", [Server(), Server(knows_go=False), Server(block_sizes=None)], ids=str)
def test_it_reads_what_it_wrote(server: Server) -> None:
    medium = opened(server)
    medium.write(4096, b"data" * 1024)
    assert medium.read(4096, 8192) == b"data" * 1024 + bytes(4096)
    medium.discard(4096, 512)
    medium.flush()
    assert medium.read(4096, 1024) == bytes(512) + b"data" * 128
    medium.close()
    assert server.closed
    assert [command for _, command, _, _ in server.requests] == [
        WRITE, READ, WRITE_ZEROES, FLUSH, READ, DISCONNECT,
    ]  # fmt: skip


def test_requests_are_no_larger_than_the_server_takes() -> None:
    server = Server(block_sizes=(512, 4096, 10_000))
    medium = opened(server)
    medium.write(0, b"y" * 20_480)
    assert medium.read(0, 20_480) == b"y" * 20_480
    assert [length for _, _, _, length in server.requests] == [9728, 9728, 1024] * 2


def test_a_server_without_flush_makes_each_write_durable() -> None:
    server = Server(flags=Flag.FUA)
    medium = opened(server)
    medium.write(0, bytes(512))
    medium.discard(0, 1024)
    medium.flush()
    assert server.requests == [(1, WRITE, 0, 512), (1, WRITE, 0, 1024)]


def test_a_server_that_can_make_nothing_durable_is_refused_unless_it_is_only_read() -> None:
    with pytest.raises(UsageError, match=r"can make nothing durable: open it read-only, or write overlay\+"):
        opened(Server(flags=0))
    assert opened(Server(flags=0), read_only=True).read(0, 512) == bytes(512)


def test_an_export_that_is_read_only_says_so() -> None:
    assert opened(Server(flags=Flag.READ_ONLY)).read_only
    assert not opened(Server()).read_only


def test_an_error_of_the_server_is_one_of_the_medium_and_not_the_end() -> None:
    server = Server(fail=lambda request: errno.EIO if request[2] == 512 else 0)
    medium = opened(server)
    with pytest.raises(MediumError, match="Input/output error"):
        medium.read(512, 512)
    assert medium.read(0, 512) == bytes(512)


def test_a_lost_connection_stays_lost() -> None:
    server = Server()
    medium = opened(server)
    server.sendall = lambda data: None  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(MediumError, match="closed the connection; eject the disk and insert it anew"):
            medium.read(0, 512)
    assert server.closed
    medium.close()


def test_a_silent_server_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(0.05)
    medium = NbdMedium(ours, Export(1 << 20, ALL_FLAGS), "nbd:test")
    with pytest.raises(MediumError, match="says nothing for"):
        medium.read(0, 512)
    theirs.close()


@pytest.mark.parametrize(
    ("server", "error", "said"),
    [
        (Server(refusal=(1 << 31 | 6, b"")), NotFound, "no export of that name"),
        (Server(refusal=(1 << 31 | 6, b"not here")), NotFound, "not here"),
        (Server(refusal=(1 << 31 | 5, b"")), Refused, "wants TLS"),
        (Server(refusal=(1 << 31 | 9, b"")), ProtocolError, "error 9"),
        (Server(hello=b"HTTP/1.1 400 Bad Request"), ProtocolError, "no NBD server"),
        (Server(hello=b"NBDMAGIC" + struct.pack(">QH", 0x420281861253, 0)), ProtocolError, "before 2011"),
        (Server(hello=b"NBDM"), ProtocolError, "closed the connection"),
        (Server(bytearray(1000)), UsageError, "whole blocks of 512; make it 1024"),
        (Server(block_sizes=(4096, 4096, 1 << 20)), UsageError, "works in blocks of 4096"),
        (Server(block_sizes=(3, 3, 3)), ProtocolError, "not possible"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_server_that_cannot_serve_is_refused_and_let_go(
    server: Server, error: type[TwinhubError], said: str
) -> None:
    with pytest.raises(error, match=said):
        opened(server)
    assert server.closed


reply = st.tuples(
    st.sampled_from([1, 3, 1 << 31 | 1, 1 << 31 | 6]) | st.integers(0, (1 << 32) - 1),
    st.binary(max_size=30) | st.sampled_from([b"\0\0" + bytes(10), b"\0\3" + bytes(12)]),
).map(lambda pair: struct.pack(">QIII", GO_MAGIC, 7, pair[0], len(pair[1])) + pair[1])


@given(
    st.sampled_from([b"NBDMAGICIHAVEOPT\0\3", b"NBDMAGICIHAVEOPT\0\1", b""]),
    st.lists(reply | st.binary(max_size=40), max_size=80).map(b"".join),
)
def test_any_bytes_are_a_handshake_or_refused(hello: bytes, rest: bytes) -> None:
    server = Server(hello=hello + rest)
    server.step = lambda: False
    with contextlib.suppress(TwinhubError):
        assert 0 <= negotiate(server.as_socket(), "export").size < 1 << 63
    assert max(server.asked) <= 1 << 16, "what a server can make us hold is bounded"


# The real server


@pytest.fixture
def export(tmp_path: Path) -> Iterator[str]:
    """The URL of a raw file that a real qemu-nbd exports."""
    (tmp_path / "disk.img").write_bytes(b"real" * (1 << 18))
    path, pid = tmp_path / "socket", tmp_path / "pid"
    subprocess.run(
        ["qemu-nbd", "--fork", f"--pid-file={pid}", f"--socket={path}", "--persistent", "--format=raw",
         "--export-name=disk", tmp_path / "disk.img"], check=True,
    )  # fmt: skip
    server = os.pidfd_open(int(pid.read_text()))
    yield f"nbd+unix:///disk?socket={path}"
    signal.pidfd_send_signal(server, signal.SIGTERM)
    assert qcow2.ended(server)
    os.close(server)


@needs_qemu
def test_qemus_server_is_read_written_flushed_and_zeroed(export: str, tmp_path: Path) -> None:
    medium = open_medium(export)
    medium.write(512, b"new!" * 128)
    medium.discard(4096, 65536)
    medium.flush()
    assert medium.read(0, 8192) == b"real" * 128 + b"new!" * 128 + b"real" * 768 + bytes(4096)
    medium.close()
    assert (tmp_path / "disk.img").read_bytes()[:1024] == b"real" * 128 + b"new!" * 128


@needs_qemu
def test_qemus_server_carries_large_requests_and_its_end(export: str) -> None:
    medium = open_medium(export)
    assert medium.read(0, medium.size) == b"real" * (1 << 18)
    medium.write(0, b"full" * (1 << 18))
    assert medium.read(medium.size - 512, 512) == b"full" * 128
    medium.close()


@needs_qemu
def test_qemus_server_refuses_an_export_it_lacks(export: str) -> None:
    with pytest.raises(NotFound, match="refuses"):
        open_medium(export.replace("disk?", "other?"))


@needs_qemu
def test_an_overlay_over_an_export_leaves_it_untouched(export: str, tmp_path: Path) -> None:
    medium = open_medium(f"overlay+{export}")
    medium.write(0, b"mine" * 128)
    assert medium.read(0, 1024) == b"mine" * 128 + b"real" * 128
    medium.close()
    assert (tmp_path / "disk.img").read_bytes() == b"real" * (1 << 18)


def test_a_server_over_tcp_is_spoken_to_at_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        with pytest.raises(Unavailable, match="start the NBD server, or correct the address"):
            open_medium("nbd://127.0.0.1:1/")
        sock = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
        served.sendall(b"NBDMAGICIHAVEOPT\0\3")
        served.sendall(
            struct.pack(">QIII", 0x3E889045565A9, 7, 3, 12) + b"\0\0" + struct.pack(">QH", 1024, 2)
        )
        served.sendall(struct.pack(">QIII", 0x3E889045565A9, 7, 1, 0))
        medium = of_socket(sock, "x", "nbd:tcp", read_only=False, block_size=512)
        assert (medium.size, medium.read_only) == (1024, True)
        medium.close()
        served.close()


def test_an_absent_server_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file or directory; start the NBD server"):
        open_medium(f"nbd+unix:///?socket={tmp_path}/none")


# qcow2


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1G"], check=True)
    return path


@needs_qemu
def test_a_qcow2_image_keeps_what_was_written_and_stays_small(image: Path) -> None:
    medium = open_medium(f"qcow2:{image}")
    assert medium.size == 1 << 30
    medium.write((1 << 30) - 512, b"tail" * 128)
    medium.close()
    again = open_medium(f"qcow2:{image}", read_only=True)
    assert again.read((1 << 30) - 512, 512) == b"tail" * 128
    assert again.read_only
    again.close()
    assert image.stat().st_size < 1 << 20


@needs_qemu
def test_what_was_flushed_to_a_qcow2_image_survives_the_death_of_qemu_nbd(image: Path) -> None:
    medium = open_medium(f"qcow2:{image}")
    assert isinstance(medium, qcow2.Qcow2Medium)
    medium.write(0, b"kept" * 128)
    medium.flush()
    signal.pidfd_send_signal(medium.server, signal.SIGKILL)
    assert qcow2.ended(medium.server)
    with pytest.raises(MediumError, match="eject the disk and insert it anew"):
        medium.read(0, 512)
    medium.close()
    again = open_medium(f"qcow2:{image}")
    assert again.read(0, 512) == b"kept" * 128
    again.close()


@needs_qemu
def test_a_qcow2_image_in_use_is_busy_and_free_after_its_close(image: Path) -> None:
    medium = open_medium(f"qcow2:{image}")
    with pytest.raises(Busy, match="lock"):
        open_medium(f"qcow2:{image}")
    medium.close()
    open_medium(f"qcow2:{image}").close()


@needs_qemu
def test_what_is_no_qcow2_image_is_refused_in_qemus_words(tmp_path: Path) -> None:
    (tmp_path / "raw.img").write_bytes(bytes(1 << 20))
    with pytest.raises(MediumError, match="not in qcow2 format"):
        open_medium(f"qcow2:{tmp_path}/raw.img")
    with pytest.raises(NotFound):
        open_medium(f"qcow2:{tmp_path}/missing.qcow2")


def test_without_qemu_nbd_a_qcow2_disk_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="apt install qemu-utils"):
        open_medium(f"qcow2:{tmp_path}/disk.qcow2")
