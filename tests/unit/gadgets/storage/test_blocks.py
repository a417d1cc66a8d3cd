"""Reading, writing, flushing, discarding: SBC-3."""

from __future__ import annotations

import struct

import pytest

from gadgets.storage.events import Flushed
from gadgets.storage.lun import Lun, MendBlocks, SpoilBlocks
from gadgets.storage.scsi.blocks import MAX_UNMAP_DESCRIPTORS, MAX_WRITE_SAME
from tests.unit.gadgets.storage.disks import (
    FAILED,
    PASSED,
    Done,
    Huge,
    host,
    ram,
    read_10,
    write_10,
)

SIZES = {6: ">BBHBx", 10: ">BBIxHx", 12: ">BBIIxx", 16: ">BBQIxx"}
READ = {6: 0x08, 10: 0x28, 12: 0xA8, 16: 0x88}
WRITE = {6: 0x0A, 10: 0x2A, 12: 0xAA, 16: 0x8A}
VERIFY = {10: 0x2F, 12: 0xAF, 16: 0x8F}
WRITE_AND_VERIFY = {10: 0x2E, 12: 0xAE, 16: 0x8E}
SYNCHRONIZE = {10: 0x35, 16: 0x91}
WRITE_SAME = {10: 0x41, 16: 0x93}


def block(opcodes: dict[int, int], size: int, lba: int, count: int, flags: int = 0) -> bytes:
    return struct.pack(SIZES[size], opcodes[size], flags, lba, count)


@pytest.mark.parametrize("block_size", [512, 1024, 2048, 4096])
@pytest.mark.parametrize("size", READ)
def test_what_is_written_is_read(size: int, block_size: int) -> None:
    subject = host(Lun("ram:64", block_size=block_size), transfer=65536)
    data = bytes(range(256)) * (block_size * 3 // 256)
    assert subject.command(block(WRITE, size, 5, 3), data=data) == Done(PASSED, 0)
    assert subject.command(block(READ, size, 5, 3), len(data)) == Done(PASSED, 0, data)
    assert ram(subject).data.strip(b"\0") == data.strip(b"\0")
    assert ram(subject).data[5 * block_size :].startswith(data)


def test_no_blocks_are_256_in_6_bytes_and_none_elsewhere() -> None:
    subject = host(Lun("ram:300"))
    assert len(subject.command(block(READ, 6, 0, 0), 256 * 512).data) == 256 * 512
    for size in (10, 12, 16):
        assert subject.command(block(READ, size, 0, 0)) == Done(PASSED, 0)
        assert subject.command(block(WRITE, size, 0, 0)) == Done(PASSED, 0)


def test_21_bits_of_lba_in_6_bytes_and_what_was_the_lun_is_ignored() -> None:
    subject = host(Lun("huge:2097152"))
    assert subject.command(bytes.fromhex("08 ff ff ff 01 00"), 512).status == PASSED


@pytest.mark.parametrize("size", [10, 12, 16])
def test_blocks_beyond_the_end_are_refused_with_the_first_as_information(size: int) -> None:
    subject = host()
    for opcodes, data in ((READ, None), (WRITE, bytes(1024)), (VERIFY, b"")):
        assert subject.command(block(opcodes, size, 63, 2), 1024 * (data is None), data).status == FAILED
        assert subject.raw_sense()[:7].hex() == "f000050000003f"
    assert not any(ram(subject).data)


def test_capacity() -> None:
    subject = host(Lun("ram:100", block_size=4096))
    assert subject.command("25" + "00" * 9, 8).data.hex() == "00000063" + "00001000"
    long = subject.command("9e10" + "00" * 8 + "00000020" + "0000", 32).data
    assert long.hex() == "0000000000000063" + "00001000" + "0000" + "c000" + "00" * 16
    assert subject.command("23" + "00" * 6 + "00fc00", 252).data.hex() == "00000008" + "00000064" + "02001000"
    assert subject.refused("25 00 00000001 0000 00 00", 8) == "5 24 00"


def test_a_disk_beyond_2_tib_is_addressed_at_its_end() -> None:
    blocks = 3 * 2**40 // 512
    subject = host(Lun(f"huge:{blocks}"))
    assert subject.command("25" + "00" * 9, 8).data.hex() == "ffffffff" + "00000200"
    assert subject.command("23" + "00" * 6 + "00fc00", 252).data[4:8].hex() == "ffffffff"
    long = subject.command("9e10" + "00" * 8 + "00000020" + "0000", 32).data
    assert int.from_bytes(long[:8], "big") == blocks - 1
    assert subject.command(block(WRITE, 16, blocks - 1, 1), data=b"e" * 512).status == PASSED
    assert subject.command(block(READ, 16, blocks - 1, 1), 512).data == b"e" * 512
    assert subject.refused(block(READ, 16, blocks, 1), 512) == "5 21 00"


# Durability


def test_a_write_is_durable_when_the_host_asks_for_it_in_some_way() -> None:
    subject = host()
    flushes = 0
    for request in (
        write_10(0, 1, fua=True),
        block(WRITE, 12, 0, 1, 8),
        block(WRITE, 16, 0, 1, 8),
        *(block(WRITE_AND_VERIFY, size, 0, 1) for size in WRITE_AND_VERIFY),
    ):
        flushes += 1
        assert subject.command(request, data=bytes(512)).status == PASSED
        assert ram(subject).flushes == flushes
    subject.command(write_10(0, 1), data=bytes(512))
    assert ram(subject).flushes == flushes


@pytest.mark.parametrize("size", SYNCHRONIZE)
def test_synchronize_cache_flushes_before_it_answers_and_tells(size: int) -> None:
    subject = host()
    assert subject.command(block(SYNCHRONIZE, size, 0, 0)).status == PASSED
    assert ram(subject).flushes == 1
    assert subject.told() == [Flushed(0)]
    assert subject.refused(block(SYNCHRONIZE, size, 64, 1)) == "5 21 00"


def test_a_flush_that_fails_fails_the_command() -> None:
    subject = host()
    ram(subject).failing.add("flush")
    assert subject.refused(block(SYNCHRONIZE, 10, 0, 0)) == "3 0c 00"
    assert subject.refused(write_10(0, 1, fua=True), data=bytes(512)) == "3 0c 00"
    assert subject.told() == []


def test_an_immediate_flush_that_fails_is_told_with_a_later_command() -> None:
    subject = host()
    ram(subject).failing.add("flush")
    assert subject.command(block(SYNCHRONIZE, 10, 0, 0, flags=2)).status == PASSED
    assert subject.command("12 00 00 00 24 00", 36).status == PASSED
    assert subject.command("00" * 6).status == FAILED
    assert subject.raw_sense()[:3].hex() == "710003"
    assert subject.command("00" * 6).status == PASSED


def test_deferred_sense_may_be_asked_for() -> None:
    subject = host()
    ram(subject).failing.add("flush")
    subject.command(block(SYNCHRONIZE, 10, 0, 0, flags=2))
    assert [subject.raw_sense()[0], subject.raw_sense()[0]] == [0x71, 0x70]


# Verifying


@pytest.mark.parametrize("size", VERIFY)
def test_verify_compares_what_is_sent_and_names_the_block_that_differs(size: int) -> None:
    subject = host(transfer=512)
    ram(subject).data[:2048] = b"same" * 512
    assert subject.command(block(VERIFY, size, 0, 4, 2), data=b"same" * 512) == Done(PASSED, 0)
    wrong = bytearray(b"same" * 512)
    wrong[1500] = 0
    assert subject.command(block(VERIFY, size, 0, 4, 2), data=bytes(wrong)).status == FAILED
    sense = subject.raw_sense()
    assert (sense[2], sense[12], sense[6]) == (14, 0x1D, 2)
    assert ram(subject).data[:2048] == b"same" * 512


@pytest.mark.parametrize("size", VERIFY)
def test_verify_without_data_looks_for_blocks_that_fail(size: int) -> None:
    subject = host()
    assert subject.command(block(VERIFY, size, 0, 64)).status == PASSED
    subject.local(SpoilBlocks(9, 9))
    assert subject.command(block(VERIFY, size, 0, 9)).status == PASSED
    assert subject.refused(block(VERIFY, size, 0, 10)) == "3 11 00"
    assert subject.refused(block(VERIFY, size, 0, 1, 6), data=bytes(512)) == "5 24 00"


# Blocks that fail


def test_a_spoiled_block_fails_with_its_number_after_those_before_it_were_read() -> None:
    subject = host()
    ram(subject).data[:] = b"d" * len(ram(subject).data)
    subject.local(SpoilBlocks(12, 13))
    done = subject.command(read_10(10, 8), 4096)
    assert done == Done(FAILED, 3072, b"d" * 1024, halted=True)
    assert subject.raw_sense()[:14].hex() == "f000030000000c" + "0a00000000" + "1100"
    assert subject.command(read_10(13, 2), 1024) == Done(FAILED, 1024, b"", halted=True)
    assert subject.raw_sense()[6] == 13
    assert subject.command(read_10(14, 2), 1024).status == PASSED


def test_a_spoiled_block_fails_writes_too_until_it_is_mended() -> None:
    subject = host()
    subject.local(SpoilBlocks(2, 2))
    assert subject.command(write_10(0, 4), data=b"w" * 2048).status == FAILED
    assert (subject.raw_sense()[6], bytes(ram(subject).data[:2048].strip(b"\0"))) == (2, b"w" * 1024)
    subject.local(MendBlocks())
    assert subject.command(write_10(0, 4), data=b"w" * 2048).status == PASSED


def test_a_medium_that_fails_is_a_medium_error() -> None:
    subject = host()
    ram(subject).failing |= {"read", "write", "discard"}
    assert subject.refused(read_10(7, 1), 512) == "3 11 00"
    assert subject.refused(write_10(7, 1), data=bytes(512)) == "3 0c 00"
    assert subject.refused(block(WRITE_SAME, 10, 0, 1), data=bytes(512)) == "3 0c 00"


# Discarding


def unmap(*ranges: tuple[int, int]) -> bytes:
    body = b"".join(struct.pack(">QI4x", *each) for each in ranges)
    return struct.pack(">HH4x", len(body) + 6, len(body)) + body


def unmapping(data: bytes) -> bytes:
    return struct.pack(">B6xHx", 0x42, len(data))


def test_unmapped_blocks_read_as_zeros() -> None:
    subject = host()
    ram(subject).data[:] = b"u" * 32768
    data = unmap((1, 2), (60, 4), (5, 0))
    assert subject.command(unmapping(data), data=data).status == PASSED
    expected = b"u" * 512 + bytes(1024) + b"u" * (57 * 512) + bytes(2048)
    assert ram(subject).data == expected


def test_unmap_does_nothing_where_one_range_is_wrong() -> None:
    subject = host()
    ram(subject).data[:] = b"u" * 32768
    data = unmap((1, 2), (63, 2))
    assert subject.refused(unmapping(data), data=data) == "5 21 00"
    assert ram(subject).data == b"u" * 32768


@pytest.mark.parametrize(
    ("data", "sense"),
    [(unmap((0, 1))[:7], "5 1a 00"), (unmap(*((0, 1),) * (MAX_UNMAP_DESCRIPTORS + 1)), "5 26 00")],
    ids=["short", "too many"],
)
def test_unmap_refuses(data: bytes, sense: str) -> None:
    assert host().refused(unmapping(data), data=data) == sense


def test_unmap_of_nothing_is_fine_and_anchoring_is_not_known() -> None:
    subject = host()
    assert subject.command("42" + "00" * 9).status == PASSED
    assert subject.refused("42 01" + "00" * 8) == "5 24 00"


@pytest.mark.parametrize("size", WRITE_SAME)
def test_write_same_repeats_a_block_and_discards_for_zeros(size: int) -> None:
    subject = host()
    assert subject.command(block(WRITE_SAME, size, 1, 62), data=b"same" * 128).status == PASSED
    assert ram(subject).data == bytes(512) + b"same" * 128 * 62 + bytes(512)
    assert subject.command(block(WRITE_SAME, size, 2, 61, 8), data=bytes(512)).status == PASSED
    assert ram(subject).data.strip(b"\0") == b"same" * 128


def test_write_same_is_bounded_but_for_zeros() -> None:
    subject = host(Lun("huge:1000000"))
    medium = subject.disk.units[0].medium
    assert isinstance(medium, Huge)
    medium.write(77 * 512, b"x" * 512)
    most = MAX_WRITE_SAME // 512
    assert subject.refused(block(WRITE_SAME, 16, 0, most + 1), data=b"s" * 512) == "5 24 00"
    assert subject.command(block(WRITE_SAME, 16, 0, most), data=b"s" * 512).status == PASSED
    assert sum(map(len, medium.kept.values())) >= MAX_WRITE_SAME
    assert subject.command(block(WRITE_SAME, 16, 0, 1000000, flags=1)).status == PASSED
    assert not medium.kept


@pytest.mark.parametrize("size", WRITE_SAME)
def test_write_same_of_no_blocks_is_not_the_whole_disk(size: int) -> None:
    assert host().refused(block(WRITE_SAME, size, 0, 0), data=bytes(512)) == "5 24 00"


def test_seek_goes_where_there_are_blocks() -> None:
    subject = host()
    assert subject.command("2b 00 0000003f 00 0000 00").status == PASSED
    assert subject.refused("2b 00 00000040 00 0000 00") == "5 21 00"
