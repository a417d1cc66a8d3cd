"""The stream between two gadgets' processes, in the clear and by TLS of the pair's own keys."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.loop import Loop
from appliance.security.identity import identity_in
from appliance.security.sibling import Sibling, keep_sibling
from appliance.security.tls import context_of
from appliance.sessions.replication.wire import Clear, Tls, Wire
from tests.unit.sessions.doubles import TIMEOUT


class End:
    def __init__(self, loop: Loop, sock: socket.socket, channel: Clear | Tls) -> None:
        self.got, self.lost = b"", ""
        self.wire = Wire(loop, sock, self.feed, self.lose, channel)

    def feed(self, data: bytes) -> None:
        self.got += data

    def lose(self, reason: str) -> None:
        self.lost = reason


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def turn(loop: Loop) -> None:
    for fd, events in loop.epoll.poll(TIMEOUT):
        if handler := loop.handlers.get(fd):
            handler(events)


def paired(tmp_path: Path, *names: str) -> None:
    """Each trusts the other."""
    identities = {name: identity_in(tmp_path / name) for name in names}
    for name, other in zip(names, reversed(names), strict=True):
        keep_sibling(tmp_path / name, Sibling(other, identities[other].certificate, "192.0.2.7", 3242))


@pytest.mark.parametrize("secure", [False, True])
def test_what_is_sent_arrives_both_ways_however_much(loop: Loop, tmp_path: Path, secure: bool) -> None:
    paired(tmp_path, "a", "b")
    one, other = socket.socketpair()
    channels = [
        Tls(context_of(tmp_path / name, server), server) if secure else Clear()
        for name, server in (("a", False), ("b", True))
    ]
    left, right = End(loop, one, channels[0]), End(loop, other, channels[1])
    data = bytes(range(256)) * (16 << 10)
    left.wire.send(b"first, ")
    left.wire.send(data)
    while len(right.got) < 7 + len(data):
        turn(loop)
    assert right.got == b"first, " + data
    right.wire.send(b"back")
    while left.got != b"back":
        turn(loop)
    right.wire.send(b"the last words")
    right.wire.close()
    left.wire.drain()
    assert left.got == b"backthe last words"
    assert "hung up" in left.lost


def test_who_is_not_the_sibling_gets_nothing(loop: Loop, tmp_path: Path) -> None:
    paired(tmp_path, "a", "b")
    paired(tmp_path, "stranger", "other")
    one, other = socket.socketpair()
    left = End(loop, one, Tls(context_of(tmp_path / "a", False), False))
    right = End(loop, other, Tls(context_of(tmp_path / "other", True), True))
    left.wire.send(b"secret")
    while not (left.lost and right.lost):
        turn(loop)
    assert "TLS" in left.lost
    assert right.got == b""
