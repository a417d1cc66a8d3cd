"""A hub on a fake sysfs: the helper and the sessions are doubles, all else is real."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from appliance.config import Config, parse
from appliance.daemon import directory
from appliance.daemon.hub import Hub
from appliance.errors import Busy, DeviceFailed, NotFound
from appliance.exports.store import Store
from appliance.inventory.monitor import Inventory
from appliance.kernel.stub import DRIVER, StubStatus
from appliance.sessions.state import SessionSpec
from tests import fakesysfs

HERE, THERE = ip_address("10.0.0.1"), ip_address("10.0.0.2")


class FakeHelper:
    """Does on the fake sysfs what the kernel would; no driver lets go of busids that are `stuck`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stuck: set[str] = set()

    def folder(self, busid: str) -> Path:
        return self.root / "sys/bus/usb/devices" / busid

    async def bind(self, busid: str) -> None:
        if busid in self.stuck:
            raise DeviceFailed(f"the driver of {busid} does not let go")
        fakesysfs.set_driver(self.root, self.folder(busid), DRIVER)
        self.set_status(busid, StubStatus.AVAILABLE)

    async def unbind(self, busid: str) -> None:
        fakesysfs.set_driver(self.root, self.folder(busid), "usb")
        fakesysfs.set_attributes(self.folder(busid), usbip_status=None)

    async def hand_over(self, busid: str, fd: int) -> None:
        if await self.status(busid) is StubStatus.USED:
            raise Busy(f"{busid} is in use by another client")
        self.set_status(busid, StubStatus.USED)

    async def end(self, busid: str) -> None:
        self.set_status(busid, StubStatus.AVAILABLE)

    async def status(self, busid: str) -> StubStatus:
        try:
            return StubStatus(int((self.folder(busid) / "usbip_status").read_text()))
        except OSError:
            raise NotFound(f"{busid} is not bound") from None

    async def load_modules(self) -> None:
        pass

    def set_status(self, busid: str, status: StubStatus) -> None:
        fakesysfs.set_attributes(self.folder(busid), usbip_status=str(int(status)))

    def driver_of(self, busid: str) -> str:
        return (self.folder(busid) / "driver").resolve().name


@dataclass
class FakeSessions:
    """Sessions without processes; `adoptable` are those that an earlier daemon left."""

    helper: FakeHelper
    on_end: Callable[[SessionSpec, str], None]
    adoptable: list[SessionSpec] = field(default_factory=list)
    running: dict[str, SessionSpec] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    ended: list[tuple[str, str]] = field(default_factory=list)
    """name and reason"""
    left: bool = False
    failure: Exception | None = None
    """what the next start raises"""

    def all(self) -> list[SessionSpec]:
        return list(self.running.values())

    async def start(self, spec: SessionSpec, client: socket.socket, guard: object = None) -> None:
        if self.failure:
            raise self.failure
        if spec.busid:
            await self.helper.hand_over(spec.busid, client.fileno())
        self.running[spec.id] = spec
        client.close()

    async def adopt(self) -> list[SessionSpec]:
        self.running |= {spec.id: spec for spec in self.adoptable}
        return self.all()

    async def kick(self, session: str, reason: str) -> None:
        spec = self.running.pop(session)
        if spec.busid:
            await self.helper.end(spec.busid)
        self.ended.append((spec.name, reason))
        self.on_end(spec, reason)

    async def stats(self, session: str) -> dict[str, Any]:
        return {}

    def version(self, session: str) -> str:
        return self.versions.get(session, "unknown")

    async def upgrade(self, session: str) -> str:
        raise NotImplementedError

    async def close(self, leave: bool) -> None:
        self.left = leave


@dataclass
class House:
    """`hub` with `helper` and `sessions`; what is plugged into `root` counts from the next `look()` on."""

    root: Path
    config: Config
    inventory: Inventory
    store: Store
    helper: FakeHelper
    hub: Hub = field(init=False)
    sessions: FakeSessions = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, rules: str | None = None) -> Hub:
        """Another daemon comes up, with other [[share]] rules if these are given."""
        if rules is not None:
            self.config = configuration(self.config.paths.runtime.parent, rules)
        self.hub = Hub(self.config, self.helper, self.inventory, self.store)
        self.sessions = FakeSessions(self.helper, self.hub._session_ended)
        self.hub.sessions = self.sessions  # type: ignore[assignment]
        return self.hub

    def plug(self, busid: str, **attributes: Any) -> Path:
        return fakesysfs.add_device(self.root, busid, **attributes)

    def unplug(self, busid: str) -> None:
        fakesysfs.remove_device(self.root, busid)

    async def look(self) -> None:
        """The inventory sees what is plugged, and the hub acts on it."""
        await self.inventory.refresh()
        await self.hub.settle()


def configuration(folder: Path, text: str) -> Config:
    paths = {name: folder / name for name in ("runtime", "state")}
    for path in paths.values():
        path.mkdir(exist_ok=True)
    tables = "".join(f'{name} = "{path}"\n' for name, path in paths.items())
    return parse(f"{text}\n[paths]\n{tables}")


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """Shares everything but what has serial number PRIVATE, with the network 10.0.0.0/24; 1-1 is plugged."""
    text = '[listen]\nallow = ["10.0.0.0/24"]\n'
    text += '[[share]]\nserial = "PRIVATE"\nexclude = true\n[[share]]\nany = true'
    root = tmp_path / "root"
    read = directory.descriptors_of
    monkeypatch.setattr(directory, "descriptors_of", lambda syspath: read(f"{root}{syspath}"))
    fakesysfs.add_device(root, "1-1", product="Disk", serial="S1")
    config = configuration(tmp_path, text)
    store = Store(config.paths.state / "state.db")
    async with Inventory(root, listen=lambda _: None) as inventory:
        house = House(root, config, inventory, store, FakeHelper(root))
        await house.hub.settle()
        yield house
    store.close()


@pytest.fixture
def client() -> Iterator[socket.socket]:
    """The server's end of a client's connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        yield accepted
