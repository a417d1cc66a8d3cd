"""Media that come and go, locks, switches, and what the operator and the host hear of each other."""

from __future__ import annotations

import pytest

from appliance.errors import Busy, NotFound, TwinhubError, Unavailable, UsageError
from gadgets.storage.events import Ejected, Prevented, Stopped
from gadgets.storage.function import Disk
from gadgets.storage.lun import Eject, Insert, Lun, MendBlocks, NotReady, SpoilBlocks, WriteProtect
from gadgets.storage.scsi.unit import MAX_SPOILED
from gadgets.usb.records import from_tagged
from tests.unit.gadgets.storage.disks import (
    CSW,
    FAILED,
    IN,
    OUT,
    PASSED,
    Ram,
    Shelf,
    cbw,
    host,
    ram,
    read_10,
    write_10,
)

READY = "00 00 00 00 00 00"
LOCK, UNLOCK = "1e 00 00 00 01 00", "1e 00 00 00 00 00"
STOP, START, EJECT, LOAD = (f"1b 00 00 00 {action:02x} 00" for action in range(4))


def test_an_empty_drive_is_not_ready_and_still_tells_who_it_is() -> None:
    subject = host(Lun())
    for block in (READY, "25" + "00" * 9, read_10(0, 1).hex(), write_10(0, 0).hex()):
        assert subject.refused(block) == "2 3a 00"
    assert subject.command("12 00 00 00 24 00", 36).status == PASSED
    assert subject.command("1a 00 3f 00 ff 00", 255).status == PASSED
    assert subject.command("23" + "00" * 6 + "00fc00", 252).data.hex() == "00000008" + "ffffffff" + "03000200"


def test_a_medium_that_is_put_in_is_a_change_the_host_hears_of_once() -> None:
    subject = host(Lun())
    subject.local(Insert("ram:8"))
    assert subject.refused(READY) == "6 28 00"
    assert subject.command(READY).status == PASSED
    assert subject.command("25" + "00" * 9, 8).data.hex() == "00000007" + "00000200"


def test_a_medium_that_is_taken_out_is_durable_and_closed() -> None:
    subject = host()
    medium = ram(subject)
    subject.local(Eject())
    assert (medium.flushes, medium.closed) == (1, True)
    assert subject.refused(READY) == "2 3a 00"


def test_a_read_under_way_ends_when_the_medium_changes() -> None:
    subject = host(Lun("ram:64"))
    subject.submit(OUT, data=cbw(read_10(32, 16), 8192))
    subject.submit(IN, 512)
    subject.local(Eject())
    subject.local(Insert("ram:8"))
    subject.submit(IN, 512)
    subject.clear_halt(IN)
    assert CSW.unpack(subject.submit(IN, 13)[0].data)[2:] == (8192 - 512, FAILED)
    assert subject.sense() == "2 3a 00"


def test_a_write_under_way_does_not_reach_the_next_medium() -> None:
    subject = host(Lun("ram:64"))
    subject.submit(OUT, data=cbw(write_10(0, 2), 1024, flags=0))
    subject.local(Eject())
    subject.local(Insert("ram:8"))
    subject.submit(OUT, data=b"x" * 1024)
    assert CSW.unpack(subject.submit(IN, 13)[0].data)[2:] == (1024, FAILED)
    assert not any(ram(subject).data)


def test_a_discard_under_way_does_not_reach_the_next_medium_nor_a_protected_one() -> None:
    subject = host(Lun("ram:64"))
    pattern = b"p" * 512
    for locally in ((Eject(), Insert("ram:8")), (WriteProtect(True),)):
        ram(subject).data[:512] = pattern
        subject.submit(OUT, data=cbw(bytes.fromhex("4100 00000000 00 0001 00"), 512, flags=0))
        for given in locally:
            subject.local(given)
        ram(subject).data[:512] = pattern
        subject.submit(OUT, data=bytes(512))
        assert CSW.unpack(subject.submit(IN, 13)[0].data)[3] == FAILED
        assert ram(subject).data[:512] == pattern
        assert [subject.sense(), subject.sense()] != ["0 00 00", "0 00 00"]


# What the operator may do


def test_a_drive_takes_one_medium() -> None:
    subject = host()
    with pytest.raises(Busy, match="ram:64; eject it first"):
        subject.local(Insert("ram:8"))
    subject.local(Eject())
    with pytest.raises(Unavailable, match="empty already"):
        subject.local(Eject())


def test_a_medium_that_cannot_be_opened_leaves_the_drive_empty() -> None:
    subject = host(Lun())
    before = subject.device.snapshot()
    with pytest.raises(NotFound):
        subject.local(Insert("nowhere"))
    assert subject.device.snapshot() == before


def test_a_fixed_disk_cannot_be_ejected() -> None:
    subject = host(Lun("ram:8", removable=False))
    with pytest.raises(UsageError, match="not removable"):
        subject.local(Eject(force=True))
    assert subject.refused(EJECT) == "5 24 00"
    assert subject.refused(LOAD) == "5 24 00"


def test_a_medium_the_host_has_locked_comes_out_by_force_only() -> None:
    subject = host()
    subject.command(LOCK)
    with pytest.raises(Busy, match="force"):
        subject.local(Eject())
    subject.local(Eject(force=True))
    assert subject.refused(READY) == "2 3a 00"
    subject.local(Insert("ram:8"))
    subject.local(Eject())


@pytest.mark.parametrize(
    "given", [Insert("ram:1", lun=1), Eject(lun=-1), WriteProtect(True, 5), MendBlocks(9), NotReady(True, 2)]
)
def test_there_must_be_such_a_lun(given: object) -> None:
    with pytest.raises(NotFound, match="no lun"):
        host().local(given)


def test_inputs_are_what_they_are_in_json() -> None:
    assert from_tagged(Disk.inputs, {"insert": "a.img", "read_only": True}) == Insert("a.img", read_only=True)
    assert from_tagged(Disk.inputs, {"eject": True}) == Eject()
    assert from_tagged(Disk.inputs, {"spoil_blocks": 5, "last": 7}) == SpoilBlocks(5, 7)


# Protection


def test_a_read_only_disk_says_so_and_takes_no_write() -> None:
    subject = host(Lun("ram:8", read_only=True))
    assert subject.command("1a 00 3f 00 04 00", 4).data[2] == 0x90
    for block in (write_10(0, 1), "41 00 00000000 00 0001 00", "42 00 00000000 00 0018 00"):
        assert subject.refused(block, data=bytes(512)) == "7 27 00"
    assert subject.command(read_10(0, 1), 512).status == PASSED


def test_a_medium_may_be_put_in_read_only() -> None:
    subject = host(Lun())
    subject.local(Insert("ram:8", read_only=True))
    subject.sense()
    assert subject.refused(write_10(0, 1), data=bytes(512)) == "7 27 00"


def test_a_medium_that_is_read_only_makes_the_disk_so() -> None:
    subject = host(Lun("rom"), shelf=Shelf({"rom": Ram(4096, read_only=True)}))
    assert subject.refused(write_10(0, 1), data=bytes(512)) == "7 27 00"


def test_the_write_protect_switch_works_while_attached() -> None:
    subject = host()
    subject.local(WriteProtect(True))
    assert subject.refused(write_10(0, 1), data=bytes(512)) == "6 2a 01"
    assert subject.refused(write_10(0, 1), data=bytes(512)) == "7 27 00"
    subject.local(WriteProtect(True))
    subject.local(WriteProtect(False))
    assert subject.refused(READY) == "6 2a 01"
    assert subject.command(write_10(0, 1), data=bytes(512)).status == PASSED


def test_the_switch_stops_a_write_under_way() -> None:
    subject = host(transfer=512)
    subject.submit(OUT, data=cbw(write_10(0, 2), 1024, flags=0))
    subject.submit(OUT, data=b"a" * 512)
    subject.local(WriteProtect(True))
    subject.submit(OUT, data=b"b" * 512)
    assert CSW.unpack(subject.submit(IN, 13)[0].data)[2:] == (512, FAILED)
    assert subject.sense() == "7 27 00"
    assert ram(subject).data.strip(b"\0") == b"a" * 512


# Faults


def test_not_ready_for_as_long_as_it_is_on() -> None:
    subject = host()
    subject.local(NotReady(True))
    assert [subject.refused(READY), subject.refused(read_10(0, 1), 512)] == ["2 04 01", "2 04 01"]
    subject.local(NotReady(False))
    assert subject.command(READY).status == PASSED


def test_blocks_that_fail_are_a_range_of_a_bounded_number_and_go_with_the_medium() -> None:
    subject = host()
    for wrong in (SpoilBlocks(3, 2), SpoilBlocks(-1, 2)):
        with pytest.raises(UsageError, match="no range"):
            subject.local(wrong)
    for _ in range(MAX_SPOILED):
        subject.local(SpoilBlocks(0, 1 << 70))
    with pytest.raises(UsageError, match="mend"):
        subject.local(SpoilBlocks(0, 0))
    assert subject.refused(read_10(0, 1), 512) == "3 11 00"
    subject.local(Eject())
    subject.local(Insert("ram:8"))
    subject.sense()
    assert subject.command(read_10(0, 1), 512).status == PASSED


# What the host may do


def test_a_host_ejects_and_the_operator_hears_of_it() -> None:
    subject = host()
    medium = ram(subject)
    assert subject.command(EJECT).status == PASSED
    assert (medium.flushes, medium.closed) == (1, True)
    assert subject.told() == [Ejected(0)]
    assert subject.refused(READY) == "2 3a 00"
    assert subject.refused(LOAD) == "2 3a 00"
    assert subject.command(EJECT).status == PASSED
    assert subject.told() == []


def test_a_host_that_locked_the_medium_cannot_eject_it() -> None:
    subject = host()
    subject.command(LOCK)
    assert subject.refused(EJECT) == "5 53 02"
    subject.command(LOCK)
    subject.command(UNLOCK)
    assert subject.told() == [Prevented(True, 0), Prevented(False, 0)]
    assert subject.command(EJECT).status == PASSED


def test_an_eject_whose_flush_fails_does_not_happen() -> None:
    subject = host()
    ram(subject).failing.add("flush")
    assert subject.refused(EJECT) == "3 0c 00"
    assert subject.command(READY).status == PASSED


def test_a_flush_that_fails_as_the_operator_ejects_is_told_later() -> None:
    subject = host()
    ram(subject).failing.add("flush")
    subject.local(Eject())
    assert subject.command(READY).status == FAILED
    assert subject.raw_sense()[:3].hex() == "710003"


def test_a_stopped_disk_is_durable_and_starts_again() -> None:
    subject = host()
    assert subject.command(STOP).status == PASSED
    assert ram(subject).flushes == 1
    assert subject.refused(read_10(0, 1), 512) == "2 04 02"
    subject.command(STOP)
    subject.command(START)
    assert subject.told() == [Stopped(True, 0), Stopped(False, 0)]
    assert subject.command(LOAD).status == PASSED
    assert subject.command(read_10(0, 1), 512).status == PASSED


def test_power_conditions_change_nothing() -> None:
    subject = host()
    assert subject.command("1b 00 00 00 30 00").status == PASSED
    assert subject.command(READY).status == PASSED


def test_a_reset_unlocks_and_starts() -> None:
    subject = host()
    subject.command(LOCK)
    subject.command(STOP)
    subject.reset()
    subject.sense()
    assert subject.command(READY).status == PASSED
    assert subject.command(EJECT).status == PASSED


def test_a_closed_disk_has_given_everything_back() -> None:
    subject = host(Lun("ram:8"), Lun("ram:8"))
    media = [ram(subject, lun) for lun in range(2)]
    subject.disk.close()
    subject.disk.close()
    assert [(medium.flushes, medium.closed) for medium in media] == [(1, True)] * 2


def test_every_complaint_is_one_of_ours() -> None:
    subject = host(Lun("ram:8", removable=False), Lun())
    for given in (Eject(), Eject(1), Insert("x", 1), SpoilBlocks(2, 1), NotReady(True, 2)):
        with pytest.raises(TwinhubError):
            subject.local(given)
