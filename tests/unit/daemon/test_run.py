"""The daemon as a whole, with software keyboards and no privileges: it starts, ends, and starts again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from appliance.config import Config
from appliance.daemon import systemd
from appliance.daemon.hub import Hub
from appliance.daemon.run import serve, told_to_stop
from appliance.kernel.client import NoHelper
from appliance.usbip.client import import_export, list_exports
from tests.unit.daemon.conftest import configuration


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What the daemon says to systemd arrives here: it is how a test knows that it is ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


@pytest.fixture
def config(tmp_path: Path) -> Config:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    listen = f'[listen]\naddresses = ["127.0.0.1"]\nport = {port}\n'
    return configuration(
        tmp_path, f'{listen}[status]\nport = 0\n[[gadget]]\ndefinition = "keyboard"\ncount = 2'
    )


@asynccontextmanager
async def running(config: Config, manager: socket.socket, end: signal.Signals) -> AsyncIterator[None]:
    """From when it is ready; then `end` is sent, and it has ended by itself."""
    daemon = asyncio.create_task(serve(config, NoHelper()))
    while b"READY=1" not in await asyncio.get_running_loop().sock_recv(manager, 4096):
        assert not daemon.done()
    yield
    os.kill(os.getpid(), end)
    await daemon


async def use_keyboard(config: Config, caplog: pytest.LogCaptureFixture) -> socket.socket:
    """A client's session with the second one, as soon as the daemon knows that it runs."""
    _, client = await asyncio.to_thread(import_export, "127.0.0.1", config.listen.port, "keyboard-2")
    client.settimeout(20)
    async with asyncio.timeout(20):
        while "keyboard-2 (gadget) with" not in caplog.text:  # noqa: ASYNC110 - a log wakes nobody
            await asyncio.sleep(0.01)
    return client


def sockets(config: Config) -> list[Path]:
    return list((config.paths.runtime / "sessions").iterdir())


async def test_it_lists_its_keyboards_when_it_is_ready(config: Config, manager: socket.socket) -> None:
    async with running(config, manager, signal.SIGTERM):
        records = await asyncio.to_thread(list_exports, "127.0.0.1", config.listen.port)
        assert [record.busid for record in records] == ["keyboard", "keyboard-2"]
        assert len({record.devid for record in records}) == 2


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
async def test_its_end_is_the_end_of_its_sessions(
    config: Config, manager: socket.socket, end: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with running(config, manager, end):
        client = await use_keyboard(config, caplog)
    with client:
        assert client.recv(1) == b""
    assert sockets(config) == []


async def test_told_to_leave_it_leaves_its_sessions_and_the_next_one_takes_them_up(
    config: Config, manager: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with running(config, manager, signal.SIGHUP):
        client = await use_keyboard(config, caplog)
    with client:
        (session,) = sockets(config)
        async with running(config, manager, signal.SIGTERM):
            assert f"session {session.stem} of keyboard-2 with" in caplog.text
            assert sockets(config) == [session]
        assert client.recv(1) == b""
    assert sockets(config) == []


class Handed:
    """Groups that remember that they were handed over."""

    def __init__(self) -> None:
        self.over = False

    async def hand_over(self) -> None:
        self.over = True


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_the_sibling_can_go_on_with_is_handed_over_unless_the_next_daemon_goes_on(
    restarts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "restart_is_pending", lambda: restarts)
    groups, stop = Handed(), asyncio.Event()
    stop.set()
    await told_to_stop(cast(Hub, SimpleNamespace(groups=groups)), stop, asyncio.Event())
    assert groups.over is not restarts


async def test_told_to_leave_it_hands_nothing_over() -> None:
    groups, stop, leave = Handed(), asyncio.Event(), asyncio.Event()
    stop.set()
    leave.set()
    await told_to_stop(cast(Hub, SimpleNamespace(groups=groups)), stop, leave)
    assert not groups.over
