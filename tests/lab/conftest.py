"""Fixtures: `lab` (a module's lab), and casts, tidied up after every test: `pair`, `house`, `trio`, `hub`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator

import pytest

from tests.lab import Lab, Machine
from tests.lab.arbiter import Arbiter
from tests.lab.house import House
from tests.lab.kernel import Kernel
from tests.lab.shared_hub import SharedHub
from tests.lab.trio import TRIO, Trio, start_witness

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


@pytest.fixture(scope="module")
def booted_trio(lab: Lab) -> Iterator[Trio]:
    with lab.machines(*TRIO):
        yield Trio(lab)


@pytest.fixture
def trio(booted_trio: Trio) -> Iterator[Trio]:
    """Appliances `a` and `b`, and a `client`; who was powered off in a test is there again after it."""
    yield booted_trio
    booted_trio.tidy()


@pytest.fixture(scope="module")
def booted_third(lab: Lab, booted_trio: Trio) -> Iterator[Machine]:
    with lab.machines("witness", memory="512M") as (machine,):
        yield machine


@pytest.fixture
def witness(trio: Trio, booted_third: Machine) -> Iterator[str]:
    """A witness on a machine named "witness", as the selector that `a` and `b` write."""
    yield start_witness(booted_third, trio.a, trio.b)
    booted_third.reset()


@pytest.fixture
def hub(trio: Trio) -> Iterator[SharedHub]:
    """A hub that a switch gives to `a` or to `b`; at first nobody has it."""
    hub = SharedHub(trio.new_folder(), {"a": trio.a, "b": trio.b})
    yield hub
    hub.close()


@pytest.fixture
def arbiter(trio: Trio, hub: SharedHub) -> Iterator[Arbiter]:
    """Turns that switch, at the order of `arbiter:/dev/ttyS1`."""
    arbiter = Arbiter(trio.new_folder(), hub)
    yield arbiter
    arbiter.close()


@pytest.fixture(scope="module")
def standing_house(booted_pair: tuple[Machine, Machine]) -> Iterator[House]:
    house = House(*booted_pair)
    yield house
    house.close()


@pytest.fixture
def house(standing_house: House, lab: Lab) -> Iterator[House]:
    """Two shared disks and their client, for one story (`house.py`)."""
    with standing_house.story():
        yield standing_house
        lab.network.heal()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    module = item.getparent(pytest.Module)
    if report.failed and module and (lab := module.stash.get(LAB, None)):
        for machine in list(lab.running.values()):
            report.sections.extend(machine.report().items())
    return report
