"""The helper over real sockets: what a daemon, and somebody who is no daemon, can make it do."""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import UsageError
from appliance.kernel import helper, stub
from appliance.kernel.messages import MAX_MESSAGE
from tests.unit.kernel.fakekernel import FakeKernel


@contextmanager
def running(target: Callable[..., object], *args: object) -> Iterator[None]:
    thread = threading.Thread(target=target, args=args)
    thread.start()
    try:
        yield
    finally:
        thread.join(5)


@pytest.fixture
def daemon(kernel: FakeKernel) -> Iterator[socket.socket]:
    """The daemon's end of a connection to a helper that serves the fake kernel."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(5)
    with theirs, running(helper.serve_connection, kernel, theirs), ours:
        yield ours
        ours.shutdown(socket.SHUT_RDWR)


def ask(connection: socket.socket, data: bytes | dict[str, Any], *fds: int) -> dict[str, Any]:
    message = data if isinstance(data, bytes) else json.dumps(data).encode()
    socket.send_fds(connection, [message], fds)
    reply: dict[str, Any] = json.loads(connection.recv(MAX_MESSAGE))
    return reply


def bind(number: int = 1, busid: str = "1-1") -> dict[str, Any]:
    return {"id": number, "op": "bind", "busid": busid}


def test_a_request_is_done_and_answered_under_its_id(daemon: socket.socket, kernel: FakeKernel) -> None:
    assert ask(daemon, bind(7)) == {"id": 7, "result": None}
    assert kernel.driver_of("1-1") == "usbip-host"
    assert ask(daemon, {"id": 8, "op": "status", "busid": "1-1"}) == {"id": 8, "result": 1}
    assert ask(daemon, {"id": 9, "op": "load_modules"}) == {"id": 9, "result": None}
    assert ask(daemon, {"id": 10, "op": "unbind", "busid": "1-1"}) == {"id": 10, "result": None}
    assert kernel.driver_of("1-1") == "usb"


def test_an_error_is_answered_with_its_name_and_sentence(daemon: socket.socket) -> None:
    reply = ask(daemon, bind(3, "4-4"))
    assert (reply["id"], reply["error"]) == (3, "NotFound")
    assert "4-4" in reply["message"]


def test_the_descriptor_that_arrives_is_the_same_open_socket(
    daemon: socket.socket, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    ask(daemon, bind())

    def greet(kernel: FakeKernel, busid: str, fd: int) -> None:
        os.write(fd, b"it is me")

    monkeypatch.setattr(stub, "hand_over", greet)
    with ours, theirs:
        ask(daemon, {"id": 1, "op": "hand_over", "busid": "1-1"}, theirs.fileno())
        assert ours.recv(99) == b"it is me"


def test_the_helper_keeps_no_descriptor(daemon: socket.socket) -> None:
    ask(daemon, bind())
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            assert (
                ask(daemon, {"id": 1, "op": "hand_over", "busid": "1-1"}, theirs.fileno())["result"] is None
            )
        ours.settimeout(5)
        assert ours.recv(1) == b""


@pytest.mark.parametrize("count", [0, 2, 20])
def test_a_hand_over_with_any_other_number_of_descriptors_is_refused(
    daemon: socket.socket, count: int
) -> None:
    ask(daemon, bind())
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            reply = ask(daemon, {"id": 1, "op": "hand_over", "busid": "1-1"}, *[theirs.fileno()] * count)
        assert reply["error"] == "UsageError"
        ours.settimeout(5)
        assert ours.recv(1) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"\x00" * 99,
        b"[" * MAX_MESSAGE,
        bytes(MAX_MESSAGE + 1),
        b" " * 60_000,
        b'{"id": 1, "op": "__init__"}',
    ],
)
def test_after_nonsense_the_helper_goes_on_serving(
    daemon: socket.socket, kernel: FakeKernel, data: bytes
) -> None:
    assert ask(daemon, data)["error"] == "UsageError"
    assert kernel.written == []
    assert ask(daemon, bind()) == {"id": 1, "result": None}


@pytest.mark.parametrize("busid", ["../1-1", "/etc", "1-1/../../..", "1-1\n2-2", "", "usb1"])
def test_a_busid_cannot_lead_out_of_its_folder(daemon: socket.socket, kernel: FakeKernel, busid: str) -> None:
    assert ask(daemon, bind(1, busid))["error"] == "UsageError"
    assert kernel.written == []


def test_a_daemon_that_reads_no_replies_is_dropped(kernel: FakeKernel) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    ours.settimeout(1)
    with ours, theirs:
        thread = threading.Thread(target=helper.serve_connection, args=(kernel, theirs))
        thread.start()
        with suppress(TimeoutError):
            while thread.is_alive():
                ours.send(b"?")
        thread.join(5)
        assert not thread.is_alive()


def test_another_user_is_not_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = helper.account("nobody")
    monkeypatch.setattr(helper, "peer_uid", lambda _: account.pw_uid + 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.connect(str(tmp_path / "s"))
            assert helper.accept(listener, account.pw_uid) is None
            assert stranger.recv(1) == b""


def test_the_peer_is_known_by_its_uid() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert helper.peer_uid(ours) == os.geteuid()


def me() -> pwd.struct_passwd:
    return pwd.getpwuid(os.geteuid())


def test_the_socket_is_for_the_user_alone_and_replaces_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "run/helper.sock"
    for _ in range(2):
        with helper.listen(path, me()):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert path.stat().st_uid == os.geteuid()


def test_a_folder_that_others_write_to_is_no_place_for_the_socket(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(UsageError, match="writable by nobody else"):
        helper.listen(tmp_path / "helper.sock", me())


def test_a_user_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="there is no user 'nobody-here'"):
        helper.account("nobody-here")


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=30, check=False)


def test_the_helper_imports_little() -> None:
    heavy = ("asyncio", "aiohttp", "construct", "pyudev", "ctypes", "ssl")
    script = f"import sys, appliance.kernel.helper; print([m for m in {heavy} if m in sys.modules])"
    assert python("-c", script).stdout == "[]\n"


def test_help_says_what_it_is_for() -> None:
    shown = python("-m", "appliance.kernel.helper", "--help").stdout
    for word in ("usbip-host", "--allow-user", "--socket", "--fd", "root"):
        assert word in shown


def test_a_failed_start_is_one_line_and_an_exit_code() -> None:
    done = python("-m", "appliance.kernel.helper", "--root", "/nonexistent", "--allow-user", "nobody-here")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nobody-here" in done.stderr
