"""sd_notify(3), sd_listen_fds(3) and the kept sockets, against a service manager made of one socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config import parse
from appliance.daemon import systemd
from appliance.daemon.run import open_listeners


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def hand(monkeypatch: pytest.MonkeyPatch, sock: socket.socket, name: str, pid: int | None = None) -> None:
    """As systemd would at a start: the socket is ours from its descriptor on."""
    monkeypatch.setattr(systemd, "FIRST_FD", sock.detach())
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() if pid is None else pid))
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_FDNAMES", name)


def test_state_is_sent_to_the_manager(manager: socket.socket) -> None:
    systemd.notify("READY=1", "STATUS=serving")
    assert manager.recv(100) == b"READY=1\nSTATUS=serving"


def test_the_managers_socket_may_be_abstract(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"twinhub-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        systemd.notify("WATCHDOG=1")
        assert manager.recv(100) == b"WATCHDOG=1"


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("NOTIFY_SOCKET", "LISTEN_PID", "WATCHDOG_USEC", "INVOCATION_ID"):
        monkeypatch.delenv(variable, raising=False)
    systemd.notify("READY=1")
    assert systemd.kept() == {}
    assert systemd.watchdog_interval() is None
    assert not systemd.restart_is_pending()


def test_what_is_kept_comes_back_by_its_name_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as sock:
        hand(monkeypatch, sock.dup(), "listen-here")
        ((name, (fd,)),) = systemd.kept().items()
        with socket.socket(fileno=fd):
            assert name == "listen-here"
            assert not os.get_inheritable(fd)
            assert systemd.kept() == {}


def test_what_was_handed_to_another_process_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as sock:
        monkeypatch.setattr(systemd, "FIRST_FD", sock.fileno())
        monkeypatch.setenv("LISTEN_PID", "1")
        assert systemd.kept() == {}


def test_a_listener_is_kept_and_taken_again_by_the_next_daemon(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse('[listen]\naddresses = ["127.0.0.1"]\nport = 0')
    (listener,) = open_listeners(config)
    with listener:
        told, fds, _, _ = socket.recv_fds(manager, 100, 2)
        assert told == b"FDSTORE=1\nFDNAME=listen-127.0.0.1-0"
        hand(monkeypatch, socket.socket(fileno=fds[0]), "listen-127.0.0.1-0")
        (again,) = open_listeners(config)
        with again:
            assert again.getsockname() == listener.getsockname()


def test_a_kept_listener_that_is_not_wanted_any_more_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, kept = socket.socketpair()
    with ours:
        hand(monkeypatch, kept, "listen-192.0.2.1-3240")
        for listener in open_listeners(parse('[listen]\naddresses = ["127.0.0.1"]\nport = 0')):
            listener.close()
        assert ours.recv(1) == b"", "the other end is closed"


def test_signs_of_life_come_twice_as_often_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert systemd.watchdog_interval() == 10
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_interval() is None


@pytest.mark.parametrize(
    ("jobs", "is_restart"),
    [("123 twinhub.service restart running", True), ("123 twinhub.service stop running", False), ("", False)],
)
def test_a_restart_is_told_from_a_stop_by_the_managers_jobs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jobs: str, is_restart: bool
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\necho '{jobs}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("INVOCATION_ID", "0")
    assert systemd.restart_is_pending() is is_restart
