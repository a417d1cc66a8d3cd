"""The daemon's side: RemoteHelper against real helper processes, LocalHelper and NoHelper."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.errors import Busy, NotFound, NotPermitted, Timeout, Unavailable, UsageError
from appliance.kernel import spawn
from appliance.kernel.client import Helper, LocalHelper, NoHelper, RemoteHelper, until_free
from appliance.kernel.stub import StubStatus
from tests.unit.kernel.fakekernel import FakeKernel

USER = pwd.getpwuid(os.geteuid()).pw_name


def looks_bound(kernel: FakeKernel, status: StubStatus = StubStatus.AVAILABLE) -> None:
    """Makes 1-1 look bound to usbip-host, for helpers that see the fake's plain files only."""
    kernel.give("1-1", "usbip-host")
    (kernel.device("1-1") / "usbip_status").write_text(f"{status:d}\n")


@contextmanager
def helper_process(kernel: FakeKernel, listener: socket.socket) -> Iterator[None]:
    """A helper that serves the fake's files, its listening socket descriptor 3, as systemd does it."""
    command = [
        sys.executable,
        "-m",
        "appliance.kernel.helper",
        "--root",
        str(kernel.root),
        "--allow-user",
        USER,
    ]
    activate = 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3<&0'
    process = subprocess.Popen(["sh", "-c", activate, "sh", *command], stdin=listener.fileno())
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(5)
        yield listener


@pytest.fixture
def remote(kernel: FakeKernel, tmp_path: Path) -> Iterator[RemoteHelper]:
    looks_bound(kernel)
    helper = RemoteHelper(tmp_path / "s")
    with listening(tmp_path / "s") as listener, helper_process(kernel, listener):
        yield helper
        helper.close()


async def test_the_helper_process_answers(remote: RemoteHelper) -> None:
    assert await remote.status("1-1") is StubStatus.AVAILABLE
    await remote.load_modules()
    await remote.bind("1-1")
    await remote.end("1-1")


async def test_its_errors_arrive_as_they_were_raised(remote: RemoteHelper) -> None:
    with pytest.raises(NotFound, match="no device is plugged in at 4-4"):
        await remote.bind("4-4")
    with pytest.raises(UsageError, match="not a busid"):
        await remote.bind("../1-1")


async def test_a_socket_is_handed_over_and_stays_the_callers(
    remote: RemoteHelper, kernel: FakeKernel
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await remote.hand_over("1-1", theirs.fileno())
        theirs.send(b"still open")
        assert ours.recv(99) == b"still open"
    assert int((kernel.device("1-1") / "usbip_sockfd").read_text()) > 2


async def test_requests_at_once_get_their_own_answers(remote: RemoteHelper) -> None:
    answers = await asyncio.gather(
        *(remote.status(busid) for busid in ["1-1", "4-4"] * 20), return_exceptions=True
    )
    assert answers[::2] == [StubStatus.AVAILABLE] * 20
    assert all(isinstance(answer, NotFound) for answer in answers[1::2])


async def test_a_restarted_helper_is_found_again(kernel: FakeKernel, tmp_path: Path) -> None:
    looks_bound(kernel)
    helper = RemoteHelper(tmp_path / "s")
    with listening(tmp_path / "s") as listener:
        for _ in range(2):
            with helper_process(kernel, listener):
                assert await helper.status("1-1") is StubStatus.AVAILABLE
    with pytest.raises(Unavailable, match=r"start twinhub-helper\.service"):
        await helper.status("1-1")


async def test_a_helper_that_does_not_answer_times_out_with_advice(tmp_path: Path) -> None:
    with listening(tmp_path / "s"):
        helper = RemoteHelper(tmp_path / "s", answer_seconds=0.05)
        with pytest.raises(Timeout, match=r"did not bind 1-1 within 0\.05 s.*dmesg"):
            await helper.bind("1-1")


async def test_a_late_answer_is_not_taken_for_the_next(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener:
        helper = RemoteHelper(tmp_path / "s")
        first = asyncio.create_task(helper.status("1-1"))
        await asyncio.sleep(0)
        with listener.accept()[0] as connection:
            connection.recv(4096)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            connection.send(b'{"id": 1, "result": 3}')
            connection.send(b'{"id": 2, "result": 2}')
            assert await helper.status("1-1") is StubStatus.USED
        helper.close()


async def test_a_helper_that_hangs_up_in_between_is_unavailable(tmp_path: Path) -> None:
    with listening(tmp_path / "s") as listener:
        helper = RemoteHelper(tmp_path / "s")
        asking = asyncio.create_task(helper.bind("1-1"))
        await asyncio.sleep(0)
        with listener.accept()[0] as connection:
            connection.recv(4096)
        with pytest.raises(Unavailable, match="hung up on bind 1-1"):
            await asking


async def test_a_spawned_helper_serves_and_ends_with_us(kernel: FakeKernel) -> None:
    looks_bound(kernel)
    helper = spawn.spawn_helper("--root", str(kernel.root))
    assert await helper.status("1-1") is StubStatus.AVAILABLE
    helper.close()
    with pytest.raises(Unavailable, match="restart `twinhub serve`"):
        await helper.status("1-1")


async def test_a_spawned_helper_ends_though_a_copy_of_the_connection_lives_on(kernel: FakeKernel) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, ours.dup():
        child = subprocess.Popen(["cat"], stdin=theirs.fileno())  # noqa: ASYNC220 - ends with its input, as a helper does
        RemoteHelper.over(ours, child).close()
        assert child.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_dropping_privileges_is_for_good() -> None:
    script = (
        "import os; from appliance.kernel.spawn import drop_privileges; drop_privileges('nobody'); "
        "print(set(os.getresuid()) == {os.getuid()}, os.getuid() != 0, 0 in os.getgroups(), "
        "'NoNewPrivs:\\t1' in open('/proc/self/status').read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "True True False True\n"


async def test_the_local_helper_does_the_same_in_this_process(kernel: FakeKernel) -> None:
    looks_bound(kernel)
    helper = LocalHelper(kernel.root)
    await helper.bind("1-1")
    await helper.load_modules()
    assert await helper.status("1-1") is StubStatus.AVAILABLE
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await helper.hand_over("1-1", theirs.fileno())
        looks_bound(kernel, StubStatus.USED)
        with pytest.raises(Busy):
            await helper.hand_over("1-1", theirs.fileno())


async def test_until_free_waits_for_the_session_to_end(kernel: FakeKernel) -> None:
    looks_bound(kernel, StubStatus.USED)
    helper = LocalHelper(kernel.root)
    waiting = asyncio.create_task(until_free(helper, "1-1"))
    await asyncio.sleep(0)
    looks_bound(kernel, StubStatus.AVAILABLE)
    await waiting


async def test_until_free_takes_an_unplugged_device_for_free(kernel: FakeKernel) -> None:
    await until_free(LocalHelper(kernel.root), "4-4")


async def test_a_session_that_does_not_end_times_out(kernel: FakeKernel) -> None:
    looks_bound(kernel, StubStatus.USED)
    with pytest.raises(Timeout, match="session on 1-1 did not end"):
        await until_free(LocalHelper(kernel.root), "1-1", seconds=0.05)


async def test_no_helper_says_how_to_get_one() -> None:
    helper: Helper = NoHelper()
    for call in (
        helper.bind("1-1"),
        helper.unbind("1-1"),
        helper.hand_over("1-1", 3),
        helper.end("1-1"),
        helper.status("1-1"),
        helper.load_modules(),
    ):
        with pytest.raises(NotPermitted, match=r"twinhub-helper\.service"):
            await call
