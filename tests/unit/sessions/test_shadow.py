"""The shadow of a relayed session, and how it goes on when the master dies."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.exports.takeover import Disk
from appliance.sessions.relay import KEPT_SIZE
from appliance.sessions.shadow.core import Shadow
from appliance.sessions.shadow.plan import Replug
from appliance.sessions.shadow.restore import TRIES, Outcome, Transfer
from appliance.sessions.state import SessionState
from gadgets.usb.urb import Speed
from tests.unit.sessions.pdus import answer, submit, unlink, unlinked
from tests.unit.sessions.shadows import (
    CAMERA,
    DISK,
    FTDI,
    KEYBOARD,
    Device,
    Heir,
    Master,
    carried_out,
    takes_over,
)

SET_CONFIGURATION_1 = bytes.fromhex("0009010000000000")
SET_BAUD_RATE = bytes.fromhex("40031a0000000000")
SET_INTERFACE_0_1 = bytes.fromhex("010b010000000000")
SET_INTERFACE_1_1 = bytes.fromhex("010b010001000000")
COMMAND_BLOCK = b"USBC" + bytes(27)
KEY_A = bytes.fromhex("0000040000000000")


def dies(master: Master, choice: str = "auto") -> Heir:
    return Heir(takes_over(master.shadow, choice), master.client)


# What a shadow knows


def test_a_shadow_follows_the_clients_stream_by_its_bytes() -> None:
    master = Master(descriptors=FTDI)
    master.asks(submit(1, 0x81, 64))
    master.gives(master.stub.answer(1, b"abc"))
    assert (master.shadow.consumed, master.shadow.produced) == (48, 51)
    assert bytes(master.shadow.tail) == answer(1, b"abc")


def test_what_the_client_has_acknowledged_is_not_kept() -> None:
    master = Master(descriptors=FTDI)
    master.asks(submit(1, 0x81, 64))
    master.gives(master.stub.answer(1, b"abc"))
    master.shadow.seen(49)
    assert bytes(master.shadow.tail) == b"bc"
    master.shadow.seen(10)
    assert bytes(master.shadow.tail) == b"bc"


def test_a_shadow_can_begin_in_the_midst_of_a_session() -> None:
    master = Master(descriptors=KEYBOARD)
    master.asks(submit(1, 0x81, 8, interval=4), submit(2, 0x00, setup=SET_CONFIGURATION_1))
    master.gives(master.stub.answer(2))
    written = replace(master.relay.freeze(), consumed=96, produced=48).to_json()
    master.shadow = Shadow(SessionState.from_json(written))
    heir = dies(master)
    assert heir.plan.requests == (SET_CONFIGURATION_1,)
    assert [address for address, *_ in heir.stub.seen] == [0x81]
    assert (heir.plan.state.consumed, heir.plan.state.produced) == (96, 48)


def test_a_shadow_that_joined_has_not_the_payload_of_what_was_sent_before() -> None:
    master = Master(descriptors=FTDI)
    master.asks(submit(1, 0x02, data=b"lost"), submit(2, 0x81, 64))
    master.shadow = Shadow(master.relay.freeze())
    heir = dies(master)
    assert heir.client.answers == {1: (-errno.EPROTO, b"")}
    assert list(heir.stub.urbs) == [2]


def test_an_answer_to_what_was_not_asked_shows_that_the_shadow_lost_step() -> None:
    master = Master()
    with pytest.raises(ProtocolError, match="did not ask"):
        master.shadow.stub(answer(7))


@pytest.mark.parametrize("told", [True, False])
def test_a_refusal_of_the_masters_is_told_once(told: bool) -> None:
    master = Master(descriptors=FTDI)
    master.asks(submit(1, 0x8A, 64))
    if told:
        master.gives(b"")
    heir = dies(master)
    assert heir.client.answers == {1: (-errno.ENOENT, b"")}
    assert heir.stub.seen == []


# What is pending, by class


def test_a_serial_adapter_has_all_again_that_it_had_not_answered() -> None:
    master = Master(descriptors=FTDI)
    master.asks(submit(1, 0x00, setup=SET_BAUD_RATE), submit(2, 0x81, 64, flags=1))
    master.gives(master.stub.answer(1))
    master.asks(submit(3, 0x02, data=b"hello"), submit(4, 0x02, data=b"world"))
    master.gives(master.stub.answer(3))
    heir = dies(master)
    assert heir.plan.requests == (SET_BAUD_RATE,)
    assert heir.stub.seen == [(0x81, bytes(8), b""), (0x02, bytes(8), b"world")]
    heir.answers_all()
    assert sorted(heir.client.answers) == [1, 2, 3, 4]


def test_a_disk_fails_what_is_pending_and_what_is_left_of_its_command() -> None:
    master = Master(descriptors=DISK)
    master.asks(submit(1, 0x02, data=COMMAND_BLOCK), submit(2, 0x81, 4096))
    heir = dies(master)
    assert heir.stub.seen == []
    assert heir.client.answers == {1: (-errno.EPROTO, b""), 2: (-errno.EPROTO, b"")}
    heir.asks(submit(3, 0x81, 13), submit(4, 0x80, 18, setup=bytes.fromhex("8006000100001200")))
    heir.answers_all()
    assert (heir.client.answers[3], heir.client.answers[4][0]) == ((-errno.EPROTO, b""), 0)
    heir.asks(submit(5, 0x02, data=COMMAND_BLOCK), submit(6, 0x81, 13))
    assert [address for address, *_ in heir.stub.seen] == [0x80, 0x02, 0x81]


def test_a_disk_between_two_commands_goes_on_with_the_next() -> None:
    master = Master(descriptors=DISK)
    heir = dies(master)
    heir.asks(submit(5, 0x02, data=COMMAND_BLOCK), submit(6, 0x81, 13))
    heir.answers_all()
    assert [status for status, _ in heir.client.answers.values()] == [0, 0]


def test_a_key_that_was_down_is_released() -> None:
    master = Master(descriptors=KEYBOARD)
    master.asks(submit(1, 0x81, 8), submit(2, 0x81, 8))
    master.gives(master.stub.answer(1, KEY_A))
    heir = dies(master)
    assert heir.client.answers[2] == (0, bytes(8))
    assert heir.stub.seen == []


def test_a_keyboard_at_rest_just_goes_on() -> None:
    master = Master(descriptors=KEYBOARD)
    master.asks(submit(1, 0x81, 8), submit(2, 0x81, 8), submit(3, 0x81, 8))
    master.gives(master.stub.answer(1, KEY_A))
    master.gives(master.stub.answer(2, bytes(8)))
    heir = dies(master)
    assert list(heir.stub.urbs) == [3]


def test_isochronous_packets_are_told_as_missed() -> None:
    master = Master(descriptors=CAMERA)
    described = bytes.fromhex("0000000000000300000000000000000000000300000003000000000000000000")
    master.asks(submit(0, 0x00, setup=SET_INTERFACE_0_1), submit(1, 0x81, 1536, described, packets=2))
    master.gives(master.stub.answer(0))
    heir = dies(master)
    status, behind = heir.client.answers[1]
    assert status == 0
    assert behind == bytes.fromhex("000000000000030000000000ffffffee000003000000030000000000ffffffee")
    assert heir.stub.seen == []


def test_an_out_that_is_too_large_to_be_kept_fails() -> None:
    master = Master(descriptors=FTDI)
    master.asks(submit(1, 0x02, data=bytes(KEPT_SIZE)), submit(2, 0x02, data=b"kept"))
    heir = dies(master)
    assert heir.client.answers == {1: (-errno.EPROTO, b"")}
    assert heir.stub.seen == [(0x02, bytes(8), b"kept")]


@pytest.mark.parametrize("size", [100, KEPT_SIZE])
@pytest.mark.parametrize("part", [20, 48, 60])
def test_an_out_that_came_in_part_goes_on_with_its_rest(size: int, part: int) -> None:
    master = Master(descriptors=FTDI)
    data = bytes(range(100)) * (size // 100)
    pdu = submit(1, 0x02, data=data)
    master.client.sends(pdu)
    master.sends(pdu[:part])
    heir = dies(master)
    heir.sends(pdu[part:] + heir.client.sends(submit(2, 0x02, data=b"next")))
    heir.answers_all()
    payloads = [payload for _, _, payload in heir.stub.seen]
    is_whole = size < KEPT_SIZE or part <= 48
    assert payloads == ([data, b"next"] if is_whole else [b"next"])
    assert heir.client.answers[1] == (0 if is_whole else -errno.EPROTO, b"")


def test_a_cancelled_urb_is_gone_and_its_unlink_answered() -> None:
    master = Master(descriptors=FTDI)
    master.asks(submit(1, 0x81, 64), submit(2, 0x81, 64))
    master.shadow.client(master.client.sends(unlink(3, 1)))
    heir = dies(master)
    assert list(heir.stub.urbs) == [2]
    assert (heir.client.unlinks, list(heir.client.asked)) == ({}, [2])


def test_an_unlink_that_came_too_late_is_answered_as_such() -> None:
    master = Master(descriptors=FTDI)
    master.asks(submit(1, 0x81, 64))
    master.gives(master.stub.answer(1))
    master.shadow.client(master.client.sends(unlink(3, 1)))
    assert takes_over(master.shadow).to_client == unlinked(3, 0)


def test_a_pending_set_interface_is_submitted_again_and_may_still_fail() -> None:
    master = Master()
    master.asks(submit(1, 0x00, setup=SET_INTERFACE_1_1))
    heir = dies(master, "hide")
    chosen = heir.relay.selection
    heir.client.feed(heir.stub.answer(1, status=-errno.EPIPE))
    assert heir.plan.state.undo
    assert chosen.alternates == ((1, 1),)


# Whether it may be hidden at all


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"descriptors": KEYBOARD}, "descriptors"),
        ({"serial": "other"}, "serial"),
        ({"speed": Speed.FULL}, "speed"),
    ],
)
def test_another_device_is_not_passed_off_as_the_clients(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(Replug, match=why):
        takes_over(Master(descriptors=FTDI).shadow, **changes)


def test_a_device_of_an_unknown_class_is_replugged_unless_the_operator_says_hide() -> None:
    with pytest.raises(Replug, match="class ff"):
        takes_over(Master().shadow)
    assert takes_over(Master().shadow, "hide")


def test_a_hidden_class_is_replugged_if_the_operator_says_so() -> None:
    with pytest.raises(Replug):
        takes_over(Master(descriptors=DISK).shadow, "replug")


def test_a_device_that_was_told_more_than_can_be_repeated_is_replugged() -> None:
    master = Master(descriptors=FTDI)
    master.shadow.relay.history.complete = False
    with pytest.raises(Replug, match="told more"):
        takes_over(master.shadow)


# What the new device hears first


def test_what_the_device_was_told_is_repeated_in_order() -> None:
    master = Master(descriptors=FTDI)
    for number, setup in enumerate((SET_BAUD_RATE, SET_CONFIGURATION_1, SET_BAUD_RATE)):
        master.asks(submit(number, 0x00, setup=setup))
        master.gives(master.stub.answer(number))
    asked = carried_out(takes_over(master.shadow), lambda transfer: Outcome())
    assert [transfer.setup for transfer in asked] == [SET_CONFIGURATION_1, SET_BAUD_RATE]


def test_a_device_that_refuses_what_it_accepted_is_replugged() -> None:
    master = Master(descriptors=FTDI)
    master.asks(submit(1, 0x00, setup=SET_BAUD_RATE))
    master.gives(master.stub.answer(1))
    with pytest.raises(Replug, match="40031a00"):
        carried_out(takes_over(master.shadow), lambda transfer: Outcome(-errno.EPIPE))


class Drive:
    """A disk whose units each have something to say once."""

    def __init__(self, units: int, key: int = 6) -> None:
        self.units, self.key = units, key
        self.waiting = set(range(units))
        self.command, self.lun, self.status = 0, 0, 0
        self.data = b""

    def __call__(self, transfer: Transfer) -> Outcome:
        if transfer.address == 0x80:
            return Outcome(0, bytes((self.units - 1,)))
        if transfer.address == 0x02:
            self.command, self.lun = transfer.data[15], transfer.data[13]
            self.status = int(self.command == 0 and self.lun in self.waiting)
            if self.command == 3:
                self.data = bytes((0x70, 0, self.key)) + bytes(15)
                if self.key == 6:
                    self.waiting.discard(self.lun)
            return Outcome()
        if transfer.length != 13:
            return Outcome(0, self.data)
        return Outcome(0, b"USBS" + bytes.fromhex("00001977") + bytes(4) + bytes((self.status,)))


@pytest.mark.parametrize("units", [1, 4])
def test_a_disks_attention_is_heard_before_the_client_goes_on(units: int) -> None:
    drive = Drive(units)
    asked = carried_out(takes_over(Master(descriptors=DISK).shadow), drive)
    assert not drive.waiting
    assert len(asked) == 1 + units * 7


def test_what_else_a_disk_has_to_say_is_for_the_client_to_hear() -> None:
    drive = Drive(1, key=2)
    assert len(carried_out(takes_over(Master(descriptors=DISK).shadow), drive)) == 6


def test_a_disk_that_loses_step_is_reset() -> None:
    asked = carried_out(takes_over(Master(descriptors=DISK).shadow), lambda transfer: Outcome(-errno.EPIPE))
    assert [transfer.setup.hex() for transfer in asked[2:]] == [
        "21ff000000000000",
        "0201000081000000",
        "0201000002000000",
    ]
    assert takes_over(Master(descriptors=DISK).shadow).disks == (Disk(0, 0x81, 0x02),)
    assert len(asked) < TRIES * 8


# A crash at any moment

urb = st.tuples(st.sampled_from([0x81, 0x02, 0x00, 0x8A]), st.integers(1, 300), st.booleans(), st.booleans())


@given(
    urbs=st.lists(urb, max_size=12),
    device=st.sampled_from([FTDI, DISK]),
    cut=st.integers(0, 1 << 20),
    chunk=st.integers(1, 400),
)
def test_after_a_crash_at_any_byte_every_urb_is_answered_once(
    urbs: list[tuple[int, int, bool, bool]], device: bytes, cut: int, chunk: int
) -> None:
    master = Master(descriptors=device)
    stream = bytearray()
    for number, (address, length, cancelled, _) in enumerate(urbs, 1):
        setup = SET_BAUD_RATE if address == 0 else bytes(8)
        out = b"" if address & 0x80 or not address else bytes([number]) * length
        size = 0 if not address else length
        stream += master.client.sends(submit(number, address, size, out, setup=setup))
        if cancelled:
            stream += master.client.sends(unlink(1000 + number, number))
    answered = {number for number, (*_, prompt) in enumerate(urbs, 1) if prompt}
    stop = min(cut, len(stream))
    for at in range(0, stop, chunk):
        master.sends(bytes(stream[at : min(at + chunk, stop)]))
        for number in answered & master.stub.urbs.keys():
            master.gives(master.stub.answer(number))
    assert master.shadow.consumed == stop
    heir = dies(master)
    for at in range(stop, len(stream), chunk):
        heir.sends(bytes(stream[at : at + chunk]))
        heir.answers_all()
    heir.answers_all()
    heir.sends(b"")
    assert not heir.client.asked
    assert not heir.client.unlinks
    assert heir.client.data == b""
    assert not heir.stub.data
    for address, _, payload in heir.stub.seen:
        assert address != 0x02 or len(set(payload)) == 1


@given(st.binary(max_size=400))
def test_any_bytes_follow_or_are_refused(noise: bytes) -> None:
    shadow = Master().shadow
    try:
        shadow.client(noise)
        shadow.stub(noise)
    except ProtocolError:
        pass


def test_a_device_in_memory_takes_whole_pdus() -> None:
    device = Device()
    device.feed(submit(1, 0x02, data=b"abc")[:-1])
    assert not device.urbs
