"""Captures: each URB and its completion, from any moment on, whatever the reader does."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from appliance.loop import Loop
from appliance.sessions.capture import BACKLOG_LIMIT, Capture
from appliance.sessions.relay import Relay
from appliance.sessions.tap import SNAP, Tap
from gadgets.usb.urb import Completion, TransferType, Urb
from tests.unit.sessions.conftest import House
from tests.unit.sessions.pdus import DEVID, answer, relay, submit, through, unlink, unlinked

chunked = pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
SET_INTERFACE_1_1 = bytes.fromhex("010b010001000000")
PACKETS = struct.pack(">IIII", 0, 30, 30, 0) + struct.pack(">IIII", 30, 30, 10, 0)


class Sink:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, bytes, int]] = []
        self.packets: list[int] = []

    def submit(self, urb: Urb, kind: TransferType) -> None:
        self.told.append(("submit", urb.number, urb.data, kind))
        self.packets.append(len(urb.packets))

    def complete(self, urb: Urb, completion: Completion, kind: TransferType) -> None:
        self.told.append(("complete", urb.number, completion.data, completion.status))
        self.packets.append(len(completion.packets))


def tapped(session: Relay) -> tuple[Sink, Tap]:
    sink = Sink()
    tap = Tap(sink, session.find, session.pending, session.unlinks, session.up.due, session.down.due)
    return sink, tap


@chunked
def test_a_capture_tells_urbs_with_their_data(chunk: int) -> None:
    session = relay()
    sink, tap = tapped(session)
    for at, end, follow in (
        (session.up, submit(1, 0x02, data=b"abc") + submit(2, 0x81, 100), tap.to_stub),
        (session.down, answer(2, b"defg") + answer(1, actual=3), tap.to_client),
    ):
        for n in range(0, len(end), chunk):
            follow(memoryview(through(at, end[n : n + chunk])))
    assert sink.told == [
        ("submit", 1, b"abc", 2),
        ("submit", 2, b"", 2),
        ("complete", 2, b"defg", 0),
        ("complete", 1, b"", 0),
    ]


@chunked
def test_isochronous_packets_are_told(chunk: int) -> None:
    session = relay()
    through(session.up, submit(1, 0x00, setup=SET_INTERFACE_1_1))
    sink, tap = tapped(session)
    tap.to_stub(memoryview(through(session.up, submit(2, 0x85, 60, PACKETS, packets=2), chunk)))
    tap.to_client(memoryview(through(session.down, answer(2, b"x" * 40 + PACKETS, actual=40, packets=2))))
    assert sink.packets == [2, 2]


def test_isochronous_packets_that_make_no_sense_are_left_out() -> None:
    session = relay()
    through(session.up, submit(1, 0x00, setup=SET_INTERFACE_1_1))
    sink, tap = tapped(session)
    tap.to_stub(memoryview(through(session.up, submit(2, 0x85, 60, b"\xff" * 32, packets=2))))
    assert sink.packets == [0]


def test_a_packet_count_that_means_nothing_ends_no_session() -> None:
    session = relay()
    sink, tap = tapped(session)
    tap.to_stub(memoryview(through(session.up, submit(1, 0x81, 100))))
    tap.to_client(memoryview(through(session.down, answer(1, b"defg", packets=1025))))
    assert sink.told[-1] == ("complete", 1, b"defg", 0)


def test_an_unlinked_urb_ends_with_the_unlinks_status() -> None:
    session = relay()
    sink, tap = tapped(session)
    tap.to_stub(memoryview(through(session.up, submit(1, 0x83, 8) + unlink(2, 1))))
    tap.to_client(memoryview(through(session.down, unlinked(2))))
    assert sink.told[-1] == ("complete", 1, b"", -104)


def test_a_capture_that_begins_in_mid_transfer_begins_with_the_next_pdu() -> None:
    session = relay()
    out, back = submit(1, 0x02, data=b"a" * 100), answer(3, b"b" * 100)
    through(session.up, submit(3, 0x81, 100) + out[:80])
    through(session.down, back[:60])
    sink, tap = tapped(session)
    tap.to_stub(memoryview(through(session.up, out[80:] + submit(2, 0x02, data=b"c"))))
    tap.to_client(memoryview(through(session.down, back[60:] + answer(1, actual=100))))
    assert sink.told == [("submit", 2, b"c", 2), ("complete", 1, b"", 0)]


def test_what_the_relay_answers_itself_is_not_in_the_capture() -> None:
    session = relay()
    sink, tap = tapped(session)
    tap.to_stub(memoryview(through(session.up, submit(1, 0x8A, 8))))
    tap.to_client(memoryview(through(session.down, b"")))
    assert sink.told == []


def test_a_long_payload_is_cut() -> None:
    session = relay()
    sink, tap = tapped(session)
    tap.to_stub(memoryview(through(session.up, submit(1, 0x02, data=b"z" * 100_000))))
    assert sink.told == [("submit", 1, b"z" * SNAP, 2)]


def test_a_reader_that_is_too_slow_loses_whole_blocks_and_is_told_how_many() -> None:
    loop = Loop()
    read, write = os.pipe()
    capture = Capture(loop, write, DEVID, lambda: None)
    block = b"x" * 100_000
    for _ in range(100):
        capture.write(block)
    stats = capture.stats()
    assert len(capture.outlet.backlog) <= BACKLOG_LIMIT
    assert stats["dropped"] > 0
    assert stats["written"] + stats["dropped"] == 101
    capture.close()
    loop.close()
    os.close(read)


async def test_a_captured_session_opens_in_wireshark(house: House, tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    if not tshark:
        pytest.skip("tshark is not installed")
    client = await house.start()
    client.read(64)
    file = tmp_path / "session.pcapng"
    async with house.sessions.capture("s1") as chunks:
        client.read(512)
        client.write(b"x" * 31)
        await house.sessions.kick("s1", "enough captured")
        file.write_bytes(b"".join([chunk async for chunk in chunks]))
    fields = ("usb.urb_type", "usb.endpoint_address", "usb.data_len")
    command = [tshark, "-r", str(file), "-T", "fields", *(word for name in fields for word in ("-e", name))]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: ASYNC221
    assert [line.split("\t") for line in lines] == [
        ["'S'", "0x81", "0"],
        ["'C'", "0x81", "512"],
        ["'S'", "0x02", "31"],
        ["'C'", "0x02", "0"],
    ]


async def test_a_reader_that_leaves_ends_the_capture_and_not_the_session(house: House) -> None:
    client = await house.start()
    async with house.sessions.capture("s1"):
        client.read(64)
        assert (await house.sessions.stats("s1"))["capture"]["written"] == 3
    client.read(64)
    assert (await house.sessions.stats("s1"))["capture"] is None


async def test_a_gadget_can_be_captured_too(house: House) -> None:
    await house.add("keyboard")
    client = await house.attach("keyboard")
    async with house.sessions.capture("s1") as chunks:
        client.sock.sendall(submit(900, 0x00, setup=bytes.fromhex("0009010000000000")))
        client.sock.recv(48)
        await house.sessions.kick("s1", "enough")
        assert b"".join([chunk async for chunk in chunks]).count(b"\x84\x03\x00\x00\x00\x00\x00\x00") == 2
