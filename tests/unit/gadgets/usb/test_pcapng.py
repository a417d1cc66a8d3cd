"""Captures, with tshark as the judge."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadgets.hid.keyboard import TypeText, keyboard
from gadgets.usb.pcapng import LINK_TYPE, Capture, header
from gadgets.usb.urb import Completion, IsoPacket, SetupPacket, TransferType, Urb
from tests.unit.gadgets.host import iso, setup_of

NOON = 1_700_000_000_123_456_789
CAPTURE = Capture(busnum=3, devnum=7)


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each block; checks both lengths and the alignment."""
    found = []
    while data:
        kind, size = struct.unpack_from("<II", data)
        assert size % 4 == 0
        assert struct.unpack_from("<I", data, size - 4) == (size,)
        found.append((kind, data[8 : size - 4]))
        data = data[size:]
    return found


def typed() -> bytes:
    """An enumeration, two letters typed, and isochronous transfers."""
    device, parts, now = keyboard(), [header()], NOON

    def go(urb: Urb) -> None:
        nonlocal now
        kind = device.transfer_type(urb.endpoint)
        assert kind is not None
        parts.append(CAPTURE.submit(urb, kind, now))
        now += 1_000_000
        parts.extend(CAPTURE.complete(urb, done, kind, now) for done in device.submit(urb))

    requests = (
        "80 06 0100 0000 0012",
        "80 06 0200 0000 00ff",
        "80 06 0302 0409 00ff",
        "00 09 0001 0000 0000",
    )
    for number, request in enumerate((*requests, "81 06 2200 0000 003f", "80 06 0900 0000 00ff"), 1):
        setup = setup_of(request)
        go(Urb(number, setup.request_type & 0x80, setup.length, setup=setup))
    go(Urb(10, 0x00, 1, b"\x02", SetupPacket(0x21, 9, 0x0200, 0, 1)))
    device.local(TypeText("hi"))
    for number in range(20, 24):
        go(Urb(number, 0x81, 8, interval=10))
    for urb, done in ISOCHRONOUS:
        parts.append(CAPTURE.submit(urb, TransferType.ISOCHRONOUS, now))
        parts.append(CAPTURE.complete(urb, done, TransferType.ISOCHRONOUS, now))
    return b"".join(parts)


ISOCHRONOUS = [
    (
        Urb(30, 0x83, 64, packets=iso(32, 32)),
        Completion(30, 0, 10, b"abcdefghij", (IsoPacket(0, 32, 4), IsoPacket(32, 32, 6))),
    ),
    (
        Urb(31, 0x03, 64, bytes(64), packets=iso(32, 32)),
        Completion(31, 0, 64, b"", (IsoPacket(0, 32, 32), IsoPacket(32, 32, 32))),
    ),
]


def tshark(path: Path, *arguments: str) -> list[str]:
    command = shutil.which("tshark")
    if command is None:
        pytest.skip("tshark is not installed; it is what judges captures (Debian: apt install tshark)")
    shown = subprocess.run([command, "-r", str(path), *arguments], capture_output=True, text=True, check=True)
    return shown.stdout.splitlines()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("capture") / "keyboard.pcapng"
    path.write_bytes(typed())
    return path


def test_tshark_reads_every_packet_and_finds_none_malformed(session: Path) -> None:
    assert len(tshark(session)) == len(blocks(typed())) - 2
    assert tshark(session, "-Y", "_ws.malformed || _ws.expert.severity >= 0x600000") == []


def test_tshark_sees_what_happened(session: Path) -> None:
    fields = ("usb.idVendor", "usb.bString", "usbhid.data.key.variable", "usb.urb_status")
    asked = [word for name in fields for word in ("-e", name)]
    rows = [line.split("\t") for line in tshark(session, "-T", "fields", *asked)]
    assert "0x1209" in {row[0] for row in rows}
    assert "Twinhub Keyboard" in {row[1] for row in rows}
    assert {"-115", "0", "-32"} <= {row[3] for row in rows}


def test_tshark_keeps_nanoseconds_and_addresses(session: Path) -> None:
    asked = ("-e", "frame.time_epoch", "-e", "usb.bus_id", "-e", "usb.device_address")
    assert tshark(session, "-c", "1", "-T", "fields", *asked) == ["1700000000.123456789\t3\t7"]


def test_tshark_finds_the_data_of_isochronous_packets(session: Path) -> None:
    asked = ("-e", "usb.iso.iso_off", "-e", "usb.iso.iso_len", "-e", "usb.iso.data")
    lines = tshark(session, "-Y", "usb.transfer_type == 0", "-T", "fields", *asked)
    assert lines[1].split("\t") == ["0,4", "4,6", "61626364,65666768696a"]


def test_a_file_begins_with_section_and_link_type() -> None:
    section, interface = blocks(header(4096))
    assert section[0] == 0x0A0D0D0A
    assert interface[0] == 1
    assert struct.unpack_from("<HHI", interface[1]) == (LINK_TYPE, 0, 4096)


@given(
    st.builds(
        Urb,
        st.integers(0, 2**64 - 1),
        st.integers(0, 255),
        st.integers(0, 2**31 - 1),
        st.binary(max_size=300),
        st.none() | st.builds(SetupPacket, *[st.integers(0, 255)] * 2, *[st.integers(0, 65535)] * 3),
        st.integers(0, 2**32 - 1),
        st.lists(st.builds(IsoPacket, *[st.integers(0, 2**31 - 1)] * 2), max_size=200).map(tuple),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**31), 2**31 - 1),
    ),
    st.sampled_from(TransferType),
    st.integers(64 + 16 * 128, 4096),
    st.integers(0, 2**63),
)
def test_no_packet_is_longer_than_the_snaplen_and_all_tell_their_size(
    urb: Urb, kind: TransferType, snaplen: int, now: int
) -> None:
    capture = Capture(1, 2, snaplen)
    done = Completion(urb.number, -104, 0, urb.data, urb.packets)
    for block in (capture.submit(urb, kind, now), capture.complete(urb, done, kind, now)):
        ((number, body),) = blocks(block)
        captured, whole = struct.unpack_from("<II", body, 12)
        assert number == 6
        assert 64 <= captured <= min(whole, snaplen)
        assert struct.unpack_from("<I", body, 20 + 36) == (captured - 64,)
