"""The URB phase: what a client's bytes submit and unlink, and the bytes that answer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolError
from appliance.usbip import wire
from appliance.usbip.stream import Stream
from appliance.usbip.wire import MAX_TRANSFER, RetSubmit, RetUnlink, Submit, Unlink, pack_iso, unpack_reply
from gadgets.usb.urb import SHORT_NOT_OK, Completion, IsoPacket, SetupPacket, Status, TransferType, Urb
from tests.unit.usbip.doubles import whole

DEVID = 0x10002
BULK_IN, BULK_OUT, ISO_IN, ISO_OUT = 0x81, 0x02, 0x83, 0x04
TYPES = {
    BULK_IN: TransferType.BULK,
    BULK_OUT: TransferType.BULK,
    ISO_IN: TransferType.ISOCHRONOUS,
    ISO_OUT: TransferType.ISOCHRONOUS,
}
GET_DESCRIPTOR = SetupPacket(0x80, 6, 0x0100, 0, 18)


def stream(**limits: int) -> Stream:
    return Stream(DEVID, TYPES.get, **limits)


def cmd(
    seqnum: int,
    endpoint: int,
    length: int = 0,
    data: bytes = b"",
    iso: tuple[IsoPacket, ...] = (),
    setup: bytes = bytes(8),
    flags: int = 0,
    packets: int | None = None,
    devid: int = DEVID,
) -> bytes:
    """A whole CMD_SUBMIT."""
    count = len(iso) if packets is None else packets
    header = Submit(
        seqnum, devid, endpoint >> 7, endpoint & 15, flags, length or len(data), 0, count, 0, setup
    )
    return header.pack() + data + pack_iso(iso)


def evenly(count: int, length: int) -> tuple[IsoPacket, ...]:
    return tuple(IsoPacket(n * length, length) for n in range(count))


@dataclass
class Answer:
    reply: RetSubmit | RetUnlink
    rest: bytes


def answer(data: bytes) -> Answer:
    return Answer(unpack_reply(data[:48]), data[48:])


def ret(data: bytes) -> RetSubmit:
    reply = answer(data).reply
    assert isinstance(reply, RetSubmit)
    return reply


SESSION = (
    cmd(1, 0x80, 18, setup=GET_DESCRIPTOR.emit(), packets=-1),
    cmd(2, BULK_OUT, data=b"hello"),
    cmd(3, BULK_IN, 512, flags=SHORT_NOT_OK),
    Unlink(4, DEVID, 3).pack(),
    cmd(5, ISO_OUT, data=bytes(range(30)), iso=evenly(3, 10)),
    cmd(6, ISO_IN, 30, iso=evenly(3, 10)),
    cmd(7, 0x00, data=b"\x01", setup=SetupPacket(0x21, 9, 0x200, 0, 1).emit()),
)
EVENTS = [
    Urb(1, 0x80, 18, setup=GET_DESCRIPTOR),
    Urb(2, BULK_OUT, 5, b"hello"),
    Urb(3, BULK_IN, 512, flags=SHORT_NOT_OK),
    Unlink(4, DEVID, 3),
    Urb(5, ISO_OUT, 30, bytes(range(30)), packets=evenly(3, 10)),
    Urb(6, ISO_IN, 30, packets=evenly(3, 10)),
    Urb(7, 0x00, 1, b"\x01", setup=SetupPacket(0x21, 9, 0x200, 0, 1)),
]


@pytest.mark.parametrize("size", [1, 10, 48, 49, 1000])
def test_a_session_is_the_same_however_its_bytes_are_cut(size: int) -> None:
    whole, one = b"".join(SESSION), stream()
    heard = [event for at in range(0, len(whole), size) for event in one.feed(whole[at : at + size])]
    assert heard == EVENTS


@given(st.lists(st.integers(0, sum(map(len, SESSION)))).map(sorted))
def test_a_session_is_the_same_wherever_its_bytes_are_cut(cuts: list[int]) -> None:
    whole, one = b"".join(SESSION), stream()
    pieces = [whole[a:b] for a, b in pairwise([0, *cuts, len(whole)])]
    assert [event for piece in pieces for event in one.feed(piece)] == EVENTS


def test_an_in_urb_is_answered_with_its_number_its_packet_count_and_its_data() -> None:
    one = stream()
    one.feed(SESSION[0])
    sent = answer(whole(one, Completion(1, 0, 3, b"abc")))
    assert sent == Answer(RetSubmit(1, 0, 3, 0, -1, 0), b"abc")
    assert one.in_flight == ()


def test_a_packet_count_that_says_nothing_is_echoed() -> None:
    one = stream()
    for seqnum, count in enumerate((0, -1, 5)):
        one.feed(cmd(seqnum, BULK_IN, 8, packets=count))
        assert ret(whole(one, Completion(seqnum))).packets == count


def test_what_is_not_in_flight_is_not_answered_a_second_time() -> None:
    one = stream()
    one.feed(cmd(1, BULK_IN, 8))
    assert whole(one, Completion(1))
    assert whole(one, Completion(1)) == b""
    assert whole(one, Completion(99)) == b""


def test_babble_is_cut_to_what_was_asked_and_called_overflow() -> None:
    one = stream()
    one.feed(cmd(1, BULK_IN, 4))
    assert answer(whole(one, Completion(1, 0, 6, b"abcdef"))) == Answer(
        RetSubmit(1, Status.OVERFLOW, 4, 0, 0, 0), b"abcd"
    )


def test_a_short_in_transfer_that_must_not_be_short_completes_with_remoteio() -> None:
    one = stream()
    one.feed(cmd(1, BULK_IN, 4, flags=SHORT_NOT_OK) + cmd(2, BULK_IN, 4))
    assert ret(whole(one, Completion(1, 0, 1, b"a"))).status == Status.REMOTEIO
    assert ret(whole(one, Completion(2, 0, 1, b"a"))).status == 0


def test_an_out_urb_never_claims_more_than_was_sent() -> None:
    one = stream()
    one.feed(cmd(1, BULK_OUT, data=b"abc"))
    assert ret(whole(one, Completion(1, actual_length=9))).actual_length == 3


def test_isochronous_in_carries_the_actual_bytes_without_gaps() -> None:
    one = stream()
    one.feed(cmd(1, ISO_IN, 30, iso=evenly(3, 10)))
    done = (IsoPacket(0, 10, 2), IsoPacket(10, 10, 0, Status.ILSEQ), IsoPacket(20, 10, 3))
    sent = answer(whole(one, Completion(1, 0, 5, b"abcde", done, start_frame=77)))
    assert sent == Answer(RetSubmit(1, 0, 5, 77, 3, 1), b"abcde" + pack_iso(done))


def test_isochronous_out_is_answered_with_descriptors_and_no_data() -> None:
    one = stream()
    one.feed(cmd(1, ISO_OUT, data=bytes(20), iso=evenly(2, 10)))
    done = (IsoPacket(0, 10, 10), IsoPacket(10, 10, 10))
    assert answer(whole(one, Completion(1, 0, 20, b"", done))) == Answer(
        RetSubmit(1, 0, 20, 0, 2, 0), pack_iso(done)
    )


def test_an_isochronous_urb_with_no_packets_is_legal() -> None:
    one = stream()
    assert one.feed(cmd(1, ISO_OUT, data=b"abc", packets=0)) == [Urb(1, ISO_OUT, 3, b"abc")]
    assert ret(whole(one, Completion(1, actual_length=3))).packets == 0


def test_an_isochronous_urb_that_fails_as_a_whole_still_has_all_its_packets() -> None:
    one = stream()
    one.feed(cmd(1, ISO_IN, 20, iso=evenly(2, 10)))
    sent = answer(whole(one, Completion(1, Status.SHUTDOWN)))
    assert sent.reply == RetSubmit(1, Status.SHUTDOWN, 0, 0, 2, 2)
    assert sent.rest == pack_iso([IsoPacket(n * 10, 10, 0, Status.XDEV) for n in range(2)])


packets = st.builds(IsoPacket, st.integers(0, 99), st.integers(0, 99), st.integers(0, 20), st.just(0))


@given(st.sampled_from([ISO_IN, ISO_OUT]), st.lists(packets, max_size=6), st.binary(max_size=60))
def test_isochronous_sums_are_right_whatever_the_device_says(
    endpoint: int, done: list[IsoPacket], data: bytes
) -> None:
    one, asked = stream(), evenly(4, 10)
    one.feed(cmd(1, endpoint, 40, bytes(40) if endpoint == ISO_OUT else b"", asked))
    sent = answer(whole(one, Completion(1, 0, len(data), data, tuple(done))))
    assert isinstance(sent.reply, RetSubmit)
    payload, descriptors = sent.rest[:-64], wire.unpack_iso(sent.rest[-64:], 40)
    assert sum(p.actual_length for p in descriptors) == sent.reply.actual_length
    assert len(payload) == (sent.reply.actual_length if endpoint == ISO_IN else 0)
    assert [(p.offset, p.length) for p in descriptors] == [(p.offset, p.length) for p in asked]
    assert all(p.actual_length <= p.length for p in descriptors)


def test_on_an_endpoint_without_descriptor_the_packet_count_keeps_the_stream_in_step() -> None:
    urb, unlink = stream().feed(cmd(1, 0x85, 20, iso=evenly(2, 10)) + Unlink(2, DEVID, 1).pack())
    assert urb == Urb(1, 0x85, 20, packets=evenly(2, 10))
    assert unlink == Unlink(2, DEVID, 1)


def test_an_unlink_that_overtakes_a_completion_is_answered_right_behind_it() -> None:
    one = stream()
    _, unlink = one.feed(cmd(1, BULK_IN, 8) + Unlink(2, DEVID, 1).pack())
    assert isinstance(unlink, Unlink)
    assert one.unlinked(unlink, cancelled=False) == b""
    sent = whole(one, Completion(1, 0, 2, b"ab"))
    assert sent == RetSubmit(1, 0, 2, 0, 0, 0).pack() + b"ab" + RetUnlink(2, 0).pack()


def test_an_urb_unlinked_twice_is_cancelled_once() -> None:
    one = stream()
    one.feed(cmd(1, BULK_IN, 8))
    assert one.unlinked(Unlink(2, DEVID, 1), cancelled=True) == RetUnlink(2, -104).pack()
    assert one.unlinked(Unlink(3, DEVID, 1), cancelled=True) == RetUnlink(3, 0).pack()


script = st.lists(
    st.tuples(st.sampled_from(["submit", "unlink", "complete"]), st.integers(1, 4), st.booleans()),
    max_size=40,
)


@given(script)
def test_whatever_happens_each_urb_is_answered_once_and_each_unlink_tells_the_truth(
    script: list[tuple[str, int, bool]],
) -> None:
    one, said, running = stream(), b"", list[int]()
    submitted, unlinks = set[int](), dict[int, int]()
    for seqnum, (what, which, cancelled) in enumerate(script, 1):
        number = running[which % len(running)] if running else seqnum - which
        if what == "submit":
            one.feed(cmd(seqnum, BULK_IN, 4))
            submitted.add(seqnum)
            running.append(seqnum)
        elif what == "complete":
            said += whole(one, Completion(number))
            running = [n for n in running if n != number]
        elif number not in unlinks.values():
            unlinks[seqnum] = number
            said += one.unlinked(Unlink(seqnum, DEVID, number), cancelled)
    for number in one.in_flight:
        said += whole(one, Completion(number))
    replies = [unpack_reply(said[at : at + 48]) for at in range(0, len(said), 48)]
    order = [reply.seqnum for reply in replies]
    assert len(set(order)) == len(order)
    assert {r.seqnum for r in replies if isinstance(r, RetUnlink)} == set(unlinks)
    for reply in replies:
        if isinstance(reply, RetUnlink):
            number = unlinks[reply.seqnum]
            assert (reply.status == Status.CONNRESET) == (number in submitted and number not in order)
            assert reply.status in (0, Status.CONNRESET)
            if number in order and number in submitted:
                assert order.index(number) < order.index(reply.seqnum)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (cmd(1, BULK_IN, MAX_TRANSFER + 1), "transfer of 16777217 bytes"),
        (cmd(1, BULK_IN, -1), "transfer of -1 bytes"),
        (cmd(1, ISO_IN, 8, packets=1025), "1025 packets"),
        (Submit(1, DEVID, 2, 1, 0, 0, 0, 0, 0, bytes(8)).pack(), "direction 2"),
        (Submit(1, DEVID, 1, 16, 0, 0, 0, 0, 0, bytes(8)).pack(), "endpoint 16"),
        (cmd(1, ISO_IN, 8, iso=(IsoPacket(0, 9),)), "outside its transfer"),
        (cmd(1, BULK_IN, 8, devid=0x10003), "device 0x10003"),
        (bytes([0, 0, 0, 3]) + cmd(1, BULK_IN)[4:], "URB command 3"),
        (cmd(1, BULK_IN) * 2, "submits URB 1 while it is in flight"),
    ],
)
def test_what_usb_ip_does_not_allow_is_a_protocol_error_that_says_what(data: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        stream().feed(data)


def test_urbs_in_flight_are_bounded_in_number_and_in_bytes() -> None:
    many = b"".join(cmd(seqnum, BULK_IN, 1) for seqnum in range(3))
    with pytest.raises(ProtocolError, match="2 of 1000 bytes are allowed"):
        stream(max_in_flight=2, max_bytes=1000).feed(many)
    large = cmd(1, BULK_IN, 600) + cmd(2, BULK_IN, 600)
    with pytest.raises(ProtocolError, match="2 URBs of 1200 bytes"):
        stream(max_bytes=1000).feed(large)


def test_an_answered_or_unlinked_urb_counts_no_longer() -> None:
    one = stream(max_in_flight=1, max_bytes=10)
    for seqnum in range(0, 100, 2):
        one.feed(cmd(seqnum, BULK_IN, 10))
        if seqnum % 4:
            whole(one, Completion(seqnum))
        else:
            one.unlinked(Unlink(seqnum + 1, DEVID, seqnum), cancelled=True)


def test_unlinks_that_wait_are_bounded_too() -> None:
    one = stream()
    one.feed(cmd(1, BULK_IN))
    one.unlinked(Unlink(2, DEVID, 1), cancelled=False)
    with pytest.raises(ProtocolError, match="unlinks URB 1 again"):
        one.unlinked(Unlink(3, DEVID, 1), cancelled=False)


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_any_bytes_are_events_or_a_protocol_error(pieces: list[bytes]) -> None:
    one = stream()
    try:
        for piece in pieces:
            one.feed(piece)
    except ProtocolError:
        pass
