"""What a disk does when host and command agree, and when not: the thirteen cases of BOT 1.0 §6.7."""

from __future__ import annotations

from tests.unit.gadgets.storage.disks import (
    PASSED,
    PHASE_ERROR,
    Done,
    host,
    pattern,
    ram,
    read_10,
    write_10,
)

READY = "00 00 00 00 00 00"
INQUIRY = bytes.fromhex("12 00 00 00 24 00")


def test_case_1_neither_wants_data() -> None:
    assert host().command(READY) == Done(PASSED, 0)


def test_case_2_the_host_expects_nothing_and_the_command_has_data() -> None:
    assert host().command(read_10(0, 1), 0) == Done(PHASE_ERROR, 0)


def test_case_3_the_host_expects_nothing_and_the_command_wants_data() -> None:
    subject = host()
    assert subject.command(write_10(0, 1), data=b"") == Done(PHASE_ERROR, 0)
    assert not any(ram(subject).data)


def test_case_4_the_host_expects_data_and_the_command_has_none() -> None:
    assert host().command(READY, 64) == Done(PASSED, 64, b"", halted=True)


def test_case_5_the_host_expects_more_than_the_command_has() -> None:
    subject = host()
    done = subject.command(INQUIRY, 200)
    assert (done.status, done.residue, len(done.data), done.halted) == (PASSED, 164, 36, True)


def test_case_5_holds_where_what_there_is_fills_transfers_wholly() -> None:
    subject = host(transfer=512)
    data = pattern(subject)
    assert subject.command(read_10(2, 2), 2048) == Done(PASSED, 1024, data[1024:2048], halted=True)


def test_case_6_both_want_the_same_in() -> None:
    subject = host()
    data = pattern(subject)
    assert subject.command(read_10(3, 4), 2048) == Done(PASSED, 0, data[1536:3584])


def test_case_7_the_host_expects_less_than_the_command_has() -> None:
    subject = host()
    data = pattern(subject)
    assert subject.command(read_10(0, 4), 1024) == Done(PHASE_ERROR, 0, data[:1024])


def test_case_8_the_host_expects_data_and_the_command_wants_some() -> None:
    subject = host()
    assert subject.command(write_10(0, 1), 512) == Done(PHASE_ERROR, 512, b"", halted=True)
    assert not any(ram(subject).data)


def test_case_9_the_host_sends_data_and_the_command_wants_none() -> None:
    assert host().command(READY, data=bytes(1000)) == Done(PASSED, 1000)


def test_case_10_the_host_sends_data_and_the_command_has_some() -> None:
    assert host().command(read_10(0, 1), data=bytes(512)) == Done(PHASE_ERROR, 512)


def test_case_11_the_host_sends_more_than_the_command_wants() -> None:
    subject = host(transfer=512)
    assert subject.command(write_10(5, 2), data=b"y" * 4096) == Done(PASSED, 3072)
    assert ram(subject).data.strip(b"\0") == b"y" * 1024


def test_case_11_holds_where_all_comes_in_one_transfer() -> None:
    subject = host()
    assert subject.command(write_10(5, 2), data=b"y" * 4096) == Done(PASSED, 3072)
    assert ram(subject).data.strip(b"\0") == b"y" * 1024


def test_case_12_both_want_the_same_out() -> None:
    subject = host()
    assert subject.command(write_10(1, 3), data=b"x" * 1536) == Done(PASSED, 0)
    assert ram(subject).data[512:2048] == b"x" * 1536


def test_case_13_the_host_sends_less_than_the_command_wants() -> None:
    subject = host()
    assert subject.command(write_10(0, 4), data=b"z" * 1024) == Done(PHASE_ERROR, 0)
    assert ram(subject).data.strip(b"\0") == b"z" * 1024
