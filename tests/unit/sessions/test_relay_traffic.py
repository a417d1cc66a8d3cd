"""What holds of a relay for any traffic, any cut of the bytes, and at any moment."""

from __future__ import annotations

import errno

from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.sessions.half import SIZE
from appliance.sessions.relay import Relay
from tests.unit.sessions.pdus import answer, relay, submit, through, unlink, unlinked

SET_INTERFACE_1_1 = bytes.fromhex("010b010001000000")

urb = st.tuples(st.sampled_from([0x81, 0x02, 0x83, 0x04, 0x85, 0x06]), st.integers(1, 300), st.booleans())


@given(urbs=st.lists(urb, max_size=20), chunk=st.integers(1, 400), shuffled=st.randoms(use_true_random=False))
def test_any_interleaving_of_valid_pdus_passes_byte_for_byte(
    urbs: list[tuple[int, int, bool]], chunk: int, shuffled: object
) -> None:
    session = relay()
    through(session.up, submit(0, 0x00, setup=SET_INTERFACE_1_1))
    through(session.down, answer(0))
    commands, answers = [], []
    for number, (endpoint, length, cancelled) in enumerate(urbs, 1):
        isochronous, inbound = endpoint in (0x85, 0x06), endpoint & 0x80
        packets = 2 if isochronous else 0
        data = (b"" if inbound else b"o" * length) + bytes(16 * packets)
        command = submit(number, endpoint, length, data, packets=packets)
        reply = answer(
            number, (b"i" * length if inbound else b"") + bytes(16 * packets), actual=length, packets=packets
        )
        commands.append(command + (unlink(1000 + number, number) if cancelled else b""))
        answers.append(unlinked(1000 + number) if cancelled else reply)
    sent, back = b"".join(commands), b"".join(shuffled.sample(answers, len(answers)))  # type: ignore[attr-defined]
    assert through(session.up, sent, chunk) == sent
    assert through(session.down, back, chunk) == back
    assert not session.pending
    assert not session.unlinks


@given(st.binary(max_size=400), st.integers(1, 60))
def test_any_bytes_of_a_client_pass_or_end_its_session(noise: bytes, chunk: int) -> None:
    session = relay()
    try:
        forwarded = through(session.up, noise, chunk)
    except ProtocolError:
        return
    assert len(forwarded) <= len(noise)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=8), st.integers(1, 200))
def test_partial_sends_lose_nothing(lengths: list[int], step: int) -> None:
    half = relay().up
    sent = b"".join(submit(n, 0x02, data=b"%d" % n * length) for n, length in enumerate(lengths))
    half.space()[: len(sent)] = sent
    half.received(len(sent), 1)
    out = b""
    while half.ready:
        piece = bytes(half.outgoing()[:step])
        out += piece
        half.sent(len(piece))
    assert out == sent


def test_a_full_buffer_of_answers_still_takes_ours() -> None:
    session = relay()
    through(session.up, submit(1, 0x81, SIZE) + submit(2, 0x8A, 1))
    big = answer(1, bytes(SIZE - 48))
    assert through(session.down, big, SIZE) == answer(2, status=-errno.ENOENT) + big


def test_a_relay_goes_on_from_its_state_at_any_byte() -> None:
    up = submit(1, 0x02, data=b"abc" * 50) + submit(2, 0x81, 100) + submit(3, 0x8A, 5) + unlink(4, 2)
    down = answer(1, actual=150) + answer(2, b"d" * 100) + unlinked(4, status=0)
    for cut in range(0, len(up), 5):
        first = relay()
        out = through(first.up, up[:cut])
        second = Relay(first.freeze())
        out += through(second.up, up[cut:])
        third = Relay(second.freeze())
        back = through(third.down, down[: cut % len(down)])
        fourth = Relay(third.freeze())
        back += through(fourth.down, down[cut % len(down) :])
        assert out == submit(1, 0x02, data=b"abc" * 50) + submit(2, 0x81, 100) + unlink(4, 2)
        assert back.replace(answer(3, status=-errno.ENOENT), b"", 1) == down
        assert fourth.stats()["urbs"] == 2


def test_bytes_received_and_not_sent_are_part_of_the_state() -> None:
    first = relay()
    sent = submit(1, 0x02, data=b"abc")
    first.up.space()[: len(sent)] = sent
    first.up.received(len(sent), 1)
    first.up.sent(10)
    second = Relay(first.freeze())
    assert bytes(second.up.outgoing()) == sent[10:]
