"""Sessions: the relay in both directions with a capture behind it, and what a worker reads."""

from __future__ import annotations

import json
from functools import partial
from random import Random

from appliance.errors import ProtocolError, UsageError
from appliance.sessions.control import LINE_LIMIT, Lines
from appliance.sessions.endpoints import SET_CONFIGURATION, Selection, active, scan
from appliance.sessions.half import RESERVE, SIZE, Half
from appliance.sessions.relay import IN_FLIGHT_LIMIT, LENGTH_LIMIT, Relay
from appliance.sessions.state import HalfState, PendingUrb, SessionState
from appliance.sessions.tap import Tap
from gadgets.usb import pcapng
from gadgets.usb.urb import Completion, TransferType, Urb
from tests.fuzz.harness import parser
from tests.fuzz.mutation import JSON_WORDS, invent
from tests.unit.sessions.pdus import (
    ANSWER,
    COMMAND,
    CONFIGURATION,
    DESCRIPTORS,
    DEVID,
    answer,
    spec,
    submit,
    through,
    unlink,
    unlinked,
)

SELECT = bytes((*SET_CONFIGURATION, 1, 0, 0, 0, 0, 0))
ALTERNATE = bytes.fromhex("010b010001000000")
ISO = bytes(32)
ASKED = (
    submit(1, 0x00, setup=ALTERNATE)
    + submit(2, 0x81, 64)
    + submit(3, 0x02, data=b"out")
    + submit(4, 0x85, 64, ISO, packets=2)
    + unlink(5, 2)
    + submit(6, 0x06, data=bytes(40) + ISO, packets=2)
    + submit(7, 0x83, 8)
)
CLIENTS = (
    ASKED,
    submit(1, 0x80, 18, setup=bytes.fromhex("8006000100001200")) + submit(2, 0x00, setup=SELECT),
    submit(1, 0x81, 512) + submit(2, 0x8A, 16) + unlink(3, 1) + submit(4, 0x02, data=b"x" * 100),
)
STUBS = (
    answer(1) + answer(3, actual=3) + answer(4, b"i" * 20 + ISO, packets=2, actual=20) + unlinked(5),
    answer(2, b"d" * 60) + answer(2, b"d" * 60) + unlinked(5, status=0) + answer(7, bytes(8)),
    answer(1, status=-32) + answer(6, ISO, actual=40, packets=2) + answer(9) + unlinked(10),
)
ENDPOINTS = {0x00, 0x80, 0x81, 0x02, 0x83, 0x04, 0x85, 0x06}
ISOCHRONOUS = {0x85, 0x06}


SPEC = spec()


class Recorder:
    """A capture that goes nowhere."""

    capture = pcapng.Capture(3, 7)

    def submit(self, urb: Urb, kind: TransferType) -> None:
        assert self.capture.submit(urb, kind, 1)

    def complete(self, urb: Urb, completion: Completion, kind: TransferType) -> None:
        assert self.capture.complete(urb, completion, kind, 1)


def tapped(random: Random, session: Relay) -> Tap | None:
    """One session in four is captured."""
    if random.random() < 0.75:
        return None
    return Tap(Recorder(), session.find, session.pending, session.unlinks, 0, 0)


def asked() -> SessionState:
    """A session whose client has sent ASKED."""
    session = Relay.begin(SPEC)
    through(session.up, ASKED)
    return session.freeze()


def from_client(random: Random, data: bytes) -> None:
    """What a stub gets of hostile bytes is whole PDUs for endpoints there are; the refusals are answered."""
    session = Relay.begin(SPEC)
    tap = tapped(random, session)
    forwarded = bytearray()
    try:
        for piece in pieces(random, data):
            take(session.up, piece)
            if tap:
                tap.to_stub(session.up.outgoing())
            forwarded += drain(random, session.up)
    finally:
        check_commands(bytes(forwarded))
        check_bounds(session)
    for refusal in ANSWER.iter_unpack(through(session.down, b"")):
        assert refusal[0] == 3
        assert refusal[5] < 0


def from_stub(random: Random, data: bytes) -> None:
    """What a client gets of hostile bytes are answers to what it asked, none of them longer or twice."""
    session = Relay(ASKED_STATE)
    tap = tapped(random, session)
    forwarded = bytearray()
    try:
        for piece in pieces(random, data):
            take(session.down, piece)
            if tap:
                tap.to_client(session.down.outgoing())
            forwarded += drain(random, session.down)
            session.settle()
    finally:
        check_answers(bytes(forwarded))
        check_bounds(session)


def pieces(random: Random, data: bytes) -> list[bytes]:
    size = random.choice((7, 48, 400))
    return [data[at : at + size] for at in range(0, len(data), size)]


def take(half: Half, data: bytes) -> None:
    """Receive. What broke the protocol is not forwarded, nor is what came with it."""
    half.space()[: len(data)] = data
    try:
        half.received(len(data), 1)
    except ProtocolError:
        assert not half.outgoing(), "something would be forwarded after an error"
        raise


def drain(random: Random, half: Half) -> bytes:
    """Send what may go, in two parts."""
    out = b""
    while half.ready:
        part = bytes(half.outgoing()[: random.randrange(1, half.ready + 1)])
        half.sent(len(part))
        out += part
    return out


def check_commands(forwarded: bytes) -> None:
    at = 0
    while at + COMMAND.size <= len(forwarded):
        command, _, devid, direction, number, _, length, _, packets, _, _ = COMMAND.unpack_from(forwarded, at)
        at += COMMAND.size
        assert devid == DEVID
        if command == 2:
            continue
        assert command == 1
        assert 0 <= length <= LENGTH_LIMIT
        address = direction << 7 | number
        assert address in ENDPOINTS
        at += (0 if direction else length) + (16 * packets if address in ISOCHRONOUS else 0)


def check_answers(forwarded: bytes) -> None:
    asked = {1: (0, 0), 2: (0x81, 64), 3: (0x02, 3), 4: (0x85, 64), 6: (0x06, 40), 7: (0x83, 8)}
    unlinks, at = {5: 2}, 0
    while at + ANSWER.size <= len(forwarded):
        command, seqnum, _, _, _, _, actual, _, packets, _ = ANSWER.unpack_from(forwarded, at)
        at += ANSWER.size
        if command == 4:
            asked.pop(unlinks.pop(seqnum), None)
            continue
        assert command == 3
        endpoint, length = asked.pop(seqnum)
        assert 0 <= actual <= length
        at += (actual if endpoint & 0x80 else 0) + (16 * packets if endpoint in ISOCHRONOUS else 0)


def check_bounds(session: Relay) -> None:
    for half in (session.up, session.down):
        assert 0 <= half.ready <= half.end <= SIZE + RESERVE
    assert len(session.pending) <= IN_FLIGHT_LIMIT
    assert len(session.unlinks) <= IN_FLIGHT_LIMIT
    assert len(session.answers) <= IN_FLIGHT_LIMIT * 48


LINES = (
    b'{"op":"stats"}\n{"op":"kick","reason":"because"}\n',
    b'{"op":"local","input":{"type_text":"hello","layout":"de"}}\n',
    b'{"ok":{"urbs":3,"endpoints":{"0x81":{"latency_us":{"p50":1.5}}}}}\n',
)


def control_lines(random: Random, data: bytes) -> None:
    lines = Lines()
    for piece in pieces(random, data):
        for message in lines.feed(piece):
            assert isinstance(message, dict)
        assert len(lines.rest) <= LINE_LIMIT


def describe_endpoints(random: Random, data: bytes) -> None:
    found = scan(data)
    assert len(found) <= len(data) // 7
    for endpoint in active(found, Selection(random.randrange(3), ((0, 1),))):
        assert endpoint.address & 0x0F


STATE = SessionState(
    spec(idle_seconds=2.5),
    Selection(1, ((1, 1),)),
    (PendingUrb(7, 0x81, 2, 512, 0, 99),),
    {8: 7},
    {9: Selection()},
    HalfState(b"held", 2, 3, 0),
    answers=b"ours",
    counters={"129": {"urbs": 3, "latency": {"40": 3}}},
)
STATES = (STATE.to_json().encode(), SessionState.begin(spec()).to_json().encode())


def session_state(random: Random, data: bytes) -> None:
    """What can be read can be written, and read again."""
    written = SessionState.from_json(data).to_json()
    assert json.loads(SessionState.from_json(written).to_json()).keys() == json.loads(written).keys()


ASKED_STATE = asked()
broken = partial(invent, words=JSON_WORDS)
TARGETS = (
    parser("relay-client", lambda r: invent(r, CLIENTS), from_client, (ProtocolError,)),
    parser("relay-stub", lambda r: invent(r, STUBS), from_stub, (ProtocolError,)),
    parser("control-lines", lambda r: broken(r, LINES), control_lines, (ProtocolError,)),
    parser("session-state", lambda r: broken(r, STATES), session_state, (UsageError,)),
    parser("endpoints", lambda r: invent(r, (DESCRIPTORS, CONFIGURATION)), describe_endpoints, ()),
)
