"""Who a unit says it is, what it can do, and how it may be set: SPC-4."""

from __future__ import annotations

import struct

import pytest

from appliance.errors import NotFound, UsageError
from gadgets.storage.function import Disk
from gadgets.storage.lun import Lun
from gadgets.storage.scsi.sense import OUT_OF_RANGE, Sense
from gadgets.storage.scsi.tables import TABLES
from gadgets.usb.records import from_plain
from tests.unit.gadgets.storage.disks import (
    FAILED,
    IN,
    OUT,
    PASSED,
    DiskHost,
    Ram,
    Shelf,
    cbw,
    host,
    ram,
    read_10,
    write_10,
)


def vpd(subject: DiskHost, page: int, lun: int = 0) -> bytes:
    data = subject.command(bytes((0x12, 1, page, 0, 255, 0)), 255, lun=lun).data
    assert data[1] == page
    assert int.from_bytes(data[2:4], "big") == len(data) - 4
    return data[4:]


def mode(subject: DiskHost, page: int, control: int = 0) -> bytes:
    """A page by MODE SENSE(6), without the header."""
    data = subject.command(bytes((0x1A, 0, control << 6 | page, 0, 255, 0)), 255).data
    assert data[0] == len(data) - 1
    return data[4:]


def test_inquiry_tells_vendor_product_and_revision() -> None:
    subject = host(Lun("ram:8", removable=False, vendor="Acme", product="Stick", revision="2.7"))
    data = subject.command("12 00 00 00 ff 00", 255).data
    assert len(data) == 96
    assert data[:5] == bytes((0, 0, 6, 2, 91))
    assert data[8:36] == b"Acme    Stick           2.7 "


def test_inquiry_tells_what_is_removable_and_what_is_a_cdrom() -> None:
    subject = host(Lun("ram:8"), Lun(kind="cdrom"))
    assert subject.command("12 00 00 00 24 00", 36, lun=0).data[:2] == b"\x00\x80"
    disc = subject.command("12 00 00 00 24 00", 36, lun=1).data
    assert (disc[:2], disc[16:32]) == (b"\x05\x80", b"CD-ROM          ")


def test_inquiry_refuses_a_page_without_evpd_and_pages_there_are_not() -> None:
    subject = host()
    assert subject.refused("12 00 80 00 ff 00", 255) == "5 24 00"
    assert subject.refused("12 01 99 00 ff 00", 255) == "5 24 00"


def test_vital_product_data() -> None:
    subject = host(Lun("ram:64", serial="S123"), Lun("ram:64"), Lun(kind="cdrom"))
    assert vpd(subject, 0x00).hex() == "008083b0b1b2"
    assert vpd(subject, 0x00, lun=2).hex() == "008083"
    assert [vpd(subject, 0x80, lun) for lun in range(3)] == [b"S123", b"00000001", b"00000002"]
    assert vpd(subject, 0x83) == b"\x02\x01\x00\x1cTwinhub Disk            S123"
    assert vpd(subject, 0xB1)[:2] == b"\x00\x01"
    assert vpd(subject, 0xB2).hex() == "00e40200"


def test_block_limits_count_in_blocks() -> None:
    subject = host(Lun("ram:64"), Lun("ram:64", block_size=4096))
    for lun, size in ((0, 512), (1, 4096)):
        limits = struct.unpack(">BBHIIIIIIIQ20x", vpd(subject, 0xB0, lun))
        assert limits == (1, 0, 4096 // size, 0, (1 << 20) // size, 0, 0xFFFFFFFF, 256, 4096 // size,
                          1 << 31, (32 << 20) // size)  # fmt: skip


def test_allocation_length_cuts_every_answer() -> None:
    subject = host()
    assert subject.command("12 00 00 00 05 00", 5).data == subject.command("12 00 00 00 24 00", 36).data[:5]
    assert subject.command("12 00 00 00 00 00").status == PASSED


def test_report_luns() -> None:
    subject = host(Lun(), Lun(), Lun())
    data = subject.command("a0 00 00 00 00 00 00 00 01 00 00 00", 256).data
    assert data.hex() == "0000001800000000" + "".join(f"00{lun:02x}000000000000" for lun in range(3))
    assert subject.command("a0 00 01 00 00 00 00 00 01 00 00 00", 256).data == bytes(8)
    assert subject.refused("a0 00 03 00 00 00 00 00 01 00 00 00", 256) == "5 24 00"


# Sense


def test_sense_data_of_18_bytes_points_at_the_field_and_at_the_block() -> None:
    subject = host()
    subject.command("12 00 80 00 ff 00", 255)
    assert subject.raw_sense().hex() == "70000500000000" + "0a00000000" + "240000" + "c00002"
    subject.command(read_10(64, 1), 512)
    assert subject.raw_sense().hex() == "f0000500000040" + "0a00000000" + "210000" + "000000"


def test_sense_data_as_descriptors_has_64_bits_of_information() -> None:
    subject = host(Lun("huge:8589934592"))
    subject.command("88 00 0000000200000000 00000001 00 00", 512)
    sense = subject.command("03 01 00 00 ff 00", 255).data
    assert sense.hex() == "720521000000000c" + "000a80000000000200000000"
    subject.command("12 00 80 00 ff 00", 255)
    assert (
        subject.command("03 01 00 00 ff 00", 255).data.hex() == "7205240000000008" + "0206" + "0000c0000200"
    )


def test_a_block_number_beyond_32_bits_is_left_out_of_fixed_sense() -> None:
    assert OUT_OF_RANGE.about(1 << 32).fixed()[:7] == bytes((0x70, 0, 5, 0, 0, 0, 0))
    assert OUT_OF_RANGE.about(7).later().fixed()[:7] == bytes((0xF1, 0, 5, 0, 0, 0, 7))
    assert Sense(5, 0x26, 0, field=9, in_data=True).fixed()[15:] == bytes((0x80, 0, 9))


# Mode pages


def test_mode_sense_gives_pages_after_a_header_of_4_or_8_bytes() -> None:
    subject = host()
    assert subject.command("1a 00 08 00 c0 00", 192).data.hex() == "17001000" + "0812" + "04" + "00" * 17
    ten = subject.command("5a 00 08 00 00 00 00 00 c0 00", 192).data
    assert ten.hex() == "001a0010" + "00000000" + "0812" + "04" + "00" * 17


def test_mode_sense_gives_all_pages_or_what_may_be_changed() -> None:
    subject = host()
    pages = mode(subject, 0x3F)
    assert [pages[at] for at in (0, 12, 32, 44)] == [0x01, 0x08, 0x0A, 0x1C]
    assert mode(subject, 0x08, control=1)[:3] == b"\x08\x12\x05"
    assert mode(subject, 0x0A, control=1)[:5] == b"\x0a\x0a\x00\x00\x08"
    assert subject.command("1a 00 3f ff ff 00", 255).data[4:] == pages


@pytest.mark.parametrize(
    ("block", "sense"),
    [("1a 00 22 00 ff 00", "5 24 00"), ("1a 00 08 01 ff 00", "5 24 00"), ("1a 00 c8 00 ff 00", "5 39 00")],
    ids=["unknown page", "subpage", "saved values"],
)
def test_mode_sense_refuses(block: str, sense: str) -> None:
    assert host().refused(block, 255) == sense


CACHE_OFF = bytes.fromhex("00000000" + "0812" + "00" * 18)


def test_a_host_can_switch_the_write_cache_off_and_then_each_write_is_durable() -> None:
    subject = host()
    subject.command(write_10(0, 1), data=bytes(512))
    assert ram(subject).flushes == 0
    assert subject.command(bytes((0x15, 0x10, 0, 0, 24, 0)), data=CACHE_OFF).status == PASSED
    assert ram(subject).flushes == 1, "what was cached is not left in the cache"
    assert mode(subject, 0x08)[2] == 0
    assert mode(subject, 0x08, control=2)[2] == 4
    subject.command(write_10(0, 1), data=bytes(512))
    assert ram(subject).flushes == 2
    one_block = bytes.fromhex("0016 0010 00000000 0000000000000000 00000001 00000000")
    assert subject.command("42 00 00 00 00 00 00 00 18 00", data=one_block).status == PASSED
    assert ram(subject).flushes == 3, "UNMAP"
    assert subject.command("41 00 00 00 00 00 00 00 01 00", data=bytes(512)).status == PASSED
    assert ram(subject).flushes == 4, "WRITE SAME of zeros"
    assert subject.command("93 01" + "00" * 11 + "01 00 00").status == PASSED
    assert ram(subject).flushes == 5, "WRITE SAME without data"
    subject.reset()
    subject.sense()
    assert mode(subject, 0x08)[2] == 4


def test_a_host_can_write_protect_a_disk() -> None:
    subject = host()
    page = bytearray(mode(subject, 0x0A))
    page[4] |= 8
    select = bytes(8) + page
    assert subject.command(struct.pack(">BB5xHx", 0x55, 0x10, len(select)), data=select).status == PASSED
    assert subject.command("1a 00 08 00 04 00", 4).data[2] == 0x90
    assert subject.refused(write_10(0, 1), data=bytes(512)) == "7 27 00"


def test_mode_select_takes_a_block_descriptor_that_says_what_is() -> None:
    subject = host()
    described = bytes.fromhex("00000008" + "0000000000000200") + CACHE_OFF[4:]
    assert subject.command(bytes((0x15, 0x10, 0, 0, 32, 0)), data=described).status == PASSED
    other = described[:10] + b"\x10\x00" + described[12:]
    assert subject.refused(bytes((0x15, 0x10, 0, 0, 32, 0)), data=other) == "5 26 00"


@pytest.mark.parametrize(
    ("given", "sense"),
    [
        ("00000000" + "0812" + "06" + "00" * 17, "5 26 00"),
        ("00000000" + "0812" + "0480" + "00" * 16, "5 26 00"),
        ("00000000" + "2200", "5 26 00"),
        ("00000000" + "0811" + "00" * 18, "5 26 00"),
        ("00000000" + "0812" + "00" * 17, "5 1a 00"),
        ("00000005" + "00" * 5, "5 26 00"),
        ("00000008" + "00" * 5, "5 1a 00"),
        ("000000", "5 1a 00"),
    ],
    ids=[
        "another bit",
        "another byte",
        "no such page",
        "length",
        "cut",
        "descriptor",
        "no descriptor",
        "head",
    ],
)
def test_mode_select_refuses_and_changes_nothing(given: str, sense: str) -> None:
    subject = host()
    before = mode(subject, 0x3F)
    data = bytes.fromhex(given)
    assert subject.refused(bytes((0x15, 0x10, 0, 0, len(data), 0)), data=data) == sense
    assert mode(subject, 0x3F) == before


def test_mode_select_saves_nothing_and_knows_one_format() -> None:
    subject = host()
    for flags in (0x11, 0x00):
        assert subject.refused(bytes((0x15, flags, 0, 0, 24, 0)), data=CACHE_OFF) == "5 24 00"
    assert subject.command("15 10 00 00 00 00").status == PASSED


def test_a_parameter_list_that_the_host_cuts_short_is_refused() -> None:
    subject = host()
    subject.submit(OUT, data=cbw(bytes((0x15, 0x10, 0, 0, 24, 0)), 24, flags=0))
    subject.submit(OUT, data=CACHE_OFF[:10])
    assert subject.submit(IN, 13)[0].data[12] == FAILED
    assert subject.sense() == "5 1a 00"
    assert mode(subject, 0x08)[2] == 4


# What it can do


def codes(subject: DiskHost, options: int, opcode: int = 0, action: int = 0) -> bytes:
    block = struct.pack(">BBBBHIxx", 0xA3, 0x0C, options, opcode, action, 4096)
    return subject.command(block, 4096).data


@pytest.mark.parametrize("kind", ["disk", "cdrom"])
def test_all_supported_commands_are_listed(kind: str) -> None:
    subject = host(from_plain(Lun, {"kind": kind}))
    data = codes(subject, 0)
    rows = [struct.unpack(">BxHxBH", data[at : at + 8]) for at in range(4, len(data), 8)]
    assert int.from_bytes(data[:4], "big") == 8 * len(rows)
    assert {(opcode, action, flags & 1, size) for opcode, action, flags, size in rows} == {
        (c.usage[0], c.action or 0, c.action is not None, len(c.usage))
        for c in TABLES[kind == "cdrom"].values()
    }
    assert len(codes(subject, 0x80)) == 4 + 20 * len(rows)


def test_one_command_is_described_by_the_bits_it_uses() -> None:
    subject = host()
    assert codes(subject, 1, 0x28).hex() == "0003000a" + "2818ffffffff00ffff00"
    assert codes(subject, 2, 0x9E, 0x10)[:6].hex() == "000300109e1f"
    assert codes(subject, 3, 0x28) == codes(subject, 1, 0x28)
    assert codes(subject, 1, 0xC0).hex() == "00010000"
    assert codes(subject, 3, 0x9E, 0x11).hex() == "00010000"
    assert codes(subject, 0x81, 0x28)[1] == 0x83
    assert len(codes(subject, 0x81, 0x28)) == 4 + 10 + 12


def test_service_actions_are_asked_for_where_there_are_some() -> None:
    subject = host()
    for options, opcode in ((1, 0x9E), (2, 0x28), (4, 0x28)):
        block = struct.pack(">BBBBHIxx", 0xA3, 0x0C, options, opcode, 0, 4096)
        assert subject.refused(block, 4096) == "5 24 00"
    assert subject.refused("9e 1f" + "00" * 14, 32) == "5 24 00"


def test_every_listed_command_is_one_and_no_other_is() -> None:
    subject = host(Lun("ram:64"), Lun("ram:64", kind="cdrom"))
    for lun, cdrom in enumerate((False, True)):
        known = {command.usage[0] for command in TABLES[cdrom].values()}
        for opcode in range(256):
            done = subject.command(bytes((opcode,)).ljust(16, b"\0"), lun=lun)
            unknown = done.status == FAILED and subject.sense(lun) == "5 20 00"
            assert unknown == (opcode not in known), hex(opcode)
            subject.disk.units[lun].stopped = False


def test_the_default_self_test_passes_and_there_is_no_other() -> None:
    subject = host()
    assert subject.command("1d 04 00 00 00 00").status == PASSED
    assert subject.refused("1d 20 00 00 00 00") == "5 24 00"


# Defining one


@pytest.mark.parametrize(
    ("lun", "complaint"),
    [
        (Lun("ram:8", block_size=520), "no blocks of 520 bytes"),
        (Lun("ram:8", kind="cdrom", block_size=512), "but of 2048"),
        (Lun(removable=False), "needs a medium"),
        (Lun("ram:8", vendor="Much too long"), "vendor"),
        (Lun("ram:8", serial="ünique"), "serial"),
    ],
    ids=["block size", "block size of a cdrom", "fixed and empty", "long", "not ascii"],
)
def test_what_cannot_be_is_refused_with_the_reason(lun: Lun, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Disk(Shelf(), luns=(lun,))


def test_there_are_1_to_16_luns() -> None:
    for count in (0, 17):
        with pytest.raises(UsageError, match="1 to 16"):
            Disk(Shelf(), luns=(Lun(),) * count)
    assert host(*(Lun(),) * 16).control("a1 fe 0000 0000 0001") == b"\x0f"


def test_a_definition_that_fails_gives_back_the_media_it_has_opened() -> None:
    there = Ram(4096)
    with pytest.raises(NotFound):
        Disk(Shelf({"here": there}), luns=(Lun("here"), Lun("nowhere")))
    assert there.closed


def test_a_disk_is_defined_by_plain_values() -> None:
    disk = from_plain(Disk, {"luns": [{"medium": "memory:1M", "block_size": 4096}, {"kind": "cdrom"}]})
    assert [unit.block_size for unit in disk.units] == [4096, 2048]
    disk.close()
