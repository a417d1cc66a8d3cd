"""CTAPHID as packets. CTAP 2.1 §11.2."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadgets.hid.ctaphid import BROADCAST, LARGEST, PACKET, Channels, Command, Error, Message, packets_of

NONCE = b"noncence"
IDENTITY = b"\2\1\0\0\5"


def open_channels(count: int = 2) -> Channels:
    """Channels 1 to `count` are given out."""
    channels = Channels(IDENTITY)
    for _ in range(count):
        say(channels, BROADCAST, Command.INIT, NONCE)
    channels.packets.clear()
    return channels


def say(
    channels: Channels, channel: int, command: int, data: bytes, first: int | None = None
) -> list[Message]:
    """The packets of a message, or the first few of them."""
    received = map(channels.receive, islice(packets_of(channel, command, data), first))
    return [message for message in received if message]


def heard(channels: Channels) -> list[tuple[int, int, bytes]]:
    """Channel, command and the data of the first packet, of each message that is out."""
    firsts = [packet for packet in channels.packets if packet[4] & 0x80]
    channels.packets.clear()
    return [
        (
            int.from_bytes(packet[:4], "big"),
            packet[4] & 0x7F,
            packet[7 : 7 + int.from_bytes(packet[5:7], "big")],
        )
        for packet in firsts
    ]


def error(channel: int, code: Error) -> list[tuple[int, int, bytes]]:
    return [(channel, Command.ERROR, bytes((code,)))]


def test_a_host_is_given_a_channel_of_its_own() -> None:
    channels = Channels(IDENTITY)
    for number in (1, 2):
        say(channels, BROADCAST, Command.INIT, NONCE)
        answer = NONCE + number.to_bytes(4, "big") + IDENTITY
        assert heard(channels) == [(BROADCAST, Command.INIT, answer)]


@given(st.binary(max_size=LARGEST))
def test_a_ping_comes_back_whatever_its_length(data: bytes) -> None:
    channels = open_channels()
    say(channels, 1, Command.PING, data)
    assert channels.packets == list(packets_of(1, Command.PING, data))


@given(st.binary(min_size=1, max_size=LARGEST))
def test_a_request_is_put_together_and_its_answer_cut_up(data: bytes) -> None:
    channels = open_channels()
    assert say(channels, 2, Command.CBOR, data) == [Message(2, Command.CBOR, data)]
    channels.answer(data[::-1])
    assert channels.packets == list(packets_of(2, Command.CBOR, data[::-1]))
    assert all(len(packet) == PACKET for packet in channels.packets)


def test_the_largest_message_has_129_packets() -> None:
    assert (LARGEST, len(list(packets_of(1, Command.PING, bytes(LARGEST))))) == (7609, 129)


@pytest.mark.parametrize("channel", [0, 3, BROADCAST])
def test_who_has_no_channel_is_told_so(channel: int) -> None:
    channels = open_channels()
    assert say(channels, channel, Command.PING, b"") == []
    assert heard(channels) == error(channel, Error.INVALID_CHANNEL)


def test_another_channel_is_told_to_wait_and_disturbs_nothing() -> None:
    channels = open_channels()
    say(channels, 1, Command.PING, bytes(100), first=1)
    say(channels, 2, Command.CBOR, b"\4")
    assert heard(channels) == error(2, Error.CHANNEL_BUSY)
    say(channels, BROADCAST, Command.INIT, NONCE)
    assert [command for _, command, _ in heard(channels)] == [Command.INIT]
    channels.receive(list(packets_of(1, Command.PING, bytes(100)))[1])
    assert heard(channels) == [(1, Command.PING, bytes(57))]


def test_while_a_request_is_answered_its_own_channel_waits_too() -> None:
    channels = open_channels()
    say(channels, 1, Command.CBOR, b"\1")
    say(channels, 1, Command.PING, b"")
    assert heard(channels) == error(1, Error.CHANNEL_BUSY)
    channels.answer(b"\0")
    assert heard(channels) == [(1, Command.CBOR, b"\0")]


def test_a_packet_out_of_sequence_ends_the_message() -> None:
    channels = open_channels()
    packets = list(packets_of(1, Command.PING, bytes(200)))
    for at in (0, 1, 3):
        channels.receive(packets[at])
    assert heard(channels) == error(1, Error.INVALID_SEQ)
    assert not channels.is_receiving


def test_a_new_message_within_another_ends_it() -> None:
    channels = open_channels()
    say(channels, 1, Command.PING, bytes(200), first=2)
    say(channels, 1, Command.CBOR, b"\4")
    assert heard(channels) == error(1, Error.INVALID_SEQ)
    assert not channels.is_receiving


@pytest.mark.parametrize("first", [1, None])
def test_init_gives_a_channel_a_fresh_start(first: int | None) -> None:
    channels = open_channels()
    say(channels, 1, Command.CBOR, bytes(100), first=first)
    say(channels, 1, Command.INIT, NONCE)
    assert heard(channels) == [(1, Command.INIT, NONCE + b"\0\0\0\1" + IDENTITY)]
    assert channels.transaction is None


def test_continuations_nobody_waits_for_are_ignored() -> None:
    channels = open_channels()
    channels.receive(list(packets_of(1, Command.PING, bytes(100)))[1])
    say(channels, 1, Command.PING, bytes(100), first=1)
    channels.receive(list(packets_of(2, Command.PING, bytes(100)))[1])
    assert heard(channels) == []
    assert channels.is_receiving


@pytest.mark.parametrize(
    ("command", "length", "code"),
    [
        (Command.PING, LARGEST + 1, Error.INVALID_LEN),
        (Command.INIT, 7, Error.INVALID_LEN),
    ],
)
def test_a_length_that_cannot_be_is_refused(command: int, length: int, code: Error) -> None:
    channels = open_channels()
    say(channels, 1, command, bytes(length), first=1)
    assert heard(channels) == error(1, code)


def test_only_a_waiting_cbor_request_can_be_cancelled_and_only_by_its_channel() -> None:
    channels = open_channels()
    assert say(channels, 1, Command.CANCEL, b"") == []
    say(channels, 1, Command.MSG, b"\1")
    assert say(channels, 1, Command.CANCEL, b"") == []
    channels.answer(b"\x90\0")
    say(channels, 1, Command.CBOR, b"\1")
    assert say(channels, 2, Command.CANCEL, b"") == []
    assert say(channels, 1, Command.CANCEL, b"") == [Message(1, Command.CANCEL, b"")]


@given(
    st.lists(
        st.binary(min_size=60, max_size=PACKET) | st.binary(max_size=9).map(lambda b: b.ljust(PACKET, b"\0"))
    )
)
def test_noise_does_no_harm(packets: list[bytes]) -> None:
    channels = open_channels()
    for packet in packets:
        channels.receive(packet)
        channels.packets.clear()
    assert channels.received <= LARGEST
