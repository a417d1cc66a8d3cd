"""The daemon's gadgets, with real processes: defined, added, remembered, removed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.config import Config
from appliance.daemon.directory import HubDirectory
from appliance.daemon.facade import Facade
from appliance.daemon.hub import Hub
from appliance.daemon.run import begin, end
from appliance.errors import ConfigError, DeviceFailed, NotFound, Refused, TwinhubError, UsageError
from appliance.exports.store import Store
from appliance.inventory.monitor import Inventory
from appliance.kernel.client import NoHelper
from tests.unit.daemon.conftest import HERE, THERE, configuration

ONE = '[[gadget]]\ndefinition = "keyboard"\nallow = ["10.0.0.1"]\ntake_over = "never"\n'
DISK = {"name": "x", "functions": [{"kind": "disk", "options": {"luns": [{"medium": "/none"}]}}]}


class Daemon:
    """It ends and comes up again with the same directories; `leave`: its gadgets go on meanwhile."""

    def __init__(self, folder: Path, inventory: Inventory) -> None:
        self.folder, self.inventory = folder, inventory
        self.hub: Hub

    async def start(self, text: str = ONE) -> Facade:
        config: Config = configuration(self.folder, text)
        self.store = Store(config.paths.state / "state.db")
        try:
            self.hub = Hub(config, NoHelper(), self.inventory, self.store)
        except BaseException:
            self.store.close()
            raise
        await begin(self.hub)
        return Facade(self.hub, [])

    async def end(self, leave: bool = False) -> None:
        leaving = asyncio.Event()
        if leave:
            leaving.set()
        await end(self.hub, leaving)
        self.hub.close()
        self.store.close()

    def pid(self, name: str) -> int | None:
        return next(each["pid"] for each in self.hub.gadgets.told() if each["name"] == name)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """Not started yet; at the end no process of it is left."""
    async with Inventory(tmp_path / "root", listen=lambda _: None) as inventory:
        daemon = Daemon(tmp_path, inventory)
        yield daemon
        if hasattr(daemon, "hub"):
            await daemon.end()
            assert list((tmp_path / "runtime/gadgets").iterdir()) == []


async def test_a_gadget_of_the_configuration_is_exported_to_whom_it_says(daemon: Daemon) -> None:
    facade = await daemon.start()
    (export,) = facade.exports()
    assert (export["name"], export["kind"], export["state"]) == ("keyboard", "gadget", "available")
    assert (export["allow"], export["take_over"]) == (["10.0.0.1/32"], "never")
    assert export["description"] == "Twinhub Keyboard"
    directory = HubDirectory(daemon.hub, facade.figures.refusals)
    assert [record.busid for record in directory.list(HERE)] == ["keyboard"]
    assert directory.list(THERE) == []
    with pytest.raises(Refused):
        await directory.open("keyboard", THERE)


async def test_one_that_does_not_run_is_an_error_and_the_others_are_there(
    daemon: Daemon, tmp_path: Path
) -> None:
    (tmp_path / "disk.toml").write_text('[[function]]\nkind = "disk"\nluns = [{ medium = "none.img" }]\n')
    facade = await daemon.start(f'{ONE}[[gadget]]\ndefinition = "{tmp_path}/disk.toml"\n')
    assert {each["name"]: each["state"] for each in facade.exports()} == {
        "keyboard": "available",
        "disk": "error",
    }
    assert "none.img" in (await facade.gadget("disk"))["problem"]
    directory = HubDirectory(daemon.hub, facade.figures.refusals)
    assert [record.busid for record in directory.list(HERE)] == ["keyboard"]
    with pytest.raises(TwinhubError, match=r"none\.img"):
        await directory.open("disk", HERE)
    with pytest.raises(DeviceFailed, match=r"none\.img"):
        await facade.local("disk", {"eject": True})


async def test_a_definition_that_makes_no_sense_is_named_with_its_line(
    daemon: Daemon, tmp_path: Path
) -> None:
    (tmp_path / "x.toml").write_text('[[function]]\nkind = "keybord"\n')
    with pytest.raises(ConfigError, match=r"x\.toml, line 2: .*did you mean 'keyboard'"):
        await daemon.start(f'[[gadget]]\ndefinition = "{tmp_path}/x.toml"\n')


async def test_what_is_added_is_there_at_once_and_remembered(daemon: Daemon) -> None:
    facade = await daemon.start()
    words = {"definition": "mouse", "count": 2, "allow": ["10.0.0.2"]}
    assert [each["name"] for each in await facade.add_gadget(words, keep=True)] == ["mouse", "mouse-2"]
    assert [(each["name"], each["state"]) for each in facade.exports()] == [
        ("keyboard", "available"), ("mouse", "available"), ("mouse-2", "available"),
    ]  # fmt: skip
    await daemon.end()
    facade = await daemon.start()
    assert {each["name"]: each["source"] for each in facade.gadgets()} == {
        "keyboard": "config", "mouse": "added", "mouse-2": "added",
    }  # fmt: skip
    assert {each["name"]: each["allow"] for each in facade.exports()}["mouse-2"] == ["10.0.0.2/32"]


async def test_what_is_added_for_now_is_gone_with_the_daemon(daemon: Daemon) -> None:
    facade = await daemon.start()
    await facade.add_gadget({"definition": "mouse"}, keep=False)
    await daemon.end(leave=True)
    facade = await daemon.start()
    assert [each["name"] for each in facade.gadgets()] == ["keyboard"]


async def test_what_is_removed_stays_removed_and_its_name_is_free(daemon: Daemon) -> None:
    facade = await daemon.start()
    await facade.add_gadget({"definition": "mouse"}, keep=True)
    await facade.remove_gadget("mouse")
    assert [each["name"] for each in facade.exports()] == ["keyboard"]
    with pytest.raises(NotFound, match="no gadget 'mouse'"):
        await facade.remove_gadget("mouse")
    await facade.add_gadget({"definition": "tablet", "name": "mouse"}, keep=False)
    await daemon.end()
    facade = await daemon.start()
    assert [each["name"] for each in facade.gadgets()] == ["keyboard"]
    assert [entry["action"] for entry in facade.audit(10)] == ["gadget add", "gadget remove", "gadget add"]


async def test_a_gadget_of_the_configuration_is_not_removed(daemon: Daemon) -> None:
    facade = await daemon.start()
    with pytest.raises(UsageError, match="is in the configuration"):
        await facade.remove_gadget("keyboard")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"definition": "keyboard"}, "there is a gadget 'keyboard' already"),
        ({"definition": "mouse", "colour": "red"}, "gadget: colour: unknown key"),
        ({}, "gadget: definition: is missing"),
        ({"definition": {"name": "x", "speed": "warp"}}, "definition: speed: found \"warp\""),
        ({"definition": DISK}, "/none"),
    ],
)  # fmt: skip
async def test_what_cannot_be_added_leaves_nothing_behind(
    daemon: Daemon, table: dict[str, object], said: str
) -> None:
    facade = await daemon.start()
    with pytest.raises(TwinhubError, match=said):
        await facade.add_gadget(table, keep=True)
    assert [each["name"] for each in facade.gadgets()] == ["keyboard"]
    assert daemon.store.gadgets() == {}


async def test_a_gadget_goes_on_over_a_restart_unless_it_is_defined_otherwise(
    daemon: Daemon, tmp_path: Path
) -> None:
    (tmp_path / "kiosk.toml").write_text('[[function]]\nkind = "keyboard"\n')
    text = f'{ONE}[[gadget]]\ndefinition = "{tmp_path}/kiosk.toml"\n'
    await daemon.start(text)
    before = daemon.pid("keyboard"), daemon.pid("kiosk")
    await daemon.end(leave=True)
    (tmp_path / "kiosk.toml").write_text('[[function]]\nkind = "mouse"\n')
    await daemon.start(text)
    assert daemon.pid("keyboard") == before[0]
    assert daemon.pid("kiosk") not in (before[1], None)


async def test_what_was_added_and_makes_no_sense_any_more_is_left_out(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    await daemon.start()
    daemon.store.add_gadget("old", {"definition": {"name": "old", "wings": 2}, "name": "old"})
    await daemon.end()
    facade = await daemon.start()
    assert [each["name"] for each in facade.gadgets()] == ["keyboard"]
    assert "gadget old, which was added, is left out" in caplog.text


async def test_events_say_when_gadgets_come_and_go(daemon: Daemon) -> None:
    facade = await daemon.start()
    async with facade.events() as events:
        await facade.add_gadget({"definition": "mouse"}, keep=False)
        await facade.remove_gadget("mouse")
        told = [(event["event"], event["gadget"]) for event in [await anext(events) for _ in range(2)]]
    assert told == [("gadget.running", "mouse"), ("gadget.removed", "mouse")]
