"""Fixtures: `lab` (a module's lab), `pair` (its server and client, tidied up after every test)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator

import pytest

from tests.lab import Lab, Machine
from tests.lab.kernel import Kernel

LAB = pytest.StashKey[Lab]()


@pytest.fixture(autouse=True)
def nothing_leaks() -> None:
    """Machines outlive a test; `lab` itself leaves nothing behind."""


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Boots machines; they end with the module at the latest."""
    if Kernel.find() is None or not shutil.which("qemu-system-x86_64"):
        reason = "no QEMU or no kernel to boot: run `python -m tests.lab.setup` as root"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with Lab() as lab:
        request.node.stash[LAB] = lab
        yield lab


@pytest.fixture(scope="module")
def booted_pair(lab: Lab) -> Iterator[tuple[Machine, ...]]:
    with lab.machines("server", "client") as machines:
        yield machines


@pytest.fixture
def pair(lab: Lab, booted_pair: tuple[Machine, ...]) -> Iterator[tuple[Machine, ...]]:
    """(server, client), booted once a module; between tests nothing is plugged, started or cut."""
    yield booted_pair
    lab.network.heal()
    for machine in booted_pair:
        machine.reset()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    module = item.getparent(pytest.Module)
    if report.failed and module and (lab := module.stash.get(LAB, None)):
        for machine in list(lab.running.values()):
            report.sections.extend(machine.report().items())
    return report
