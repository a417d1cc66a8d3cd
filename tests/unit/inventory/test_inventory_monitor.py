"""The live inventory, on a fake sysfs and with events of the test's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.inventory import monitor
from appliance.inventory.monitor import (
    Added,
    Change,
    Changed,
    Changes,
    Inventory,
    Removed,
    Resync,
    differences,
)
from appliance.inventory.sysfs import read_devices
from appliance.inventory.uevents import listen
from tests.fakesysfs import add_device, add_hub, remove_device, set_attributes, set_driver

NEVER = 3600.0


class Bell:
    """Events that a test rings by hand; as with netlink, what was rung waits until it is drained."""

    def __init__(self, root: str | Path = "/") -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK)
        self.error: OSError | None = None

    def ring(self) -> None:
        os.write(self._write, b"!")

    def fileno(self) -> int:
        return self._read

    def drain(self) -> None:
        if self.error:
            raise self.error
        os.read(self._read, 4096)

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add_hub(tmp_path, "usb1")
    return tmp_path


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
async def inventory(root: Path, bell: Bell) -> AsyncIterator[Inventory]:
    async with Inventory(root, listen=lambda root: bell, settle=0, rescan=NEVER) as inventory:
        yield inventory


def brief(change: Change) -> str:
    return type(change).__name__ + ("" if isinstance(change, Resync) else f" {change.device.busid}")


async def following(changes: Changes, count: int) -> list[str]:
    return [brief(await anext(changes)) for _ in range(count)]


async def test_what_is_attached_already_is_known_once_started(inventory: Inventory) -> None:
    assert list(inventory.devices) == ["usb1"]


async def test_a_device_plugged_in_and_out_is_told(root: Path, inventory: Inventory, bell: Bell) -> None:
    changes = inventory.changes()
    add_device(root, "1-1")
    bell.ring()
    assert await following(changes, 1) == ["Added 1-1"]
    assert "1-1" in inventory.devices
    remove_device(root, "1-1")
    bell.ring()
    assert await following(changes, 1) == ["Removed 1-1"]
    assert "1-1" not in inventory.devices


async def test_a_hub_full_of_devices_comes_and_goes_whole(
    root: Path, inventory: Inventory, bell: Bell
) -> None:
    changes = inventory.changes()
    plugged = ["1-1", *(f"1-1.{port}" for port in range(1, 31))]
    add_hub(root, "1-1", ports=30)
    for busid in plugged[1:]:
        add_device(root, busid)
        bell.ring()
    assert await following(changes, 31) == [f"Added {busid}" for busid in plugged]
    remove_device(root, "1-1")
    bell.ring()
    assert await following(changes, 31) == [f"Removed {busid}" for busid in reversed(plugged)]


async def test_every_subscriber_gets_every_change(root: Path, inventory: Inventory) -> None:
    subscribers = [inventory.changes() for _ in range(3)]
    add_device(root, "1-1")
    await inventory.refresh()
    for changes in subscribers:
        assert await following(changes, 1) == ["Added 1-1"]


async def test_a_slow_subscriber_is_told_to_read_again_and_hurts_no_other(root: Path) -> None:
    async with Inventory(root, backlog=4) as inventory:
        slow, quick = inventory.changes(), inventory.changes()
        for port in range(1, 7):
            add_device(root, f"1-{port}")
            await inventory.refresh()
            assert await following(quick, 1) == [f"Added 1-{port}"]
        assert await following(slow, 1) == ["Resync"]
        assert "1-6" in inventory.devices
        remove_device(root, "1-6")
        await inventory.refresh()
        assert await following(slow, 1) == ["Removed 1-6"]


async def test_a_subscriber_that_is_dropped_is_forgotten(inventory: Inventory) -> None:
    changes = inventory.changes()
    assert changes in inventory._subscribers
    del changes
    assert not inventory._subscribers


async def test_without_events_the_periodic_reading_finds_it(root: Path) -> None:
    async with Inventory(root, listen=lambda root: None, rescan=0.001) as inventory:
        changes = inventory.changes()
        add_device(root, "1-1")
        assert await following(changes, 1) == ["Added 1-1"]


async def test_events_that_end_are_replaced_by_the_periodic_reading(
    root: Path, bell: Bell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(monitor, "RESCAN_DEAF", 0.001)
    async with Inventory(root, listen=lambda root: bell, settle=0, rescan=NEVER) as inventory:
        changes = inventory.changes()
        bell.error = OSError("the socket died")
        add_device(root, "1-1")
        bell.ring()
        assert await following(changes, 1) == ["Added 1-1"]
        add_device(root, "1-2")
        assert await following(changes, 1) == ["Added 1-2"]
    assert [record.getMessage() for record in caplog.records] == [
        "plug events ended (the socket died): looking for devices every few seconds instead"
    ]


async def test_an_event_during_a_reading_causes_another_one(
    root: Path, inventory: Inventory, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = inventory.changes()
    readings = 0

    def read(where: str | Path) -> object:
        nonlocal readings
        readings += 1
        seen = read_devices(where)
        if readings == 1:  # plugged in after this reading passed by, while it is not yet done
            add_device(root, "1-1")
            bell.ring()
        return seen

    monkeypatch.setattr(monitor, "read_devices", read)
    bell.ring()
    assert await following(changes, 1) == ["Added 1-1"]
    assert readings == 2


async def test_closing_ends_the_subscriptions(root: Path) -> None:
    async with Inventory(root) as inventory:
        changes = inventory.changes()
        add_device(root, "1-1")
        await inventory.refresh()
    assert [brief(change) async for change in changes] == ["Added 1-1"]


async def test_what_the_inventory_dies_of_is_told_to_every_subscriber(
    inventory: Inventory, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = inventory.changes()

    def broken(root: str | Path) -> object:
        raise OSError("Too many open files")

    monkeypatch.setattr(monitor, "read_devices", broken)
    bell.ring()
    with pytest.raises(OSError, match="Too many open files"):
        await anext(changes)


async def test_a_start_that_fails_leaves_nothing_open(
    root: Path, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(root: str | Path) -> object:
        raise OSError("Too many open files")

    monkeypatch.setattr(monitor, "read_devices", broken)
    with pytest.raises(OSError, match="Too many open files"):
        await Inventory(root, listen=lambda root: bell).start()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(bell.fileno())


async def test_the_kernels_own_events_can_be_listened_to_unprivileged() -> None:
    async with asyncio.timeout(10), Inventory() as inventory:
        assert isinstance(inventory.devices, dict)


def test_another_root_has_no_events(tmp_path: Path) -> None:
    assert listen(tmp_path) is None


def told(root: Path, change: object) -> list[str]:
    before = read_devices(root)
    assert callable(change)
    change()
    return [brief(c) for c in differences(before, read_devices(root))]


def test_no_change_is_no_change(root: Path) -> None:
    assert told(root, lambda: None) == []


def test_a_device_replugged_between_two_readings_was_removed_and_added(root: Path) -> None:
    add_device(root, "1-1")

    def replug() -> None:
        remove_device(root, "1-1")
        add_device(root, "1-1")

    assert told(root, replug) == ["Removed 1-1", "Added 1-1"]


def test_another_driver_is_a_change_of_the_same_device(root: Path) -> None:
    folder = add_device(root, "1-1")
    before = read_devices(root)
    set_driver(root, folder, "usbip-host")
    (change,) = differences(before, read_devices(root))
    assert isinstance(change, Changed)
    assert (change.before.driver, change.device.driver) == ("usb", "usbip-host")


def test_a_twin_changes_the_identity_of_the_one_that_was_there(root: Path) -> None:
    add_device(root, "1-1", serial="SAME")
    assert told(root, lambda: add_device(root, "1-2", serial="SAME")) == ["Changed 1-1", "Added 1-2"]


def test_removals_come_before_additions_and_leaves_before_their_hub(root: Path) -> None:
    add_device(root, "1-1.1")

    def swap() -> None:
        remove_device(root, "1-1")
        add_device(root, "1-2.1")

    assert told(root, swap) == ["Removed 1-1.1", "Removed 1-1", "Added 1-2", "Added 1-2.1"]


def test_a_status_of_the_stub_is_a_change(root: Path) -> None:
    folder = add_device(root, "1-1", driver="usbip-host")
    assert told(root, lambda: set_attributes(folder, usbip_status="2")) == ["Changed 1-1"]


def test_the_kinds_of_change_carry_the_device(root: Path) -> None:
    device = read_devices(root)["usb1"]
    assert differences({}, {"usb1": device}) == [Added(device)]
    assert differences({"usb1": device}, {}) == [Removed(device)]
