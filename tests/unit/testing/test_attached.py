"""A gadget attached to the local kernel: here the kernel's end of the socket is in the test's hand."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import NotFound, Unavailable, UsageError
from appliance.kernel import modules, vhci
from appliance.kernel.paths import Kernel
from appliance.testing.attached import DEVID, Attached
from gadgets.definition.catalogue import ready
from gadgets.hid.report import Leds
from gadgets.usb.urb import Speed
from tests.unit.sessions.pdus import submit

CONFIGURE = bytes.fromhex("0009010000000000")
CAPS_LOCK = bytes.fromhex("2109000200000100")


class Vhci:
    """Stands for vhci_hcd, and for the driver that configures the device."""

    def __init__(self) -> None:
        self.kernel: socket.socket | None = None
        self.number = 0

    def attach(self, kernel: Kernel, fd: int, devid: int, speed: int, remote: vhci.Remote) -> int:
        assert (devid, speed, remote.name) == (DEVID, Speed.FULL, "keyboard")
        self.kernel = socket.socket(fileno=os.dup(fd))
        self.control(CONFIGURE)
        return 3

    def control(self, setup: bytes, data: bytes = b"") -> None:
        assert self.kernel
        self.number += 1
        self.kernel.sendall(submit(self.number, 0, data=data, setup=setup, devid=DEVID))
        self.answer(48)

    def answer(self, size: int) -> bytes:
        assert self.kernel
        found = self.kernel.recv(size, socket.MSG_WAITALL)
        assert struct.unpack_from(">I", found) == (3,)
        return found

    def all_ports(self, kernel: Kernel) -> list[vhci.Port]:
        used = vhci.Port(3, False, vhci.PortStatus.USED, 2, DEVID, "1-4")
        return [used] if self.kernel else []

    def detach(self, kernel: Kernel, number: int) -> None:
        if not self.kernel:
            raise NotFound("nothing is attached")
        self.kernel.close()
        self.kernel = None


@pytest.fixture
def vhci_hcd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vhci]:
    found = Vhci()
    monkeypatch.setattr(modules, "load_all", lambda *_: None)
    for name in ("attach", "detach", "all_ports"):
        monkeypatch.setattr(vhci, name, getattr(found, name))
    yield found
    assert found.kernel is None, "it is still plugged in"


@pytest.fixture
def keyboard(vhci_hcd: Vhci) -> Iterator[Attached]:
    rig = Attached(ready("keyboard").build(), Kernel(Path("/nowhere")))
    with closing(rig.host):
        yield rig


def test_the_kernel_has_the_device(keyboard: Attached) -> None:
    assert keyboard.device.configuration_value == 1
    assert keyboard.syspath == Path("/nowhere/sys/bus/usb/devices/1-4")


def test_what_the_test_sends_reaches_the_kernel(keyboard: Attached, vhci_hcd: Vhci) -> None:
    assert vhci_hcd.kernel
    vhci_hcd.kernel.sendall(submit(9, 0x81, 8, devid=DEVID))
    keyboard.wait_for(lambda: keyboard.requests[-1].endpoint == 0x81)
    keyboard.send(type_text="a")
    assert vhci_hcd.answer(56)[48:] == bytes((0, 0, 4, 0, 0, 0, 0, 0))
    with pytest.raises(UsageError, match="layout"):
        keyboard.send(type_text="a", layout="klingon")


def test_what_the_kernel_does_is_seen(keyboard: Attached, vhci_hcd: Vhci) -> None:
    vhci_hcd.control(CAPS_LOCK, b"\x02")
    assert keyboard.wait_for(Leds).caps_lock
    assert keyboard.requested(0x21, 0x09)[0].data == b"\x02"


def test_when_the_kernel_lets_go_it_is_told(keyboard: Attached, vhci_hcd: Vhci) -> None:
    vhci_hcd.detach(Kernel(), 3)
    keyboard.host._thread.join()
    with pytest.raises(Unavailable, match="let go"):
        keyboard.send(type_text="a")
    with pytest.raises(NotFound):
        _ = keyboard.syspath


def test_where_no_port_is_free_nothing_is_left_behind(
    vhci_hcd: Vhci, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise Unavailable("vhci_hcd is not loaded")

    monkeypatch.setattr(vhci, "attach", full)
    with pytest.raises(Unavailable, match="not loaded"):
        Attached(ready("keyboard").build(), Kernel(Path("/nowhere")))
