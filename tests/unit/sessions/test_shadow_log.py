"""The log of a relayed session between its master and its shadow, both on one loop."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Busy, ProtocolError, Unavailable
from appliance.loop import Ended, Loop
from appliance.sessions.relayed import Flow, Relayed
from appliance.sessions.replication.records import Ack, End, Hello, Reader, Received, emit
from appliance.sessions.replication.wire import Wire
from appliance.sessions.shadow.follower import Follower
from appliance.sessions.shadow.master import Phase, RelayLog
from appliance.sessions.shadow.records import MASTERS, Sent, Snapshot
from appliance.sessions.state import SessionState
from tests.unit.sessions.pdus import answer, spec, submit
from tests.unit.sessions.shadows import FTDI, Device, takes_over

TIMEOUT = 10.0


class Pair:
    """A relayed session with its client and its stub, and a shadow that may be made deaf."""

    def __init__(self, **changes: object) -> None:
        self.loop = Loop()
        (self.client, theirs), (self.stub, stub) = tcp_pair(), socket.socketpair()
        self.client.setblocking(False)
        self.stub.setblocking(False)
        self.committed: list[int] = []
        self.relayed = Relayed(
            self.loop, SessionState.begin(spec(**{"descriptors": FTDI} | changes)), theirs, stub
        )
        self.relayed.commit = self.committed.append
        self.ours = (self.client, self.stub, theirs, stub)
        self.phases: list[str] = []
        self.heard: list[str] = []

    def follow(self) -> None:
        here, there = socket.socketpair()
        self.log = RelayLog(
            self.relayed, 1, lambda data: wire.send(data), lambda p, r: self.phases.append(p.value)
        )
        wire = Wire(self.loop, here, self.log.feed, self.log.lose)
        self.follower = Follower(1, lambda data: other.send(data), lambda s, r: self.heard.append(s))
        other = Wire(self.loop, there, self.follower.feed, self.follower.lose)
        self.wires = wire, other
        self.log.start()
        self.until(lambda: "caught_up" in self.phases)

    def protect(self) -> None:
        self.log.protect(lambda reason: None)
        self.until(lambda: self.log.phase is Phase.PROTECTED)

    def deaf(self) -> None:
        """Nothing reaches the shadow any more, and nothing comes from it."""
        for wire in self.wires:
            self.loop.want(wire.sock.fileno(), 0)

    def hears_again(self) -> None:
        for wire in self.wires:
            self.loop.want(wire.sock.fileno(), 1)

    def turn(self) -> None:
        for fd, events in self.loop.epoll.poll(0.01):
            self.loop.handlers[fd](events)
        if self.loop.alarm and time.monotonic_ns() >= self.loop.due:
            alarm, self.loop.alarm = self.loop.alarm, None
            alarm()

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not holds():
            assert time.monotonic() < deadline
            self.turn()

    def settles(self) -> None:
        while self.loop.epoll.poll(0):
            self.turn()

    def comes(self, sock: socket.socket, size: int) -> bytes:
        """Exactly `size` bytes arrive there."""
        data = b""

        def whole() -> bool:
            nonlocal data
            try:
                data += sock.recv(size - len(data))
            except BlockingIOError:
                pass
            return len(data) == size

        self.until(whole)
        return data

    def close(self) -> None:
        for sock in self.ours:
            sock.close()
        for wire in getattr(self, "wires", ()):
            wire.close()
        self.loop.close()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    return one, other


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def silent(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b"never"
    except BlockingIOError:
        return True


def test_what_goes_either_way_is_at_the_shadow(pair: Pair) -> None:
    pair.follow()
    sent = submit(1, 0x81, 64) + submit(2, 0x02, data=b"hello")
    pair.client.sendall(sent)
    assert pair.comes(pair.stub, len(sent)) == sent
    pair.stub.sendall(answer(1, b"abc"))
    assert pair.comes(pair.client, 51) == answer(1, b"abc")
    shadow = pair.follower.shadow
    assert shadow
    pair.until(lambda: (shadow.consumed, shadow.produced) == (len(sent), 51))
    assert [urb.seqnum for urb in shadow.standing().state.pending] == [2]


def test_a_session_in_its_midst_is_followed_from_there(pair: Pair) -> None:
    sent = submit(1, 0x81, 64) + submit(2, 0x81, 64)
    pair.client.sendall(sent)
    pair.comes(pair.stub, len(sent))
    pair.stub.sendall(answer(1, b"abc"))
    pair.comes(pair.client, 51)
    pair.follow()
    shadow = pair.follower.shadow
    assert shadow
    assert (shadow.consumed, shadow.produced, bytes(shadow.tail)) == (len(sent), 51, b"")
    assert [urb.seqnum for urb in shadow.standing().state.pending] == [2]


def test_the_log_begins_where_no_answer_is_under_way(pair: Pair) -> None:
    pair.client.sendall(submit(1, 0x81, 64))
    pair.comes(pair.stub, 48)
    whole = answer(1, b"x" * 60)
    pair.stub.sendall(whole[:70])
    pair.comes(pair.client, 70)
    told: list[bytes] = []
    log = RelayLog(pair.relayed, 1, told.append, lambda phase, reason: None)
    log.start()
    assert not told
    pair.stub.sendall(whole[70:])
    assert pair.comes(pair.client, 38) == whole[70:]
    assert [type(record) for record in Reader(MASTERS).feed(b"".join(told))] == [Hello, Snapshot]


def test_protected_bytes_wait_for_the_shadow(pair: Pair) -> None:
    pair.follow()
    pair.protect()
    pair.deaf()
    pair.client.sendall(submit(1, 0x81, 64))
    pair.settles()
    assert silent(pair.stub)
    assert pair.committed[-1:] != [48]
    pair.hears_again()
    assert pair.comes(pair.stub, 48) == submit(1, 0x81, 64)
    assert pair.committed[-1] == 48
    pair.deaf()
    pair.stub.sendall(answer(1, b"abc"))
    pair.settles()
    assert silent(pair.client)
    pair.hears_again()
    assert pair.comes(pair.client, 51) == answer(1, b"abc")


def test_while_the_shadow_is_brought_up_to_date_nothing_waits(pair: Pair) -> None:
    pair.follow()
    pair.deaf()
    pair.client.sendall(submit(1, 0x81, 64))
    assert pair.comes(pair.stub, 48) == submit(1, 0x81, 64)
    assert pair.committed[-1] == 48


def test_of_an_answer_that_came_in_part_nothing_goes_out(pair: Pair) -> None:
    pair.follow()
    pair.protect()
    pair.client.sendall(submit(1, 0x81, 64) + submit(2, 0x81, 64))
    pair.comes(pair.stub, 96)
    pair.stub.sendall(answer(1, b"abc") + answer(2, b"defg")[:50])
    pair.settles()
    assert silent(pair.client)
    pair.stub.sendall(answer(2, b"defg")[50:])
    assert pair.comes(pair.client, 103) == answer(1, b"abc") + answer(2, b"defg")


def test_without_the_shadow_protected_bytes_wait_until_the_master_is_alone(pair: Pair) -> None:
    pair.follow()
    pair.protect()
    pair.wires[1].close()
    pair.until(lambda: pair.phases[-1] == "lost")
    pair.client.sendall(submit(1, 0x81, 64))
    pair.settles()
    assert silent(pair.stub)
    pair.log.sole()
    assert pair.comes(pair.stub, 48) == submit(1, 0x81, 64)
    assert type(pair.relayed.upward) is Flow
    pair.client.sendall(submit(2, 0x81, 64))
    assert pair.comes(pair.stub, 48) == submit(2, 0x81, 64)
    assert pair.committed[-1] == 96


def test_an_unprotected_session_goes_on_when_its_shadow_is_lost(pair: Pair) -> None:
    pair.follow()
    pair.wires[1].close()
    pair.until(lambda: type(pair.relayed.upward) is Flow)
    assert pair.phases == ["caught_up", "lost"]


def test_another_shadow_may_follow_after_one_was_lost(pair: Pair) -> None:
    pair.follow()
    pair.wires[1].close()
    pair.until(lambda: type(pair.relayed.upward) is Flow)
    pair.client.sendall(submit(1, 0x81, 64))
    pair.comes(pair.stub, 48)
    pair.phases.clear()
    pair.follow()
    assert pair.follower.shadow
    assert [urb.seqnum for urb in pair.follower.shadow.standing().state.pending] == [1]


def test_a_shadow_that_is_not_in_sync_protects_nobody(pair: Pair) -> None:
    log = RelayLog(pair.relayed, 1, lambda data: None, lambda phase, reason: None)
    log.start()
    with pytest.raises(Unavailable, match="not in sync"):
        log.protect(lambda reason: None)


def test_a_session_with_a_shadow_does_not_become_newer_code(pair: Pair) -> None:
    pair.follow()
    with pytest.raises(Busy, match="switch over"):
        pair.relayed.freeze()
    pair.log.sole()
    assert pair.relayed.freeze()


def test_a_frozen_session_reads_nothing(pair: Pair) -> None:
    pair.follow()
    pair.relayed.freeze_flows(True)
    pair.client.sendall(submit(1, 0x81, 64))
    pair.settles()
    assert silent(pair.stub)
    pair.relayed.freeze_flows(False)
    assert pair.comes(pair.stub, 48)


def test_the_shadow_of_a_session_that_ends_is_over(pair: Pair) -> None:
    pair.follow()
    pair.client.close()
    with pytest.raises(Ended, match="client hung up"):
        pair.until(lambda: False)
    pair.relayed.close()
    for sock in pair.relayed.sockets():
        pair.loop.forget(sock.fileno())
    pair.until(lambda: "over" in pair.heard)


def test_a_large_answer_is_one_record(pair: Pair) -> None:
    pair.follow()
    pair.protect()
    pair.client.sendall(submit(1, 0x81, 1 << 20))
    pair.comes(pair.stub, 48)
    whole = answer(1, bytes(range(256)) * (1 << 12))
    at = 0

    def sent() -> bool:
        nonlocal at
        try:
            at += pair.stub.send(whole[at:])
        except BlockingIOError:
            pass
        return at == len(whole)

    pair.until(sent)
    assert pair.comes(pair.client, len(whole)) == whole


# The follower's side


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
