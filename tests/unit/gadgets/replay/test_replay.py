"""What was recorded is done again, to the byte; where it is not, the first difference is named."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError, Unavailable, UsageError
from gadgets.faults.catalogue import AddFault, AnyFault
from gadgets.faults.data import Corrupt, Drop
from gadgets.faults.faulty import Faulty
from gadgets.hid.keyboard import Press, TypeText, keyboard
from gadgets.replay.format import preamble
from gadgets.replay.player import Report, replay
from gadgets.replay.recorder import Recorder
from gadgets.replay.recording import Recording
from gadgets.usb.device import BusEvent, Device
from gadgets.usb.urb import Completion
from tests.unit.gadgets.faults.sequences import faulty, run, runs
from tests.unit.gadgets.host import Host, Say, Take, bench
from tests.unit.gadgets.usb.test_determinism import Input

Session = Callable[[Device], None]


def record(device: Device, session: Session, **more: int) -> bytes:
    sink = io.BytesIO()
    recorder = Recorder(device, sink, **more)
    session(recorder)
    recorder.close()
    return sink.getvalue()


def again(data: bytes, device: Device) -> Report:
    return replay(Recording(data), device)


def typing(device: Device) -> None:
    device.bus(BusEvent.ATTACH)
    host = Host(device)
    device.local(TypeText("Hello", "de"))
    for _ in range(12):
        host.submit(0x81, 8)
    device.tick(10**9)
    device.tick(2 * 10**9)
    device.unlink(host.number)
    host.control("21 09 0200 0000 0001", b"\x02")
    device.take_events()


def benching(device: Device) -> None:
    host = Host(device)
    for size in (0, 1, 600, 600, 5000, 600):
        host.submit(0x01, data=bytes(size))
    device.local(Take(False))
    host.submit(0x01, data=b"waits")
    device.local(Take(True))
    device.local(Say(bytes(range(256)) * 40))
    host.submit(0x81, 10240)
    host.control("01 0b 0001 0000 0000")


SESSIONS: dict[str, tuple[Callable[[], Device], Session]] = {
    "keyboard": (keyboard, typing),
    "bench": (lambda: bench()[0], benching),
    "faults": (lambda: Faulty(bench()[0], [Corrupt(3, chance=0.5), Drop(endpoint=1, nth=2)], 5), benching),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_replays_byte_identically(name: str) -> None:
    make, session = SESSIONS[name]
    report = again(record(make(), session), make())
    assert report.identical
    assert report.complete
    assert report.inputs > 10
    assert str(report).startswith(f"{report.inputs} inputs, byte-identical")


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_recorded_twice_is_the_same_file(name: str) -> None:
    make, session = SESSIONS[name]
    assert record(make(), session) == record(make(), session)


@given(runs())
def test_any_run_with_any_faults_replays(given: tuple[list[AnyFault], list[Input]]) -> None:
    plan, steps = given
    data = record(faulty(plan), lambda device: run(device, steps))
    report = again(data, faulty([]))
    assert report.identical, str(report)


def test_a_recording_may_begin_in_the_middle_of_a_session() -> None:
    device = keyboard()
    host = Host(device)
    device.local(TypeText("abc"))
    host.submit(0x81, 8)

    def rest(recorder: Device) -> None:
        host.device = recorder
        for _ in range(8):
            host.submit(0x81, 8)
        recorder.local(Press(("a",)))

    assert again(record(device, rest), keyboard()).identical


def test_faults_that_were_added_at_run_time_are_part_of_the_recording() -> None:
    def session(device: Device) -> None:
        device.local(AddFault(Corrupt(2, endpoint=0x01)))
        benching(device)

    assert again(record(Faulty(bench()[0], seed=3), session), Faulty(bench()[0])).identical


def test_a_refused_input_is_refused_again() -> None:
    def session(device: Device) -> None:
        with pytest.raises(Unavailable):
            device.local(Press(("a",)))
        with pytest.raises(UsageError, match="does not take"):
            device.local(Say(b""))

    report = again(record(keyboard(), session), keyboard())
    assert report.identical
    assert report.inputs == 1


# Differences


class Careless:
    """A device that gets one completion wrong."""

    def __init__(self, device: Device, wrong: Callable[[Completion], None], nth: int) -> None:
        self._device, self._wrong, self._left = device, wrong, nth

    def __getattr__(self, name: str) -> object:
        return getattr(self._device, name)

    def submit(self, urb: object) -> list[Completion]:
        done = self._device.submit(urb)  # type: ignore[arg-type]
        self._left -= 1
        if done and not self._left:
            self._wrong(done[0])
        return done


def other_byte(done: Completion) -> None:
    done.data = done.data[:20] + b"\xff" + done.data[21:]


def other_status(done: Completion) -> None:
    done.status = -32


def test_the_first_difference_is_named_with_its_bytes() -> None:
    data = record(bench()[0], benching)
    report = again(data, Careless(bench()[0], other_byte, 9))  # type: ignore[arg-type]
    assert not report.identical
    assert str(report) == (
        "differs at input 12: URB 9 to endpoint 81, 10240 bytes, completion 1\n"
        "  recorded: data 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f …\n"
        "  now:      data 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f …\n"
        "  - 000010  10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f\n"
        "  + 000010  10 11 12 13 ff 15 16 17 18 19 1a 1b 1c 1d 1e 1f"
    )


def test_a_difference_beyond_what_was_kept_is_still_seen() -> None:
    data = record(bench()[0], benching, keep=16)
    report = again(data, Careless(bench()[0], other_byte, 9))  # type: ignore[arg-type]
    assert "not kept" in str(report)


def test_another_status_is_named() -> None:
    report = again(record(bench()[0], benching), Careless(bench()[0], other_status, 2))  # type: ignore[arg-type]
    assert "completion 1\n  recorded: status 0\n  now:      status -32" in str(report)


def test_another_completion_too_many_or_too_few_is_named() -> None:
    data = record(bench()[0], lambda device: Host(device).submit(0x01, data=b"x") and None)
    blocked = bench()[0]
    blocked_report = again(record(blocked, lambda device: None), blocked)
    assert blocked_report.identical
    deaf = bench()
    deaf[1].out = lambda endpoint, data: False  # type: ignore[method-assign]
    report = again(data, deaf[0])
    assert "recorded: URB 2, status 0, 1 bytes\n  now:      no completion" in str(report)


def test_other_events_are_named() -> None:
    data = record(keyboard(), typing)
    dark = keyboard()
    dark.functions[0].tell = lambda event: None  # type: ignore[method-assign]
    report = again(data, dark)
    assert "the events since then" in str(report)
    assert "leds" in str(report)


def test_a_device_of_another_definition_is_refused() -> None:
    with pytest.raises(UsageError, match="other descriptors"):
        again(record(keyboard(), typing), bench()[0])


def test_a_snapshot_of_another_kind_of_device_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not of such a device"):
        again(record(keyboard(), typing), Faulty(keyboard()))


def test_a_snapshot_with_a_damaged_transfer_is_refused() -> None:
    recording = Recording(record(Faulty(keyboard()), lambda device: None))
    snapshot = {**recording.snapshot, "flying": [[1, 0x80, 18, b"", b"short", 0, [], 0, 0]]}
    forged = preamble({"definition": None, "keep": recording.keep, "snapshot": snapshot})
    with pytest.raises(ProtocolError, match="not of such a device"):
        again(forged, Faulty(keyboard()))


# The recorder


def test_large_data_that_is_sent_often_is_stored_once() -> None:
    def writing(device: Device) -> None:
        host = Host(device)
        for number in range(100):
            host.submit(0x01, data=bytes((number % 2,)) * 10_000)

    data = record(bench()[0], writing)
    assert len(data) < 40_000
    assert again(data, bench()[0]).identical


def test_a_recording_ends_at_its_limit_and_the_device_goes_on() -> None:
    sink = io.BytesIO()
    recorder = Recorder(bench()[0], sink, limit=2000)
    host = Host(recorder)
    for number in range(100):
        assert host.submit(0x01, data=number.to_bytes(100, "big"))[0].status == 0
    assert "limit of 2000 bytes" in recorder.ended
    assert len(sink.getvalue()) < 3000
    report = again(sink.getvalue(), bench()[0])
    assert report.identical
    assert report.complete


@dataclass
class Full:
    """A sink that takes the preamble and no more."""

    room: int = 1

    def write(self, data: bytes) -> None:
        if self.room == 0:
            raise OSError(28, "No space left on device")
        self.room -= 1

    def flush(self) -> None:
        pass


def test_a_full_disk_ends_the_recording_and_not_the_device() -> None:
    recorder = Recorder(bench()[0], Full())
    host = Host(recorder)
    host.submit(0x01, data=bytes(70_000))
    assert recorder.ended == "the recording cannot be written: No space left on device"
    assert host.submit(0x01, data=b"x")[0].status == 0
    recorder.close()


def test_everything_is_in_the_file_after_a_flush() -> None:
    sink = io.BytesIO()
    recorder = Recorder(keyboard(), sink)
    typing(recorder)
    recorder.flush()
    report = again(sink.getvalue(), keyboard())
    assert report.identical
    assert report.inputs == recorder.inputs_recorded
    assert report.digest == recorder.digest
    assert not report.complete
    assert recorder.size == len(sink.getvalue())


@given(st.integers(0, 400))
def test_a_file_that_was_torn_off_is_good_up_to_there(lost: int) -> None:
    whole = record(keyboard(), typing)
    report = again(whole[: len(whole) - lost], keyboard())
    assert report.identical
    assert report.complete == (lost == 0)
    assert lost == 0 or "torn off" in str(report)


def test_a_long_recording_has_checkpoints_that_hold() -> None:
    def long(device: Device) -> None:
        host = Host(device)
        for _ in range(2500):
            host.submit(0x01, data=b"x")

    data = record(bench()[0], long)
    assert again(data, bench()[0]).inputs == 2501


def test_events_that_were_told_before_the_recording_are_not_lost_to_who_asks() -> None:
    device = keyboard()
    Host(device)
    recorder = Recorder(device, io.BytesIO())
    assert recorder.take_events() != []
    assert recorder.take_events() == []
