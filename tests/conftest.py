"""What holds for every test: no thread, task or file descriptor is left behind."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)  # machines are noisy; time is measured by make bench
settings.load_profile("house")


def open_descriptors() -> dict[int, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except OSError:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """No thread and no descriptor that a test opened outlives it."""
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    yield
    left = [t for t in threading.enumerate() if t not in threads and not t.name.startswith("asyncio_")]
    assert not left, f"threads left behind: {left}"
    if opened_since(descriptors):
        gc.collect()  # cycles may hold what nobody uses any more; collecting is too slow to do it always
        assert not opened_since(descriptors), "descriptors left behind"


def opened_since(before: dict[int, str]) -> dict[int, str]:
    return {fd: to for fd, to in open_descriptors().items() if fd not in before and is_ours(to)}


def is_ours(target: str) -> bool:
    """Event loops of pytest-asyncio and the coverage of hypothesis keep their own files."""
    return not any(word in target for word in ("eventpoll", "hypothesis", "anon_inode:[eventfd]", "/dev/"))


@pytest.fixture
async def no_task_left_behind() -> AsyncIterator[None]:
    """No task that a test started outlives it and its fixtures."""
    before = asyncio.all_tasks()
    yield
    now = asyncio.all_tasks() - {asyncio.current_task()}  # this fixture's own end is a task too
    left = {task for task in now - before if not task.done()}
    assert not left, f"tasks left behind: {left}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Coroutine tests, and only they, have a loop whose tasks can be counted."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "no_task_left_behind")
