"""The arbiter: a register and a switch behind two noisy lines."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from appliance.errors import ProtocolError, Unavailable
from appliance.pair.model import Standing
from appliance.pair.selector.arbiter import frames
from appliance.pair.selector.arbiter.device import BREAK, RETRY, Arbiter
from appliance.pair.selector.arbiter.frames import MOST_MS, Answer, Kind, Position, Result
from appliance.pair.selector.arbiter.host import Host
from appliance.pair.selector.register import FREE, Op, Request

ROOT = Path(__file__).parents[3]
KEY = b"a key that three machines share"
LEASE = 2.0
NODES = ("a", "b")


class Board:
    """A board whose switch and memory can fail, and which remembers what was done to it."""

    def __init__(self) -> None:
        self.kept: tuple[Standing, Position] = (FREE, Position.NONE)
        self.position = Position.UNKNOWN
        self.done: list[str] = []
        self.stuck = False
        self.full = False
        self.nonces = itertools.count(1)

    def save(self, standing: Standing, side: Position) -> None:
        if self.full:
            raise Unavailable("the memory is worn out")
        self.kept = (standing, side)
        self.done.append(f"save {standing.owner}")

    def switch(self, position: Position, standing: Standing) -> Position:
        if self.stuck:
            return Position.UNKNOWN
        self.position = position
        self.done.append(f"switch {position.name}")
        return position

    def nonce(self) -> bytes:
        return next(self.nonces).to_bytes(8, "big")


class Rig:
    """An arbiter and its two appliances, joined by lines that lose nothing unless told."""

    def __init__(self) -> None:
        self.board, self.now = Board(), 0.0
        self.hosts = [Host(KEY), Host(KEY)]
        self.power_up()

    def power_up(self) -> None:
        self.arbiter = Arbiter(KEY, self.board, self.now, LEASE, *self.board.kept)

    def wait(self, seconds: float) -> None:
        self.arbiter.tick(self.now)
        self.now += seconds
        self.arbiter.tick(self.now)

    def exchange(self, line: int, send: bytes) -> Answer | None:
        answer = None
        while send and answer is None:
            send, answer = self.hosts[line].received(self.arbiter.received(line, send, self.now))
        return answer

    def ask(self, line: int, request: Request) -> Answer:
        answer = self.exchange(line, self.hosts[line].ask(request))
        assert answer
        return answer

    def claim(self, line: int, epoch: int, heir: str | None = None) -> Answer:
        return self.ask(line, Request(Op.CLAIM, NODES[line], epoch, heir))


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_grant_opens_the_switch_is_saved_and_closes_the_switch_after_the_break(rig: Rig) -> None:
    rig.wait(BREAK)
    rig.board.done.clear()
    answer = rig.claim(0, 0, "b")
    assert (answer.result, answer.standing) == (Result.GRANTED, Standing("a", 1, "b"))
    assert rig.board.done == ["switch NONE", "save a"]
    rig.wait(BREAK - 0.01)
    assert rig.board.position is Position.NONE
    rig.wait(0.01)
    assert rig.board.position is Position.A
    assert rig.ask(0, Request(Op.LOOK)).switch is Position.A


def test_the_heir_gets_the_hub_and_the_superseded_one_is_refused(rig: Rig) -> None:
    rig.claim(0, 0, "b")
    rig.wait(BREAK)
    assert rig.claim(1, 1).standing == Standing("b", 2, None)
    assert rig.board.position is Position.NONE
    rig.wait(BREAK)
    assert rig.board.position is Position.B
    refused = rig.ask(0, Request(Op.RENEW, "a", 1))
    assert (refused.result, refused.standing) == (Result.REFUSED, Standing("b", 2, None))


def test_an_owner_that_names_another_heir_keeps_the_hub(rig: Rig) -> None:
    rig.claim(0, 0, "b")
    rig.wait(BREAK)
    rig.board.done.clear()
    assert rig.claim(0, 1).standing == Standing("a", 2, None)
    assert rig.board.done == ["save a"]


def test_release_leaves_the_hub_to_nobody(rig: Rig) -> None:
    rig.claim(0, 0)
    rig.wait(BREAK)
    assert rig.ask(0, Request(Op.RELEASE, "a", 1)).standing == Standing(None, 2, None)
    rig.wait(BREAK)
    assert rig.board.position is Position.NONE


def test_a_switch_that_does_not_open_grants_nothing(rig: Rig) -> None:
    rig.claim(0, 0, "b")
    rig.wait(BREAK)
    rig.board.stuck = True
    answer = rig.claim(1, 1)
    assert (answer.result, answer.standing) == (Result.FAULT, Standing("a", 1, "b"))
    assert answer.switch is Position.UNKNOWN
    rig.board.stuck = False
    rig.wait(RETRY)
    assert rig.board.position is Position.A


def test_a_memory_that_does_not_keep_grants_nothing_and_gives_the_hub_back(rig: Rig) -> None:
    rig.claim(0, 0, "b")
    rig.wait(BREAK)
    rig.board.full = True
    assert rig.claim(1, 1).result is Result.FAULT
    rig.wait(BREAK)
    assert rig.board.position is Position.A


def test_a_switch_that_does_not_close_is_told_again(rig: Rig) -> None:
    rig.claim(0, 0)
    rig.board.stuck = True
    rig.wait(BREAK)
    assert rig.ask(0, Request(Op.LOOK)).switch is Position.UNKNOWN
    rig.board.stuck = False
    rig.wait(RETRY)
    assert rig.ask(0, Request(Op.LOOK)).switch is Position.A


def test_at_power_up_the_switch_opens_and_then_goes_to_the_owner_with_a_new_lease(rig: Rig) -> None:
    rig.claim(1, 0)
    rig.wait(100.0)
    rig.board.done.clear()
    rig.power_up()
    assert rig.board.done == ["switch NONE"]
    rig.wait(BREAK)
    assert rig.board.position is Position.B
    assert rig.claim(0, 1).result is Result.REFUSED
    rig.wait(LEASE)
    assert rig.claim(0, 1).result is Result.GRANTED


def test_an_appliance_that_spoke_before_the_power_up_is_told_to_begin_anew(rig: Rig) -> None:
    rig.claim(0, 0)
    rig.power_up()
    assert rig.ask(0, Request(Op.LOOK)).standing == Standing("a", 1, None)


def test_a_request_that_is_heard_twice_is_done_once(rig: Rig) -> None:
    rig.ask(0, Request(Op.LOOK))
    claim = rig.hosts[0].ask(Request(Op.CLAIM, "a", 0, "b"))
    lost = rig.arbiter.received(0, claim, rig.now)
    assert rig.hosts[0].again() == claim
    assert rig.arbiter.received(0, claim, rig.now) == lost
    assert rig.board.kept[0] == Standing("a", 1, "b")


def test_an_older_request_is_not_answered(rig: Rig) -> None:
    rig.ask(0, Request(Op.LOOK))
    old = rig.hosts[0].ask(Request(Op.CLAIM, "a", 0, "b"))
    rig.ask(0, Request(Op.LOOK))
    assert rig.arbiter.received(0, old, rig.now) == b""
    assert rig.board.kept[0] == FREE


def test_a_recorded_session_is_worth_nothing_in_another_one(rig: Rig) -> None:
    hello = rig.hosts[0].ask(Request(Op.CLAIM, "a", 0, None))
    claim, _ = rig.hosts[0].received(rig.arbiter.received(0, hello, rig.now))
    rig.arbiter.received(0, hello, rig.now)
    (reply,) = frames.Splitter().feed(rig.arbiter.received(0, claim, rig.now))
    assert reply.kind is Kind.LOST
    assert rig.board.kept[0] == FREE


def test_who_has_another_key_is_not_answered(rig: Rig) -> None:
    stranger = Host(b"another key of this length")
    assert rig.arbiter.received(0, stranger.ask(Request(Op.LOOK)), rig.now) == b""


def test_an_answer_tells_how_long_the_other_appliance_was_silent(rig: Rig) -> None:
    assert rig.ask(0, Request(Op.LOOK)).silent == MOST_MS
    rig.ask(1, Request(Op.LOOK))
    rig.wait(0.5)
    assert rig.ask(0, Request(Op.LOOK)).silent == 500


def test_frames_come_in_pieces_and_between_noise(rig: Rig) -> None:
    send = b"\x00\x07noise\x00" + rig.hosts[0].ask(Request(Op.LOOK))
    reply = b"".join(rig.arbiter.received(0, bytes([byte]), rig.now) for byte in send)
    assert [frame.kind for frame in frames.Splitter().feed(reply)] == [Kind.WELCOME]


def test_a_line_that_talks_without_end_takes_no_memory() -> None:
    splitter = frames.Splitter()
    for _ in range(100):
        assert list(splitter.feed(b"x" * 1000)) == []
    assert len(splitter._held) <= frames.LONGEST + 2


@given(st.binary(max_size=frames.LONGEST))
def test_stuffing_takes_zeros_out_and_puts_them_back(data: bytes) -> None:
    stuffed = frames.cobs(data)
    assert 0 not in stuffed
    assert len(stuffed) == len(data) + 1
    assert frames.uncobs(stuffed) == data


@given(st.binary(max_size=300))
def test_any_noise_is_passed_over(noise: bytes) -> None:
    rig = Rig()
    rig.arbiter.received(0, noise + b"\0", 0.0)
    rig.hosts[0].received(noise + b"\0")
    assert rig.ask(0, Request(Op.LOOK)).standing == FREE


@given(st.binary(max_size=100))
def test_any_payload_is_parsed_or_refused(payload: bytes) -> None:
    for read in (frames.read_request, frames.read_answer):
        try:
            read(payload)
        except ProtocolError:
            pass


ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(str.isprintable)
epochs = st.integers(0, 2**63 - 1)


@given(st.sampled_from(frames.OPS[1:]), ids, epochs, st.none() | ids)
def test_a_request_comes_back_as_it_was(op: Op, node: str, epoch: int, heir: str | None) -> None:
    request = Request(op, node, epoch, heir)
    if node != heir:
        assert frames.read_request(frames.write_request(request)) == request


@given(st.sampled_from(Result), st.sampled_from(Position), st.none() | ids, epochs, st.none() | ids)
def test_an_answer_comes_back_as_it_was(
    result: Result, switch: Position, owner: str | None, epoch: int, heir: str | None
) -> None:
    answer = Answer(result, switch, 5000, 17, Standing(owner, epoch, heir))
    assert frames.read_answer(frames.write_answer(answer)) == answer


def test_the_longest_frame_fits() -> None:
    answer = Answer(Result.GRANTED, Position.A, MOST_MS, MOST_MS, Standing("n" * 32, 2**63 - 1, "m" * 32))
    encoded = frames.encode(Kind.ANSWER, 2**32 - 1, frames.write_answer(answer), KEY)
    (frame,) = frames.Splitter().feed(encoded)
    assert frames.read_answer(frame.payload) == answer


def test_the_frame_of_the_documentation_is_what_is_sent() -> None:
    encoded = frames.encode(Kind.HELLO, 1, bytes.fromhex("0102030405060708"), b"sixteen letters!")
    assert encoded.hex(" ") in (ROOT / "docs/selectors.md").read_text()


LOST = st.sampled_from(["", "request", "answer"])


class Histories(RuleBasedStateMachine):
    """Two appliances, lines that lose and repeat, and an arbiter that loses its power."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        self.switched = [(0.0, Position.UNKNOWN)]
        self.epoch = 0

    @rule(
        line=st.integers(0, 1),
        age=st.integers(0, 2),
        heir=st.booleans(),
        lost=LOST,
    )
    def somebody_claims(self, line: int, age: int, heir: bool, lost: str) -> None:
        epoch = max(self.rig.board.kept[0].epoch - age, 0)
        request = Request(Op.CLAIM, NODES[line], epoch, NODES[1 - line] if heir else None)
        host = self.rig.hosts[line]
        send = host.ask(request)
        if lost == "answer":
            self.rig.arbiter.received(line, send, self.rig.now)
        if lost:
            send = host.again()
        answer = self.rig.exchange(line, send)
        assert answer
        assert answer.standing == self.rig.board.kept[0]
        if answer.result is Result.GRANTED:
            assert answer.standing == Standing(NODES[line], epoch + 1, request.heir)

    @rule(line=st.integers(0, 1))
    def somebody_releases(self, line: int) -> None:
        self.rig.ask(line, Request(Op.RELEASE, NODES[line], self.rig.board.kept[0].epoch))

    @rule(line=st.integers(0, 1))
    def somebody_renews(self, line: int) -> None:
        self.rig.ask(line, Request(Op.RENEW, NODES[line], self.rig.board.kept[0].epoch))

    @rule(seconds=st.sampled_from([0.01, BREAK, LEASE]))
    def time_passes(self, seconds: float) -> None:
        self.rig.wait(seconds)

    @rule()
    def power_is_lost(self) -> None:
        self.rig.power_up()

    @invariant()
    def the_hub_is_at_its_owner_or_at_nobody(self) -> None:
        standing, side = self.rig.board.kept
        assert self.rig.board.position in (Position.NONE, side)
        assert (side is Position.NONE) == (standing.owner is None)

    @invariant()
    def between_two_sides_the_switch_was_open_for_the_break(self) -> None:
        position, now = self.rig.board.position, self.rig.now
        before, since = self.switched[-1][1], self.switched[-1][0]
        if position is before:
            return
        assert before in (Position.NONE, Position.UNKNOWN) or position is Position.NONE
        if before is Position.NONE:
            assert now - since >= BREAK - 1e-9
        self.switched.append((now, position))

    @invariant()
    def the_epoch_never_goes_back(self) -> None:
        assert self.rig.board.kept[0].epoch >= self.epoch
        self.epoch = self.rig.board.kept[0].epoch


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=50)
