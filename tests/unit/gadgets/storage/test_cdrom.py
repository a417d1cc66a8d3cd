"""A CD-ROM drive, as hosts ask it: MMC-6."""

from __future__ import annotations

import struct

import pytest

from gadgets.storage.lun import Eject, Insert, Lun
from tests.unit.gadgets.storage.disks import PASSED, DiskHost, host, ram, read_10, write_10

CD = Lun("ram:400", kind="cdrom")
DVD = Lun("huge:2000000", kind="cdrom")
EMPTY = Lun(kind="cdrom")


def toc(subject: DiskHost, form: int, *, msf: bool = False, start: int = 0) -> bytes:
    data = subject.command(struct.pack(">BBB3xBHx", 0x43, msf << 1, form, start, 1000), 1000).data
    assert int.from_bytes(data[:2], "big") == len(data) - 2
    return data[2:]


def events(subject: DiskHost, allocation: int = 8) -> str:
    return subject.command(struct.pack(">BB2xB2xHx", 0x4A, 1, 0x10, allocation), allocation).data.hex()


def configuration(subject: DiskHost, which: int = 0, start: int = 0) -> tuple[int, dict[int, int]]:
    """The current profile, and which features there are with their first byte."""
    data = subject.command(struct.pack(">BBH3xHx", 0x46, which, start, 1000), 1000).data
    length, profile = struct.unpack(">IxxH", data[:8])
    assert length == len(data) - 4
    features, at = {}, 8
    while at < len(data):
        number, flags, size = struct.unpack(">HBB", data[at : at + 4])
        features[number] = flags
        at += 4 + size
    return profile, features


def test_it_has_blocks_of_2048_bytes_and_takes_no_write() -> None:
    subject = host(CD)
    ram(subject).data[2048:4096] = b"cd" * 1024
    assert subject.command("25" + "00" * 9, 8).data.hex() == "0000018f" + "00000800"
    assert subject.command(read_10(1, 1), 2048).data == b"cd" * 1024
    assert subject.command(b"\xa8" + bytes((0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0)), 2048).data == b"cd" * 1024
    assert subject.refused(write_10(0, 1), data=bytes(2048)) == "5 20 00"


def test_the_table_of_contents_has_a_data_track_and_a_lead_out() -> None:
    subject = host(CD)
    assert toc(subject, 0).hex() == "0101" + "0014010000000000" + "0014aa0000000190"
    assert toc(subject, 0, msf=True).hex() == "0101" + "0014010000000200" + "0014aa0000000719"
    assert toc(subject, 0, start=0xAA).hex() == "0101" + "0014aa0000000190"
    assert toc(subject, 1).hex() == "0101" + "0014010000000000"


def test_the_raw_table_of_contents() -> None:
    first, last, lead_out, track = (toc(host(CD), 2)[2:][at : at + 11].hex() for at in range(0, 44, 11))
    assert first == "011400a0000000" + "00010000"
    assert last == "011400a1000000" + "00010000"
    assert lead_out == "011400a2000000" + "00000719"
    assert track == "01140001000000" + "00000200"


def test_the_format_may_stand_in_byte_9_and_others_are_refused() -> None:
    subject = host(CD)
    assert subject.command("43 00 00 00 00 00 00 03e8 40", 1000).data[2:] == toc(subject, 1)
    assert subject.refused("43 00 05 00 00 00 00 03e8 00", 1000) == "5 24 00"
    assert subject.refused("43 00 00 00 00 00 02 03e8 00", 1000) == "5 24 00"


@pytest.mark.parametrize(
    ("lun", "profile"), [(CD, 0x08), (DVD, 0x10), (EMPTY, 0)], ids=["cd", "dvd", "empty"]
)
def test_the_profile_is_that_of_the_medium(lun: Lun, profile: int) -> None:
    subject = host(lun)
    found, features = configuration(subject)
    assert found == profile
    assert set(features) == {0, 1, 2, 3, 0x10, 0x1E, 0x1F}
    assert [features[number] & 1 for number in (0x10, 0x1E, 0x1F)] == [
        profile != 0,
        profile == 0x08,
        profile == 0x10,
    ]


def test_features_from_one_on_the_current_ones_or_one_only() -> None:
    subject = host(CD)
    assert set(configuration(subject, start=3)[1]) == {3, 0x10, 0x1E, 0x1F}
    assert set(configuration(subject, which=1)[1]) == {0, 1, 2, 3, 0x10, 0x1E}
    assert set(configuration(subject, which=2, start=0x1F)[1]) == {0x1F}
    assert configuration(subject, which=2, start=0x99)[1] == {}
    assert subject.refused("46 03" + "00" * 8, 8) == "5 24 00"


def test_media_events_are_told_once() -> None:
    subject = host(EMPTY)
    assert events(subject) == "00060410" + "00000000"
    subject.local(Insert("ram:10"))
    assert events(subject, 4) == "00060410"
    assert events(subject) == "00060410" + "02020000"
    assert events(subject) == "00060410" + "00020000"
    subject.local(Eject())
    assert events(subject) == "00060410" + "03000000"


def test_an_event_passes_a_unit_attention_and_leaves_it_pending() -> None:
    subject = host(EMPTY)
    subject.local(Insert("ram:10"))
    assert events(subject) == "00060410" + "02020000"
    assert configuration(subject)[0] == 8
    assert subject.refused("00" * 6) == "6 28 00"


def test_the_button_of_a_locked_drive_asks_the_host() -> None:
    subject = host(CD)
    subject.command("1e 00 00 00 01 00")
    events(subject)
    subject.local(Eject())
    assert events(subject) == "00060410" + "01020000"
    assert subject.command("00" * 6).status == PASSED
    subject.command("1e 00 00 00 00 00")
    assert subject.command("1b 00 00 00 02 00").status == PASSED
    assert subject.refused("00" * 6) == "2 3a 00"


def test_events_are_polled_and_of_the_media_only() -> None:
    subject = host(CD)
    assert subject.command("4a 01 00 00 40 00 00 0008 00", 8).data.hex() == "00028010"
    assert subject.refused("4a 00 00 00 10 00 00 0008 00", 8) == "5 24 00"


def test_disc_and_track_information() -> None:
    subject = host(CD)
    disc = subject.command("51 00 00 00 00 00 00 0022 00", 34).data
    assert disc.hex() == "0020" + "0e01010101" + "20" + "00" * 26
    assert subject.refused("51 01 00 00 00 00 00 0022 00", 34) == "5 24 00"
    track = subject.command("52 01 00000001 00 0024 00", 36).data
    assert (track[:7].hex(), track[24:28].hex(), len(track)) == ("00220101000401", "00000190", 36)
    assert subject.command("52 00 0000018f 00 0024 00", 36).data == track
    for wrong in ("52 00 00000190 00 0024 00", "52 01 00000002 00 0024 00", "52 03 00000001 00 0024 00"):
        assert subject.refused(wrong, 36) == "5 24 00"


def test_mechanism_and_capabilities() -> None:
    subject = host(CD)
    assert subject.command("bd" + "00" * 7 + "0008 0000", 8).data.hex() == "0000000000010000"
    page = subject.command("5a 08 2a 00 00 00 00 0080 00", 128).data[8:]
    assert (page[:2].hex(), page[2], page[3], len(page)) == ("2a12", 0x0B, 0, 20)
    assert subject.command("1a 00 3f 00 04 00", 4).data[2] == 0


def test_the_structure_of_a_dvd() -> None:
    subject = host(DVD)
    data = subject.command("ad 00 00000000 00 00 0804 0000", 2052).data
    assert data[:16].hex() == "08020000" + "010f0100" + "00030000" + "0021847f"
    assert len(data) == 2052
    assert subject.command("ad 00 00000000 00 01 0008 0000", 8).data.hex() == "00060000" + "00000000"
    assert subject.refused("ad 00 00000000 00 03 0008 0000", 8) == "5 24 00"
    assert host(CD).refused("ad 00 00000000 00 00 0804 0000", 2052) == "5 24 00"


def test_an_empty_drive_has_no_table_of_contents() -> None:
    assert host(EMPTY).refused("43 00 00 00 00 00 00 03e8 00", 1000) == "2 3a 00"
