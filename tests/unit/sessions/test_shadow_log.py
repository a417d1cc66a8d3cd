"""The log of a relayed session between its master and its shadow, both on one loop."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from appliance.errors import Busy, Unavailable
from appliance.loop import Ended, Loop
from appliance.sessions.relayed import Flow, Relayed
from appliance.sessions.replication.records import Hello, Reader
from appliance.sessions.replication.wire import Wire
from appliance.sessions.shadow.follower import Follower
from appliance.sessions.shadow.master import Phase, RelayLog
from appliance.sessions.shadow.records import MASTERS, Snapshot
from appliance.sessions.state import SessionState
from tests.unit.sessions.pdus import answer, spec, submit
from tests.unit.sessions.shadows import FTDI

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


def test_a_protected_client_does_not_hear_that_the_device_is_gone(pair: Pair) -> None:
    pair.follow()
    pair.protect()
    pair.client.sendall(submit(1, 0x81, 64))
    pair.comes(pair.stub, 48)
    pair.stub.close()
    pair.until(lambda: "device_gone" in pair.phases)
    pair.settles()
    assert silent(pair.client)
    assert pair.phases.count("device_gone") == 1
    assert pair.follower.shadow
    assert [urb.seqnum for urb in pair.follower.shadow.standing().state.pending] == [1]


def test_an_unprotected_session_ends_with_its_device(pair: Pair) -> None:
    pair.follow()
    pair.stub.close()
    with pytest.raises(Ended, match="device is gone"):
        pair.until(lambda: False)


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
