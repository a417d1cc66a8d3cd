"""The loads notice what they are for, and nothing else."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.usbip.wire import HEADER_SIZE, DeviceRecord, RetSubmit
from gadgets.usb.urb import Speed
from tests.namespaces import urbs
from tests.namespaces.appliance import Appliance
from tests.namespaces.loads import Disk, Echo, Keys
from tests.namespaces.urbs import Imported, Wrong
from tests.namespaces.world import Node, World

RECORD = DeviceRecord("", "x", 1, 1, Speed.HIGH, 0, 0, 0, 0, 0, 0, 1, 1)
CONFIGURATION = bytes.fromhex("09021900010100c032 09040000010300 0000 07058103080001")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World("client", "a") as world:
        yield world


@pytest.fixture(scope="module")
def appliance(world: World) -> Iterator[Appliance]:
    with tempfile.TemporaryDirectory(prefix="twinhub-") as folder:
        appliance = Appliance(world["a"], Path(folder)).start()
        appliance.wait_for("disk", "keyboard", "serial")
        yield appliance
        world["a"].kill()


@pytest.mark.parametrize("depth", [1, 8], ids=["closed loop", "pipelined"])
def test_a_disk_reads_what_was_written(world: World, appliance: Appliance, depth: int) -> None:
    with Disk(world["client"], world["a"].address, "disk", depth=depth) as disk:
        disk.goes_on(2000)
    assert disk.usb.in_flight == 0


@pytest.mark.parametrize("urbs", [1, 8])
def test_a_keyboard_brings_what_was_typed(world: World, appliance: Appliance, urbs: int) -> None:
    with Keys(world["client"], world["a"].address, "keyboard", urbs) as keys:
        for text in ("Hello", " world"):
            keys.typed(text)
            appliance.local("keyboard", {"type_text": text})
        keys.caught_up()


@pytest.mark.parametrize("window", [8, 4096], ids=["closed loop", "pipelined"])
def test_a_serial_line_echoes(world: World, appliance: Appliance, window: int) -> None:
    with Echo(world["client"], world["a"].address, "serial", window) as echo:
        echo.goes_on(200)
    assert echo.echoed > 0


def type_behind_its_back(appliance: Appliance, keys: Keys) -> None:
    appliance.local("keyboard", {"type_text": "a"})
    keys.goes_on(5)


def test_a_report_that_nobody_typed_is_noticed(world: World, appliance: Appliance) -> None:
    keys = Keys(world["client"], world["a"].address, "keyboard")
    with pytest.raises(Wrong, match="nothing was typed"), keys:
        type_behind_its_back(appliance, keys)


def test_a_block_that_is_not_what_was_written_is_noticed(world: World, appliance: Appliance) -> None:
    disk = Disk(world["client"], world["a"].address, "disk", megabytes=1)
    disk.written.update((chunk, 7) for chunk in range(256))
    with pytest.raises(Wrong, match="came, not"), disk:
        disk.goes_on(2000)


def test_a_server_that_hangs_up_is_no_good_end(world: World, appliance: Appliance) -> None:
    disk = Disk(world["client"], world["a"].address, "disk")
    with pytest.raises(ConnectionError), disk:
        disk.usb.hang_up()


@contextmanager
def scripted(monkeypatch: pytest.MonkeyPatch, node: Node) -> Iterator[tuple[Imported, socket.socket]]:
    """A device that answers by hand."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(urbs, "imported", lambda *_: (RECORD, ours))
        reply(theirs, 1, CONFIGURATION)
        reply(theirs, 2)
        yield Imported(node, "", "scripted"), theirs


def reply(sock: socket.socket, number: int, data: bytes = b"") -> None:
    sock.sendall(RetSubmit(number, 0, len(data), 0, 0, 0).pack().ljust(HEADER_SIZE, b"\0") + data)


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [((3, 3), "second time"), ((4,), "before 3"), ((7,), "nobody's")],
    ids=["doubled", "out of order", "invented"],
)
def test_a_wrong_answer_is_noticed(
    monkeypatch: pytest.MonkeyPatch, world: World, answers: tuple[int, ...], complaint: str
) -> None:
    with scripted(monkeypatch, world["client"]) as (usb, server):
        for _ in range(3):
            usb.submit(0x81, length=8)
        *right, wrong = answers
        for number in right:
            reply(server, number, bytes(8))
            usb.answer()
        reply(server, wrong, bytes(8))
        with pytest.raises(Wrong, match=complaint):
            usb.answer()
