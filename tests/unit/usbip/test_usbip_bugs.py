"""The bugs of other servers, each with its number in the list that we keep of them; none of them is ours."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from appliance.errors import Busy, DeviceFailed, NotFound, ProtocolError, Refused, TwinhubError, Unavailable
from appliance.usbip.handshake import import_request, list_reply, list_request
from appliance.usbip.server import Limits
from appliance.usbip.stream import Stream
from appliance.usbip.wire import MAX_TRANSFER, RetSubmit, RetUnlink, Submit, Unlink, unpack_reply
from gadgets.usb.urb import Completion, IsoPacket, SetupPacket, Speed, Status, TransferType, Urb
from tests.unit.usbip.doubles import KEYBOARD, Shelf, ask, connect, read_to_end, serving, whole

DEVID = 0x10002
IMPORT = import_request("keyboard")


def stream(types: dict[int, TransferType] | None = None) -> Stream:
    return Stream(DEVID, (types or {}).get)


def submit(seqnum: int, endpoint: int, length: int, packets: int = 0, setup: bytes = bytes(8)) -> bytes:
    return Submit(
        seqnum, DEVID, endpoint >> 7, endpoint & 15, 0, length, 0, packets, 0, setup
    ).pack() + (b"" if endpoint >> 7 else bytes(length))  # fmt: skip


def test_bug_1_an_out_reply_counts_the_bytes_taken_and_carries_none() -> None:
    one = stream()
    one.feed(submit(1, 0x02, 31))
    sent = whole(one, Completion(1, 0, 31, b"what a careless device left here"))
    assert sent == RetSubmit(1, 0, 31, 0, 0, 0).pack()


@pytest.mark.parametrize("endpoint", [0x00, 0x80, 0x81, 0x02])
def test_bug_2_a_stall_is_answered_as_a_stall(endpoint: int) -> None:
    one = stream()
    one.feed(submit(1, endpoint, 8))
    assert whole(one, Completion(1, Status.PIPE)) == RetSubmit(1, -32, 0, 0, 0, 0).pack()


def test_bug_3_the_transfer_type_is_the_descriptors_not_the_packet_counts_or_the_intervals() -> None:
    one = stream({0x81: TransferType.INTERRUPT, 0x82: TransferType.ISOCHRONOUS})
    iso = submit(2, 0x82, 8, packets=1) + bytes.fromhex("00000000 00000008 00000000 00000000")
    assert one.feed(submit(1, 0x81, 8, packets=1) + iso) == [
        Urb(1, 0x81, 8),
        Urb(2, 0x82, 8, packets=(IsoPacket(0, 8),)),
    ]


def test_bug_4_a_completion_that_comes_after_its_unlink_is_never_sent() -> None:
    one = stream()
    _, unlink = one.feed(submit(1, 0x81, 8) + Unlink(2, DEVID, 1).pack())
    assert isinstance(unlink, Unlink)
    assert one.unlinked(unlink, cancelled=True) == RetUnlink(2, Status.CONNRESET).pack()
    assert whole(one, Completion(1, 0, 1, b"x")) == b""


def test_bug_4_an_unlink_that_comes_after_its_completion_finds_it_answered() -> None:
    one = stream()
    one.feed(submit(1, 0x81, 8))
    assert unpack_reply(whole(one, Completion(1))[:48]) == RetSubmit(1, 0, 0, 0, 0, 0)
    assert one.unlinked(Unlink(2, DEVID, 1), cancelled=False) == RetUnlink(2, 0).pack()


def test_bug_5_header_and_payload_are_one_write() -> None:
    one = stream()
    one.feed(submit(1, 0x81, 8))
    assert whole(one, Completion(1, 0, 2, b"ab")) == RetSubmit(1, 0, 2, 0, 0, 0).pack() + b"ab"


async def test_bug_5_and_9_the_sessions_socket_does_not_delay_and_notices_a_vanished_client() -> None:
    shelf = Shelf()
    async with serving(shelf) as at:
        with closing(await connect(at)) as client:
            await asyncio.get_running_loop().sock_sendall(client, IMPORT)
            with closing(await shelf.sessions.get()) as session:
                tcp = {
                    name: session.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                    for name in (
                        "TCP_NODELAY",
                        "TCP_KEEPIDLE",
                        "TCP_KEEPINTVL",
                        "TCP_KEEPCNT",
                        "TCP_USER_TIMEOUT",
                    )
                }
                assert session.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert tcp["TCP_NODELAY"]
    assert tcp["TCP_KEEPIDLE"] + tcp["TCP_KEEPINTVL"] * tcp["TCP_KEEPCNT"] < 15
    assert tcp["TCP_USER_TIMEOUT"] < 15_000


def test_bug_6_an_interrupt_in_with_nothing_to_say_stays_in_flight() -> None:
    one = stream({0x81: TransferType.INTERRUPT})
    one.feed(submit(1, 0x81, 8) + submit(2, 0x81, 8))
    assert list(one.in_flight) == [1, 2]
    whole(one, Completion(1, 0, 8, bytes(8)))
    assert list(one.in_flight) == [2]


@pytest.mark.parametrize(
    ("error", "status"),
    [(Refused, 1), (Unavailable, 1), (Busy, 2), (DeviceFailed, 3), (NotFound, 4), (TwinhubError, 5)],
)
async def test_bug_7_and_8_a_failed_import_is_closed_with_its_status(
    error: type[TwinhubError], status: int
) -> None:
    async with serving(Shelf(failure=error())) as at:
        assert await ask(at, IMPORT) == bytes([1, 0x11, 0, 3, 0, 0, 0, status])


def test_bug_10_control_in_brings_no_more_than_wlength() -> None:
    one = stream()
    one.feed(submit(1, 0x80, 64, setup=SetupPacket(0x80, 6, 0x100, 0, 8).emit()))
    sent = whole(one, Completion(1, 0, 18, bytes(18)))
    assert sent == RetSubmit(1, Status.OVERFLOW, 8, 0, 0, 0).pack() + bytes(8)


async def test_bug_11_speed_6_is_told_as_5() -> None:
    async with serving(Shelf(records=(replace(KEYBOARD, speed=Speed.SUPER_PLUS),))) as at:
        assert await ask(at, list_request()) == list_reply([replace(KEYBOARD, speed=Speed.SUPER)])


@pytest.mark.parametrize("length", [MAX_TRANSFER + 1, 2**31 - 1, -1])
def test_bug_12_a_length_beyond_its_bound_ends_the_session_before_a_byte_of_it_is_held(length: int) -> None:
    with pytest.raises(ProtocolError):
        stream().feed(Submit(1, DEVID, 0, 2, 0, length, 0, 0, 0, bytes(8)).pack())


async def test_bug_13_half_open_connections_are_bounded_in_number_and_time() -> None:
    async with serving(Shelf(), Limits(request_seconds=0.2, connections_per_peer=3)) as at:
        before = len(os.listdir("/proc/self/fd"))
        with ExitStack() as opened:
            flood = [opened.enter_context(closing(await connect(at))) for _ in range(50)]
            assert await asyncio.gather(*map(read_to_end, flood)) == [b""] * 50
            assert len(os.listdir("/proc/self/fd")) == before + 50
        assert await ask(at, list_request()) == list_reply([KEYBOARD])


def test_bug_14_after_a_disconnect_the_device_learns_what_it_must_stop() -> None:
    one = stream()
    one.feed(b"".join(submit(seqnum, 0x81, 8) for seqnum in range(5)))
    whole(one, Completion(2))
    assert one.abandon() == (0, 1, 3, 4)
    assert one.in_flight == ()
    assert whole(one, Completion(3)) == b""
