"""The backup's side of a relayed session's log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.sessions.replication.records import Ack, End, Hello, Received, emit
from appliance.sessions.shadow.follower import Follower
from appliance.sessions.shadow.records import Sent, Snapshot
from appliance.sessions.state import SessionState
from tests.unit.sessions.pdus import answer, spec, submit
from tests.unit.sessions.shadows import FTDI, Device, takes_over


def follower(epoch: int = 1) -> tuple[Follower, list[bytes]]:
    sent: list[bytes] = []
    return Follower(epoch, sent.append, lambda state, reason: None), sent


def snapshot(**changes: object) -> Snapshot:
    return Snapshot(SessionState.begin(spec(**changes)))


def test_every_batch_of_records_is_acknowledged() -> None:
    one, sent = follower()
    one.feed(emit(Hello(1)) + emit(snapshot()) + emit(Received(submit(1, 0x81, 5))))
    assert sent == [emit(Ack(3, 0))]
    one.feed(emit(Sent(answer(1, b"abc"))))
    assert sent[1:] == [emit(Ack(4, 0))]


@pytest.mark.parametrize(
    "log",
    [
        emit(Hello(1)),
        emit(Hello(2, version=9)),
        emit(snapshot()),
        emit(Hello(2)) + emit(Received(b"")),
        emit(Hello(2)) + emit(snapshot()) + emit(Sent(answer(1))),
        emit(Hello(2)) + emit(snapshot()) + emit(snapshot()),
        b"\xff" * 5,
    ],
    ids=["old epoch", "version", "no greeting", "no snapshot", "no question", "two snapshots", "noise"],
)
def test_a_log_that_cannot_be_followed_is_left_and_its_session_unknown(log: bytes) -> None:
    one, sent = follower(epoch=2)
    one.feed(log)
    assert one.gone
    assert one.shadow is None
    assert sent[0][0] == 34


def test_a_client_that_breaks_the_protocol_is_the_masters_to_end() -> None:
    one, _ = follower()
    one.feed(emit(Hello(1)) + emit(snapshot()) + emit(Received(b"\xff" * 48)))
    assert "command" in one.broken
    one.feed(emit(Received(b"more")))
    assert one.state_word == "in_sync"
    one.feed(emit(End()))
    assert one.is_over


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_followed_or_left(noise: bytes, chunk: int) -> None:
    one, _ = follower()
    one.feed(emit(Hello(1)) + emit(snapshot()))
    for at in range(0, len(noise), chunk):
        one.feed(noise[at : at + chunk])


@given(
    cut=st.integers(0, 2000),
    urbs=st.lists(st.tuples(st.sampled_from([0x81, 0x02]), st.integers(1, 90)), max_size=8),
)
def test_whatever_part_of_the_log_came_the_session_goes_on_from_there(
    cut: int, urbs: list[tuple[int, int]]
) -> None:
    """The log is cut anywhere; what the client has is what the master sent of what came through."""
    one, _ = follower()
    log: list[bytes] = [emit(Hello(1)), emit(snapshot(descriptors=FTDI))]
    stub = Device()
    for number, (address, length) in enumerate(urbs, 1):
        pdu = submit(number, address, length, b"" if address & 0x80 else b"o" * length)
        log += [emit(Received(pdu[:30])), emit(Received(pdu[30:]))]
        stub.feed(pdu)
        log.append(emit(Sent(stub.answer(number))))
    start = len(log[0] + log[1])
    one.feed(b"".join(log)[: start + cut])
    assert one.shadow
    assert len(one.shadow.tail) == one.shadow.produced
    made = takes_over(one.shadow)
    in_doubt = [urb.seqnum for urb in made.state.pending]
    assert len(in_doubt) <= 1
    assert made.to_client == b""


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises(ProtocolError):
        Snapshot.of(b"{}")
