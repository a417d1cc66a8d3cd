"""What passes the gate, what waits, what is dropped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import UsageError
from appliance.kernel.gate import messages
from appliance.kernel.gate.book import Book
from appliance.kernel.gate.judge import Known, Verdict, judge
from appliance.kernel.gate.messages import Commit, Forget, Freeze, LetGo, Open, Refuse, Register
from appliance.kernel.gate.queue import Hook, Packet
from appliance.kernel.tcp.probe import HOME_MADE
from appliance.kernel.tcp.segment import ACK, FIN, RST, SYN, Segment, seq
from tests.unit.kernel.test_tcp_segment import packet

OURS, CLIENT = ("10.0.0.1", 3240), ("10.0.0.2", 50000)
FULL = 0xFFFFFFF0
"""So that sequence numbers wrap in every test."""


def leaving(ack: int, flags: int = ACK, length: int = 0, window: int = 9) -> Segment:
    return Segment(OURS, CLIENT, 1, seq(FULL + ack), flags, window, length)


class Desk:
    """A book, with packets numbered as they come."""

    def __init__(self) -> None:
        self.book, self.last = Book(), 0
        self.entry = self.book.register(Register((OURS, CLIENT), FULL, 10))

    def out(self, segment: Segment) -> list[tuple[int, bool]]:
        self.last += 1
        return self.book.packet(Packet(self.last, Hook.OUT, packet(segment)))

    def into(self, segment: Segment) -> list[tuple[int, bool]]:
        self.last += 1
        return self.book.packet(Packet(self.last, Hook.IN, packet(segment)))


def test_what_asks_a_client_passes_whatever_is_known_of_an_earlier_time_as_master() -> None:
    desk = Desk()
    assert desk.out(leaving(11)) == []
    assert desk.book.packet(Packet(2, Hook.OUT, packet(leaving(90)), HOME_MADE)) == [(2, True)]


@pytest.mark.parametrize(
    ("flags", "known", "frozen", "verdict"),
    [
        (SYN | ACK, None, True, Verdict.PASS),
        (ACK, None, True, Verdict.PASS),
        (FIN | ACK, None, False, Verdict.PASS),
        (RST, None, False, Verdict.PASS),
        (RST, None, True, Verdict.DROP),
        (ACK, Known(seq(FULL + 20)), False, Verdict.PASS),
        (ACK, Known(seq(FULL + 19)), False, Verdict.HOLD),
        (RST, Known(seq(FULL + 20)), False, Verdict.DROP),
        (FIN | ACK, Known(seq(FULL + 20)), False, Verdict.DROP),
        (FIN | ACK, Known(seq(FULL + 19), let_go=True), False, Verdict.PASS),
        (RST, Known(seq(FULL + 19), let_go=True), True, Verdict.PASS),
    ],
)
def test_the_judgement(flags: int, known: Known | None, frozen: bool, verdict: Verdict) -> None:
    assert judge(leaving(20, flags), known, frozen) is verdict


def test_an_acknowledgement_waits_until_it_is_committed() -> None:
    desk = Desk()
    assert desk.out(leaving(10)) == [(1, True)]
    assert desk.out(leaving(30, length=5)) == []
    assert desk.out(leaving(50, length=5)) == []
    assert desk.book.commit(desk.entry, 30) == [(2, True)]
    assert desk.book.commit(desk.entry, 20) == []
    assert desk.book.commit(desk.entry, 50) == [(3, True)]


def test_a_newer_acknowledgement_makes_an_older_one_needless() -> None:
    desk = Desk()
    assert desk.out(leaving(30)) == []
    assert desk.out(leaving(40)) == [(1, False)]
    assert desk.out(leaving(50, window=3)) == []
    assert desk.book.commit(desk.entry, 50) == [(2, True), (3, True)]


def test_a_worker_that_dies_says_no_farewell_and_one_that_lets_go_does() -> None:
    desk = Desk()
    assert desk.out(leaving(30)) == []
    desk.book.forget_connection(desk.entry)
    assert desk.out(leaving(10, FIN | ACK)) == [(2, False)]
    assert desk.book.let_go(desk.entry) == [(1, True)]
    desk.book.forget_connection(desk.entry)
    assert desk.out(leaving(99, FIN | ACK)) == [(3, True)]


def test_a_client_that_begins_anew_on_the_same_port_is_a_stranger() -> None:
    desk = Desk()
    assert desk.out(leaving(30)) == []
    assert desk.out(leaving(1, SYN | ACK)) == [(1, False), (2, True)]
    assert desk.out(leaving(99, RST)) == [(3, True)]


def test_what_clients_say_to_a_frozen_address_waits_until_it_is_opened() -> None:
    desk = Desk()
    desk.book.freeze(OURS[0])
    said = Segment(CLIENT, OURS, 1, 1, ACK)
    assert desk.into(said) == []
    assert desk.into(said) == []
    assert desk.book.open(OURS[0]) == [(1, True), (2, True)]
    assert desk.into(said) == [(3, True)]


def test_a_client_whose_session_is_back_need_not_wait_for_the_others_at_its_address() -> None:
    desk = Desk()
    desk.book.freeze(OURS[0])
    ours, another = Segment(CLIENT, OURS, 1, 1, ACK), Segment(("10.0.0.3", 50000), OURS, 1, 1, ACK)
    assert [desk.into(each) for each in (ours, another, ours)] == [[], [], []]
    assert desk.book.admit(desk.entry) == [(1, True), (3, True)]
    assert desk.into(ours) == [(4, True)]
    assert desk.book.open(OURS[0]) == [(2, True)]


def test_a_client_is_held_again_when_its_address_freezes_again() -> None:
    desk = Desk()
    desk.book.freeze(OURS[0])
    desk.book.admit(desk.entry)
    desk.book.freeze(OURS[0])
    assert desk.into(Segment(CLIENT, OURS, 1, 1, ACK)) == []


def test_a_refused_client_is_heard_and_may_be_reset_though_its_address_is_frozen() -> None:
    desk = Desk()
    desk.book.freeze(OURS[0])
    desk.book.refuse((OURS, CLIENT))
    assert desk.into(Segment(CLIENT, OURS, 1, 1, ACK)) == [(1, True)]
    assert desk.out(leaving(0, RST)) == [(2, True)]


def test_a_forgotten_address_drops_what_it_held() -> None:
    desk = Desk()
    desk.book.freeze(OURS[0])
    desk.out(leaving(30))
    desk.into(Segment(CLIENT, OURS, 1, 1, ACK))
    assert desk.book.forget(OURS[0]) == [(2, False), (1, False)]


def test_what_is_no_tcp_does_not_leave() -> None:
    assert Book().packet(Packet(1, Hook.OUT, b"\x45")) == [(1, False)]


ADDRESSES = st.ip_addresses().filter(lambda a: a.version == 4 or not a.ipv4_mapped).map(str)
ENDS = st.tuples(ADDRESSES, st.integers(0, 0xFFFF))
CONNECTIONS = st.tuples(ENDS, ENDS)
MESSAGES = st.one_of(
    st.builds(Register, CONNECTIONS, st.integers(0, 0xFFFFFFFF), st.integers(0, 1 << 60)),
    st.builds(Commit, st.integers(0, 1 << 60)),
    st.builds(Refuse, CONNECTIONS),
    st.builds(LetGo),
    *(st.builds(kind, ADDRESSES) for kind in (Freeze, Open, Forget)),
)


@given(MESSAGES)
def test_every_message_survives_the_way(message: messages.Message) -> None:
    assert messages.parse(messages.encode(message)) == message


@given(st.binary(max_size=80))
def test_anything_else_is_refused(data: bytes) -> None:
    try:
        messages.parse(data)
    except UsageError:
        pass
