"""What a relay forwards, changes, answers by itself and drops."""

from __future__ import annotations

import errno

import pytest

from appliance.errors import ProtocolError
from appliance.sessions.endpoints import DMA_MAP_SG
from appliance.sessions.relay import IN_FLIGHT_LIMIT, Relay
from tests.unit.sessions.pdus import (
    ANSWER,
    COMMAND,
    answer,
    relay,
    spec,
    submit,
    through,
    unlink,
    unlinked,
)

SET_CONFIGURATION_2 = bytes.fromhex("0009020000000000")
SET_INTERFACE_1_1 = bytes.fromhex("010b010001000000")
ISO_DESCRIPTORS = bytes(32)

chunked = pytest.mark.parametrize("chunk", [1, 7, 48, 1 << 16])


def field(header: bytes, index: int) -> int:
    value = COMMAND.unpack(header[:48])[index]
    assert isinstance(value, int)
    return value


# Client → stub


@chunked
def test_a_submit_and_its_payload_pass_unchanged(chunk: int) -> None:
    sent = submit(1, 0x02, data=b"x" * 1000) + submit(2, 0x81, 512) + submit(3, 0x83, 8, interval=4)
    assert through(relay().up, sent, chunk) == sent


def test_a_payload_is_forwarded_as_it_arrives() -> None:
    session = relay()
    sent = submit(1, 0x02, data=b"x" * 1000)
    assert through(session.up, sent[:100]) == sent[:100]
    assert session.up.due == len(sent) - 100


def test_a_header_is_held_until_it_is_whole() -> None:
    session = relay()
    sent = submit(1, 0x81, 512)
    assert through(session.up, sent[:47]) == b""
    assert through(session.up, sent[47:]) == sent


def test_a_submit_is_pending_until_it_is_answered() -> None:
    session = relay()
    through(session.up, submit(1, 0x81, 512), now=10)
    assert list(session.pending) == [1]
    through(session.down, answer(1, b"abc"), now=35)
    assert not session.pending
    report = session.stats()
    assert (report["urbs"], report["bytes_in"], report["in_flight"]) == (1, 3, 0)


def test_the_devid_becomes_the_stubs_own() -> None:
    sent = submit(1, 0x81, 512, devid=99)
    assert through(relay().up, sent) == submit(1, 0x81, 512)


def test_the_devid_of_an_unlink_becomes_the_stubs_own() -> None:
    foreign = bytearray(unlink(2, 1))
    foreign[8:12] = bytes(4)
    assert through(relay().up, bytes(foreign)) == unlink(2, 1)


@pytest.mark.parametrize(("speed", "frames"), [(2, 4), (3, 8), (5, 8)])
def test_an_interval_of_zero_becomes_the_endpoints(speed: int, frames: int) -> None:
    forwarded = through(relay(speed=speed).up, submit(1, 0x83, 8, interval=0))
    assert field(forwarded, 9) == frames


def test_minus_one_packets_means_not_isochronous() -> None:
    sent = submit(1, 0x02, data=b"abc", packets=-1) + submit(2, 0x81, 5, packets=-1)
    assert through(relay().up, sent) == sent


def test_an_empty_transfer_loses_the_scatter_gather_flag_that_would_fail_in_the_stub() -> None:
    forwarded = through(relay().up, submit(1, 0x02, flags=DMA_MAP_SG | 0x40))
    assert field(forwarded, 5) == 0x40


@chunked
def test_isochronous_descriptors_pass_behind_the_payload(chunk: int) -> None:
    session = relay()
    through(session.up, submit(1, 0x00, setup=SET_INTERFACE_1_1))
    sent = submit(2, 0x06, data=b"a" * 300 + ISO_DESCRIPTORS, packets=2) + submit(
        3, 0x85, 600, ISO_DESCRIPTORS, packets=2
    )
    assert through(session.up, sent, chunk) == sent


# What the stub could not answer


@chunked
@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (submit(7, 0x0A, data=b"y" * 100), errno.ENOENT),
        (submit(7, 0x8A, 100), errno.ENOENT),
        (submit(7, 0x82, 100), errno.ENOENT),
        (submit(7, 0x05, data=b"y" * 100 + ISO_DESCRIPTORS, packets=2), errno.ENOENT),
        (submit(7, 0x80, 64, setup=bytes.fromhex("8006000100001200")), errno.EBADR),
        (submit(7, 0x81, 5 << 20), errno.ENOMEM),
        (COMMAND.pack(1, 7, 0, 1, 300, 0, 5, 0, 0, 0, b""), errno.ENOENT),
    ],
    ids=["OUT", "IN", "wrong direction", "isochronous", "control length", "memory", "endpoint 300"],
)
def test_what_would_cost_the_stub_its_stream_is_swallowed_and_answered_here(
    bad: bytes, status: int, chunk: int
) -> None:
    session = relay()
    before, after = submit(1, 0x02, data=b"before"), submit(9, 0x02, data=b"after")
    assert through(session.up, before + bad + after, chunk) == before + after
    assert through(session.down, b"") == answer(7, status=-status)
    assert list(session.pending) == [1, 9]


def test_an_isochronous_urb_without_packets_is_refused() -> None:
    session = relay()
    through(session.up, submit(1, 0x00, setup=SET_INTERFACE_1_1))
    assert through(session.up, submit(2, 0x85, 600, packets=0)) == b""
    assert through(session.down, b"") == answer(2, status=-errno.EINVAL)


def test_an_answer_of_ours_waits_for_the_end_of_the_pdu_on_its_way() -> None:
    session = relay()
    through(session.up, submit(1, 0x81, 512))
    whole = answer(1, b"z" * 200)
    assert through(session.down, whole[:100]) == whole[:100]
    through(session.up, submit(2, 0x8A, 512))
    assert through(session.down, whole[100:150]) == whole[100:150]
    assert through(session.down, whole[150:]) == whole[150:] + answer(2, status=-errno.ENOENT)


def test_an_answer_of_ours_goes_out_before_a_header_that_is_not_whole() -> None:
    session = relay()
    through(session.up, submit(1, 0x81, 512) + submit(2, 0x8A, 512))
    whole = answer(1, b"z" * 200)
    assert through(session.down, whole[:20]) == answer(2, status=-errno.ENOENT)
    assert through(session.down, whole[20:]) == whole


def test_a_refused_urb_counts_as_refused() -> None:
    session = relay()
    through(session.up, submit(2, 0x8A, 512))
    assert session.stats()["refused"] == 1


def test_a_client_that_takes_no_answers_ends_its_session() -> None:
    session = relay()
    bad = b"".join(submit(n, 0x8A, 1) for n in range(IN_FLIGHT_LIMIT + 1))
    with pytest.raises(ProtocolError, match="takes no answers"):
        through(session.up, bad)


# What ends the session


@pytest.mark.parametrize(
    "bad",
    [
        COMMAND.pack(5, 7, 0, 0, 0, 0, 0, 0, 0, 0, b""),
        COMMAND.pack(3, 7, 0, 0, 0, 0, 0, 0, 0, 0, b""),
        submit(7, 0x81, -1),
        submit(7, 0x81, (16 << 20) + 1),
        submit(7, 0x85, 16, packets=1025),
        submit(7, 0x02, 16, packets=1),
        COMMAND.pack(1, 7, 0, 2, 1, 0, 5, 0, 0, 0, b""),
        submit(1, 0x81, 5) + submit(1, 0x81, 5),
        submit(1, 0x81, 5) + unlink(1, 1),
        unlink(4, 1) + unlink(4, 1),
    ],
    ids=[
        "unknown command",
        "an answer",
        "negative length",
        "too long",
        "too many packets",
        "packets for a bulk endpoint",
        "direction 2",
        "seqnum in use",
        "seqnum of an unlink in use",
        "two unlinks of one seqnum",
    ],
)
def test_what_usbip_does_not_allow_ends_the_session(bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        through(relay().up, bad)


@pytest.mark.parametrize("pdu", [lambda n: submit(n, 0x81, 5), lambda n: unlink(n, 1)])
def test_urbs_in_flight_are_bounded(pdu: object) -> None:
    session = relay()
    assert callable(pdu)
    with pytest.raises(ProtocolError, match="in flight"):
        through(session.up, b"".join(pdu(n) for n in range(IN_FLIGHT_LIMIT + 2)))


# Endpoints


def test_without_a_configuration_there_is_only_endpoint_zero() -> None:
    session = relay(configuration=0)
    assert through(session.up, submit(1, 0x81, 5)) == b""
    control = submit(2, 0x80, 18, setup=bytes.fromhex("8006000100001200"))
    assert through(session.up, control) == control


def test_set_configuration_changes_what_exists() -> None:
    session = relay()
    through(session.up, submit(1, 0x00, setup=SET_CONFIGURATION_2))
    assert through(session.up, submit(2, 0x81, 5)) == b""


def test_set_interface_changes_what_exists() -> None:
    session = relay()
    assert through(session.up, submit(1, 0x85, 16, bytes(16), packets=1)) == b""
    through(session.up, submit(2, 0x00, setup=SET_INTERFACE_1_1))
    assert through(session.up, submit(3, 0x85, 16, bytes(16), packets=1)) != b""


@pytest.mark.parametrize("failed", [answer(2, status=-32), None], ids=["stalled", "unlinked"])
def test_a_set_interface_that_fails_changes_nothing(failed: bytes | None) -> None:
    session = relay()
    before = session.selection
    through(session.up, submit(2, 0x00, setup=SET_INTERFACE_1_1))
    assert session.selection != before
    if failed:
        through(session.down, failed)
        assert session.selection == before
    else:
        through(session.up, unlink(3, 2))
        through(session.down, unlinked(3))
        assert not session.undo


def test_where_no_descriptors_are_known_every_endpoint_exists() -> None:
    session = relay(descriptors=b"")
    sent = submit(1, 0x0F, data=b"abc") + submit(2, 0x8C, 32, ISO_DESCRIPTORS, packets=2)
    assert through(session.up, sent) == sent


# Stub → client


@chunked
def test_answers_pass_unchanged(chunk: int) -> None:
    session = relay()
    through(session.up, submit(1, 0x00, setup=SET_INTERFACE_1_1))
    through(
        session.up,
        submit(2, 0x81, 512)
        + submit(3, 0x02, data=b"abc")
        + submit(4, 0x85, 600, ISO_DESCRIPTORS, packets=2),
    )
    answers = answer(1) + answer(4, b"i" * 70 + ISO_DESCRIPTORS, actual=70, packets=2)
    answers += answer(3, actual=3) + answer(2, b"d" * 500, status=-121)
    assert through(session.down, answers, chunk) == answers
    assert not session.pending


@chunked
@pytest.mark.parametrize("data", [b"", b"again"])
def test_an_answer_given_twice_is_dropped(chunk: int, data: bytes) -> None:
    session = relay()
    through(session.up, submit(1, 0x81, 512) + submit(2, 0x81, 512))
    twice = answer(1, data)
    assert through(session.down, twice + twice + answer(2, b"x"), chunk) == twice + answer(2, b"x")
    assert session.stats()["dropped"] == 1


def test_an_answer_to_what_nobody_asked_is_dropped() -> None:
    session = relay()
    through(session.up, submit(1, 0x81, 512))
    assert through(session.down, answer(77) + unlinked(78) + answer(1, b"x")) == answer(1, b"x")


def test_a_payload_that_nobody_asked_for_ends_the_session() -> None:
    with pytest.raises(ProtocolError, match="nobody asked"):
        through(relay().down, answer(77, b"surprise"))


def test_an_answer_longer_than_asked_for_ends_the_session() -> None:
    session = relay()
    through(session.up, submit(1, 0x81, 4))
    with pytest.raises(ProtocolError):
        through(session.down, answer(1, b"12345"))


def test_a_wrong_number_of_isochronous_packets_ends_the_session() -> None:
    session = relay()
    through(
        session.up,
        submit(1, 0x00, setup=SET_INTERFACE_1_1) + submit(2, 0x85, 600, ISO_DESCRIPTORS, packets=2),
    )
    with pytest.raises(ProtocolError):
        through(session.down, answer(2, bytes(16), actual=0, packets=1))


def test_a_command_from_the_stub_ends_the_session() -> None:
    with pytest.raises(ProtocolError):
        through(relay().down, submit(1, 0x81, 4))


# Unlink


def test_an_unlinked_urb_is_no_longer_pending_once_that_is_answered() -> None:
    session = relay()
    assert through(session.up, submit(1, 0x83, 8) + unlink(2, 1)) == submit(1, 0x83, 8) + unlink(2, 1)
    assert list(session.pending) == [1]
    assert through(session.down, unlinked(2)) == unlinked(2)
    assert not session.pending
    assert not session.unlinks
    assert session.stats()["unlinked"] == 1


def test_an_unlink_that_came_too_late_is_answered_behind_the_answer() -> None:
    session = relay()
    through(session.up, submit(1, 0x83, 8) + unlink(2, 1))
    both = answer(1, b"12345678") + unlinked(2, status=0)
    assert through(session.down, both) == both
    assert session.stats()["unlinked"] == 0


def test_the_answer_to_an_unlinked_urb_is_dropped() -> None:
    session = relay()
    through(session.up, submit(1, 0x83, 8) + unlink(2, 1))
    assert through(session.down, unlinked(2) + answer(1, b"12345678") + unlinked(2)) == unlinked(2)
    assert session.stats()["dropped"] == 2


def test_answers_have_the_shape_of_the_kernels() -> None:
    session = Relay.begin(spec())
    through(session.up, submit(7, 0x8A, 100, packets=-1))
    assert ANSWER.unpack(through(session.down, b"")) == (3, 7, 0, 0, 0, -errno.ENOENT, 0, 0, -1, 0)
