"""Faults that only one class can have, in that class: a disk's CSW, a serial port's lines."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance.errors import UsageError
from gadgets.definition import Definition, Part, parse
from gadgets.faults.bus import Give
from gadgets.faults.catalogue import AnyFault
from gadgets.faults.classes import (
    BadResidue,
    BadSignature,
    BadStatus,
    BadTag,
    DtrDrop,
    MissingCsw,
    Overrun,
)
from gadgets.faults.faulty import Faulty
from gadgets.hid.keyboard import keyboard
from gadgets.serial.line import ControlLines, Send
from gadgets.usb.device import Device
from gadgets.usb.inputs import read_input
from gadgets.usb.urb import Status
from tests.unit.gadgets.host import Host

IN, OUT = 0x81, 0x01
READY = bytes(6)
SENSE = bytes.fromhex("030000001200")
READ = bytes.fromhex("28000000000000000100")


Make = Callable[..., Host]


@pytest.fixture
def build() -> Iterator[Callable[[Definition], Device]]:
    """Makes devices, and closes what they opened."""
    with ExitStack() as stack:

        def make(definition: Definition) -> Device:
            gadget = definition.build()
            stack.callback(gadget.close)
            return gadget.device

        yield make


@pytest.fixture
def disk(build: Callable[[Definition], Device]) -> Make:
    """Past its UNIT ATTENTION, with these faults from then on."""

    def make(*faults: AnyFault) -> Host:
        part = Part("disk", {"luns": [{"medium": "memory:1M"}]})
        host = Host(build(Definition("disk", functions=(part,))))
        run(host, READY)
        host.device = Faulty(host.device, faults, 1)
        return host

    return make


@pytest.fixture
def serial(build: Callable[[Definition], Device]) -> Make:
    """Opened by its host."""

    def make(*faults: AnyFault) -> Host:
        host = Host(Faulty(build(Definition("port", functions=(Part("serial"),))), faults, 1))
        host.control("21 22 0003 0000 0000")
        host.device.take_events()
        return host

    return make


def run(host: Host, command: bytes, length: int = 0) -> tuple[bytes, list[bytes]]:
    """The data and the CSWs that came."""
    cbw = struct.pack("<4sIIBBB16s", b"USBC", 0x11223344, length, 0x80, 0, len(command), command)
    host.submit(OUT, data=cbw)
    data = host.submit(IN, length)[0].data if length else b""
    return data, [done.data for done in host.submit(IN, 13)]


@pytest.mark.parametrize(
    ("fault", "at", "expected"),
    [
        (BadSignature(), 0, b"USBX"),
        (BadTag(), 4, b"\x45"),
        (BadStatus(2), 12, b"\x02"),
        (BadResidue(512), 8, b"\x00\x02\x00\x00"),
    ],
)
def test_a_csw_is_wrong_in_one_field(disk: Make, fault: AnyFault, at: int, expected: bytes) -> None:
    _, (right,) = run(disk(), READY)
    _, (wrong,) = run(disk(fault), READY)
    assert wrong == right[:at] + expected + right[at + len(expected) :]


def test_only_csws_are_counted(disk: Make) -> None:
    host = disk(BadStatus(1, nth=2))
    assert [run(host, READ, 512)[1][0][12] for _ in range(3)] == [0, 1, 0]


def test_a_csw_never_comes(disk: Make) -> None:
    host = disk(MissingCsw(nth=1))
    assert run(host, READY)[1] == []
    assert host.device.unlink(host.number)
    assert len(run(host, READY)[1]) == 1


def test_a_block_goes_bad_after_so_many_transfers(disk: Make) -> None:
    host = disk(Give({"spoil_blocks": 0, "last": 9}, endpoint=OUT, nth=2))
    assert run(host, READ, 512)[1][0][12] == 0
    host.submit(OUT, data=struct.pack("<4sIIBBB16s", b"USBC", 1, 512, 0x80, 0, 10, READ))
    assert host.submit(IN, 512)[0].status == Status.PIPE
    host.control("02 01 0000 0081 0000")
    assert host.submit(IN, 13)[0].data[12] == 1
    sense, _ = run(host, SENSE, 18)
    assert sense[2] & 0x0F == 3


CHANGED = """
[[function]]
kind = "disk"
luns = [{ medium = "" }]
[[fault]]
kind = "give"
input = { insert = "other.img" }
at = 1.0
"""


def test_a_path_in_what_a_fault_gives_counts_from_the_file_it_is_in(tmp_path: Path) -> None:
    (tmp_path / "other.img").write_bytes(bytes(4096))
    with parse(CHANGED, str(tmp_path / "disk.toml")).build() as gadget:
        gadget.device.tick(0)
        gadget.device.tick(1_000_000_000)
        (disk,) = gadget.functions
        assert disk.snapshot()["units"][0]["medium"] == str(tmp_path / "other.img")


def test_a_path_in_what_an_added_fault_gives_counts_from_the_senders_folder(tmp_path: Path) -> None:
    (tmp_path / "other.img").write_bytes(bytes(4096))
    with Definition("disk", functions=(Part("disk", {"luns": [{}]}),)).build() as gadget:
        given = {"add_fault": {"give": {"insert": "other.img"}, "endpoint": 0}}
        gadget.device.local(read_input(gadget.device.inputs, given, base=tmp_path))
        Host(gadget.device)
        (disk,) = gadget.functions
        assert disk.snapshot()["units"][0]["medium"] == str(tmp_path / "other.img")


NOTIFY, DATA = 0x81, 0x82
"""A serial port's IN endpoints."""


def test_an_overrun_loses_data_and_is_told_to_the_host(serial: Make) -> None:
    host = serial(Overrun(nth=1))
    while host.submit(NOTIFY, 16):
        pass  # it has told its lines
    waiting = host.number
    host.submit(DATA, 64)
    done = host.device.local(Send("lost"))
    assert [(d.number, d.data.hex()) for d in done] == [(waiting, "a1200000000002004000")]
    assert [d.data for d in host.device.local(Send("came"))] == [b"came"]


def test_dtr_drops_though_the_host_did_nothing(serial: Make) -> None:
    host = serial(DtrDrop(at=1.0))
    host.device.tick(0)
    host.device.tick(10**9)
    lines = [told.event for told in host.device.take_events() if isinstance(told.event, ControlLines)]
    assert [(line.dtr, line.rts) for line in lines] == [(False, False)]


@pytest.mark.parametrize("fault", [Overrun(), DtrDrop()])
def test_what_needs_a_serial_port_is_refused_without_one(fault: AnyFault) -> None:
    with pytest.raises(UsageError, match="no serial port"):
        Faulty(keyboard(), [fault])
