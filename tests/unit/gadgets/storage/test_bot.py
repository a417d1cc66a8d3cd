"""Bulk-Only Transport where something goes wrong, and what hosts count on: BOT 1.0 §6."""

from __future__ import annotations

import pytest

from gadgets.storage.lun import Lun
from gadgets.usb.device import BusEvent
from gadgets.usb.urb import SHORT_NOT_OK, ZERO_PACKET, Speed, Status
from tests.unit.gadgets.host import setup_of
from tests.unit.gadgets.storage.disks import (
    CSW,
    FAILED,
    IN,
    OUT,
    PASSED,
    PHASE_ERROR,
    DiskHost,
    Done,
    cbw,
    disk_device,
    host,
    pattern,
    ram,
    read_10,
    write_10,
)

READY = "00 00 00 00 00 00"
INQUIRY = bytes.fromhex("12 00 00 00 24 00")


# CBWs that are none


@pytest.mark.parametrize(
    "wrapper",
    [
        cbw(INQUIRY, 36)[:30],
        cbw(INQUIRY, 36) + b"\0",
        cbw(INQUIRY, 36).replace(b"USBC", b"USBS"),
        b"x",
        bytes(512),
    ],
    ids=["short", "long", "signature", "one byte", "a packet"],
)
def test_what_is_no_cbw_wedges_both_endpoints_until_a_reset(wrapper: bytes) -> None:
    subject = host()
    assert subject.submit(OUT, data=wrapper)[0].status == Status.OK
    for _ in range(2):
        assert subject.submit(IN, 13)[0].status == Status.PIPE
        assert subject.submit(OUT, data=cbw(INQUIRY, 36))[0].status == Status.PIPE
        subject.clear_halt(IN)
        subject.clear_halt(OUT)
    subject.reset()
    subject.clear_halt(IN)
    subject.clear_halt(OUT)
    assert subject.command(INQUIRY, 36).status == PASSED


def test_a_transfer_that_waits_for_data_fails_when_the_cbw_is_none() -> None:
    subject = host()
    assert subject.submit(IN, 36) == []
    done = subject.submit(OUT, data=b"nonsense")
    assert [(c.number, c.status) for c in done] == [
        (subject.number, Status.OK),
        (subject.number - 1, Status.PIPE),
    ]


@pytest.mark.parametrize(
    "wrapper",
    [
        cbw(INQUIRY, 36, lun=16),
        cbw(INQUIRY, 36, lun=0x80),
        cbw(INQUIRY, 36, flags=0x81),
        cbw(INQUIRY, 36, flags=0x40),
        cbw(INQUIRY, 36, size=0),
        cbw(INQUIRY, 36, size=17),
        cbw(INQUIRY, 36, size=0x26),
    ],
    ids=["lun 16", "lun 128", "flag 0", "flag 6", "no block", "17 bytes", "reserved bits of the length"],
)
def test_a_cbw_that_means_nothing_halts_both_endpoints_until_they_are_cleared(wrapper: bytes) -> None:
    subject = host()
    subject.submit(OUT, data=wrapper)
    assert subject.submit(IN, 13)[0].status == Status.PIPE
    assert subject.submit(OUT, data=cbw(INQUIRY, 36))[0].status == Status.PIPE
    subject.clear_halt(IN)
    subject.clear_halt(OUT)
    assert subject.command(INQUIRY, 36).status == PASSED


# The command block's size


def test_a_block_shorter_than_its_command_is_a_phase_error() -> None:
    subject = host()
    assert subject.command(read_10(0, 1), 512, size=9) == Done(PHASE_ERROR, 512, b"", halted=True)
    assert subject.command(write_10(0, 1), data=bytes(512), size=6) == Done(PHASE_ERROR, 512)
    assert subject.command("03 00 00 00 12 00", 18, size=5).status == PHASE_ERROR


def test_a_longer_block_is_taken_as_windows_asks_for_sense_with_12_bytes() -> None:
    subject = host()
    done = subject.command("03 00 00 00 12 00 ff ff ff ff ff ff", 18)
    assert (done.status, len(done.data)) == (PASSED, 18)
    assert subject.command(READY, size=10).status == PASSED


# Data stages that fail


def test_a_failing_data_stage_halts_at_once_and_tells_the_whole_residue() -> None:
    subject = host()
    assert subject.command(read_10(64, 1), 512) == Done(FAILED, 512, b"", halted=True)
    assert subject.sense() == "5 21 00"


def test_a_read_that_fails_in_the_middle_gives_what_there_is_then_halts() -> None:
    subject = host(transfer=2048)
    data = pattern(subject)
    subject.submit(OUT, data=cbw(read_10(0, 16), 8192, tag=7))
    assert subject.submit(IN, 2048)[0].data == data[:2048]
    ram(subject).failing.add("read")
    assert subject.submit(IN, 2048)[0].status == Status.PIPE
    subject.clear_halt(IN)
    assert CSW.unpack(subject.submit(IN, 13)[0].data) == (b"USBS", 7, 8192 - 2048, FAILED)
    assert subject.raw_sense()[:8].hex() == "f00003000000040a"


def test_a_write_that_fails_swallows_the_rest_and_says_so() -> None:
    subject = host(transfer=512)
    ram(subject).failing.add("write")
    assert subject.command(write_10(0, 8), data=bytes(4096)) == Done(FAILED, 4096)
    assert subject.sense() == "3 0c 00"


def test_out_data_of_a_command_that_was_refused_is_swallowed() -> None:
    subject = host(transfer=512)
    assert subject.command("ff 00 00 00 00 00", data=bytes(4096)) == Done(FAILED, 4096)
    assert subject.sense() == "5 20 00"


def test_a_short_packet_ends_what_the_host_sends() -> None:
    subject = host()
    subject.submit(OUT, data=cbw(write_10(0, 8), 4096, flags=0, tag=9))
    subject.submit(OUT, data=b"a" * 1024)
    subject.submit(OUT, data=b"b" * 100)
    assert CSW.unpack(subject.submit(IN, 13)[0].data) == (b"USBS", 9, 4096 - 1124, PASSED)
    assert ram(subject).data.strip(b"\0") == b"a" * 1024, "only whole blocks are written"


def test_an_empty_packet_ends_what_the_host_sends() -> None:
    subject = host()
    subject.submit(OUT, data=cbw(write_10(0, 8), 4096, flags=0))
    subject.submit(OUT, data=b"a" * 1024)
    subject.submit(OUT)
    assert CSW.unpack(subject.submit(IN, 13)[0].data)[2:] == (3072, PASSED)


def test_a_zero_packet_after_all_data_does_no_harm() -> None:
    subject = host()
    subject.submit(OUT, data=cbw(write_10(0, 2), 1024, flags=0))
    subject.submit(OUT, data=b"a" * 1024, flags=ZERO_PACKET)
    assert CSW.unpack(subject.submit(IN, 13)[0].data)[2:] == (0, PASSED)
    assert subject.command(READY).status == PASSED


def test_more_data_than_the_cbw_announced_is_thrown_away() -> None:
    subject = host()
    subject.submit(OUT, data=cbw(write_10(0, 1), 512, flags=0))
    assert subject.submit(OUT, data=b"a" * 2048)[0].actual_length == 2048
    assert CSW.unpack(subject.submit(IN, 13)[0].data)[2:] == (0, PASSED)
    assert ram(subject).data.strip(b"\0") == b"a" * 512


def test_transfers_need_not_end_where_blocks_do() -> None:
    subject = host(Lun("ram:64", block_size=4096), transfer=512 * 5)
    data = bytes(range(256)) * 64
    assert subject.command(write_10(1, 4), data=data) == Done(PASSED, 0)
    assert subject.command(read_10(1, 4), 16384) == Done(PASSED, 0, data)


# Order


def test_transfers_may_be_posted_before_their_command() -> None:
    subject = host()
    data = pattern(subject)
    assert subject.submit(IN, 512) == []
    assert subject.submit(IN, 13) == []
    sent, came, status = subject.submit(OUT, data=cbw(read_10(1, 1), 512, tag=3))
    assert (sent.status, came.data) == (Status.OK, data[512:1024])
    assert CSW.unpack(status.data) == (b"USBS", 3, 0, PASSED)


def test_a_second_command_waits_until_the_first_ones_status_is_fetched() -> None:
    subject = host()
    subject.submit(OUT, data=cbw(bytes(6), tag=1))
    assert subject.submit(OUT, data=cbw(bytes(6), tag=2)) == []
    first, second = subject.submit(IN, 13)
    assert (CSW.unpack(first.data)[1], second.number) == (1, subject.number - 1)
    assert CSW.unpack(subject.submit(IN, 13)[0].data)[1] == 2


def test_short_data_tells_a_host_that_does_not_want_it() -> None:
    subject = host()
    subject.submit(OUT, data=cbw(INQUIRY, 200))
    assert subject.submit(IN, 200, flags=SHORT_NOT_OK)[0].status == Status.REMOTEIO


def test_a_transfer_that_ends_within_a_packet_babbles() -> None:
    subject = host()
    pattern(subject)
    subject.submit(OUT, data=cbw(read_10(0, 2), 1024))
    (done,) = subject.submit(IN, 100)
    assert (done.status, done.actual_length) == (Status.OVERFLOW, 100)
    assert len(subject.submit(IN, 512)[0].data) == 512


def test_a_transfer_of_no_bytes_takes_nothing() -> None:
    subject = host()
    data = pattern(subject)
    subject.submit(OUT, data=cbw(read_10(0, 1), 512))
    assert subject.submit(IN)[0].data == b""
    assert subject.submit(IN, 512)[0].data == data[:512]


@pytest.mark.parametrize("speed", [Speed.FULL, Speed.HIGH, Speed.SUPER, Speed.SUPER_PLUS])
def test_it_works_at_every_speed_that_has_bulk(speed: Speed) -> None:
    subject = DiskHost(disk_device(speed=speed), transfer=4096)
    data = pattern(subject)
    assert subject.command(read_10(0, 64), 32768).data == data


# A lot of data


def test_a_long_read_takes_from_the_medium_only_what_each_transfer_asks_for() -> None:
    subject = host(Lun("huge:4294967296"), transfer=65536)
    subject.submit(OUT, data=cbw(bytes.fromhex("8800 0000000000000000 ffffffff 0000"), 0xFFFFFFFF))
    for _ in range(3):
        assert subject.submit(IN, 65536)[0].actual_length == 65536
    assert subject.disk.units[0].medium.reads == [65536] * 3  # type: ignore[union-attr]


# Requests


def test_get_max_lun() -> None:
    assert host().control("a1 fe 0000 0000 0001") == b"\0"
    assert host(Lun(), Lun(), Lun()).control("a1 fe 0000 0000 0001") == b"\2"


@pytest.mark.parametrize(
    "request_",
    ["a1 fe 0001 0000 0001", "a1 fe 0000 0000 0002", "21 ff 0001 0000 0000", "21 fd 0000 0000 0000"],
)
def test_requests_with_other_values_stall(request_: str) -> None:
    assert host().control(request_) is None


def test_a_reset_forgets_the_command_and_what_was_queued() -> None:
    subject = host()
    subject.submit(OUT, data=cbw(write_10(0, 8), 4096, flags=0))
    subject.submit(OUT, data=b"a" * 512)
    subject.reset()
    assert subject.command(INQUIRY, 36).status == PASSED
    subject.submit(OUT, data=cbw(read_10(0, 8), 4096))
    subject.submit(IN, 512)
    subject.reset()
    assert subject.command(INQUIRY, 36).status == PASSED


def test_a_reset_takes_a_command_that_waits_as_the_next_one() -> None:
    subject = host()
    subject.submit(OUT, data=cbw(bytes(6), tag=1))
    assert subject.submit(OUT, data=cbw(INQUIRY, 36, tag=2)) == []
    assert len(subject.setup(setup_of("21 ff 0000 0000 0000"))) == 2
    assert len(subject.submit(IN, 36)[0].data) == 36
    assert CSW.unpack(subject.submit(IN, 13)[0].data)[1] == 2


# Unit attention


def interrupted(subject: DiskHost, how: str) -> None:
    if how == "bulk-only reset":
        subject.reset()
    elif how == "set interface":
        assert subject.control("01 0b 0000 0000 0000") == b""
    elif how == "bus reset":
        subject.device.bus(BusEvent.RESET)
        assert subject.control("00 09 0001 0000 0000") == b""


@pytest.mark.parametrize("how", ["first use", "bulk-only reset", "set interface", "bus reset"])
def test_after_a_reset_the_first_command_fails_with_a_unit_attention(how: str) -> None:
    subject = host(calm=how != "first use")
    interrupted(subject, how)
    for passing in (INQUIRY, bytes.fromhex("a000 0000 0000 00000024 0000")):
        assert subject.command(passing, 36).status == PASSED
    assert subject.refused(READY) == "6 29 00"
    assert subject.command(READY).status == PASSED


@pytest.mark.parametrize("how", ["bulk-only reset", "set interface", "bus reset"])
def test_sense_that_is_asked_for_is_the_attention_itself(how: str) -> None:
    subject = host()
    interrupted(subject, how)
    assert [subject.sense(), subject.sense()] == ["6 29 00", "0 00 00"]


# LUNs


def test_a_lun_that_is_not_there_answers_inquiry_and_request_sense_only() -> None:
    subject = host()
    done = subject.command(INQUIRY, 36, lun=1)
    assert (done.status, done.data[0]) == (PASSED, 0x7F)
    assert subject.command(READY, lun=1).status == FAILED
    assert subject.command(read_10(0, 1), 512, lun=15) == Done(FAILED, 512, b"", halted=True)
    assert subject.sense(lun=1) == "5 25 00"
    assert subject.command("03 00 00 00 12 00", 18, lun=1, size=5).status == PHASE_ERROR


def test_each_lun_has_a_medium_and_sense_of_its_own() -> None:
    subject = host(Lun("ram:8"), Lun("ram:16", block_size=4096), calm=False)
    assert subject.sense(0) == "6 29 00"
    assert subject.refused(READY, lun=1) == "6 29 00"
    assert subject.command("25" + "00" * 9, 8, lun=0).data.hex() == "0000000700000200"
    assert subject.command("25" + "00" * 9, 8, lun=1).data.hex() == "0000000f00001000"
    assert subject.command(read_10(8, 1), 512, lun=0).status == FAILED
    assert [subject.sense(1), subject.sense(0)] == ["0 00 00", "5 21 00"]


def test_sense_is_of_the_last_command_only() -> None:
    subject = host()
    assert subject.command(read_10(64, 1), 512).status == FAILED
    assert subject.command(READY).status == PASSED
    assert subject.sense() == "0 00 00"
