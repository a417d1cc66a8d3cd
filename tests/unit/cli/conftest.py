from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.api.app import full_application
from appliance.api.sites import SOCKET_NAME, on_unix_socket
from appliance.cli.main import main
from tests.unit.api.fake import FakeAppliance


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Twinhub = Callable[..., Said]


@pytest.fixture
def twinhub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Twinhub]:
    """Runs a command against the runtime directory of the test, in a place where it is always UTC."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("TWINHUB_CONFIG", raising=False)
    time.tzset()

    def run(*words: str) -> Said:
        code = main([*words, "--runtime-dir", str(tmp_path)])
        return Said(code, *capsys.readouterr())

    yield run
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[FakeAppliance]:
    """A daemon, as far as the CLI can tell."""
    fake = FakeAppliance()
    with serving(fake, tmp_path / SOCKET_NAME):
        yield fake


@contextmanager
def serving(fake: FakeAppliance, path: Path) -> Iterator[None]:
    """In a thread of its own, because the CLI blocks."""
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with on_unix_socket(full_application(fake), path):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
