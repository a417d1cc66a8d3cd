"""USB/IP: the handshakes of both sides, the URB stream of a software device, and a running server."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from random import Random
from typing import Any

from appliance.errors import Busy, TwinhubError
from appliance.usbip import handshake
from appliance.usbip.handshake import Handshake, Import, complete
from appliance.usbip.server import Limits
from appliance.usbip.stream import Stream
from appliance.usbip.wire import HEADER_SIZE, ISO_PACKET, RetSubmit, Submit, Unlink, pack_iso, unpack_reply
from gadgets.usb import pcapng
from gadgets.usb.urb import Completion, IsoPacket, TransferType, Urb
from tests.fuzz.harness import Note, Tally, Target, parser
from tests.fuzz.mutation import invent
from tests.unit.usbip.doubles import KEYBOARD, Shelf, ask, connect, read_to_end, serving

DEVID = KEYBOARD.devid
TYPES = {
    0x81: TransferType.INTERRUPT,
    0x02: TransferType.BULK,
    0x83: TransferType.ISOCHRONOUS,
    0x04: TransferType.ISOCHRONOUS,
}
PACKETS = tuple(IsoPacket(n * 8, 8) for n in range(4))
LONGEST_READ = 4 * 255 + 312
"""No handshake asks for more at once."""

REQUESTS = (handshake.list_request(), handshake.import_request("keyboard"))
LISTS = (handshake.list_reply([KEYBOARD, replace(KEYBOARD, interfaces=())]), handshake.list_reply([]))
IMPORTS = (handshake.import_reply(KEYBOARD), handshake.failure(Import("keyboard"), Busy()))
SESSIONS = (
    Submit(1, DEVID, 1, 0, 0, 18, 0, -1, 0, bytes.fromhex("8006000100001200")).pack()
    + Submit(2, DEVID, 1, 1, 1, 8, 0, 0, 10, bytes(8)).pack()
    + Unlink(3, DEVID, 2).pack(),
    Submit(1, DEVID, 0, 2, 0, 31, 0, 0, 0, bytes(8)).pack() + bytes(31) + Unlink(2, DEVID, 1).pack(),
    Submit(1, DEVID, 1, 3, 0, 32, 0, 4, 1, bytes(8)).pack() + pack_iso(PACKETS),
    Submit(1, DEVID, 0, 4, 0, 32, 0, 4, 1, bytes(8)).pack() + bytes(32) + pack_iso(PACKETS),
)


def talk(steps: Handshake[Any], data: bytes) -> None:
    """Hand the input to a handshake; one that ends too early is the shell's to notice."""
    stream = BytesIO(data)

    def read(count: int) -> bytes:
        assert 0 < count <= LONGEST_READ, f"a handshake wants {count} bytes"
        if len(part := stream.read(count)) < count:
            raise EOFError
        return part

    complete(steps, read)


def converse(random: Random, data: bytes) -> None:
    """Feed the input in pieces to a session, whose device does anything at all; check every answer."""
    one, at = Stream(DEVID, TYPES.get, max_in_flight=64), 0
    while at < len(data):
        size = random.choice((1, 10, 48, 400))
        for event in one.feed(data[at : at + size]):
            if isinstance(event, Unlink):
                answer = one.unlinked(event, random.random() < 0.5)
                assert len(answer) in (0, HEADER_SIZE)
            elif random.random() < 0.7 and (answer := b"".join(one.answer(finish(random, event)))):
                check(event, answer)
        at += size
    assert len(one.in_flight) <= 64


def check(urb: Urb, answer: bytes) -> None:
    """A RET_SUBMIT is as long as it says, and says no more than was asked; a RET_UNLINK may follow."""
    reply = unpack_reply(answer[:HEADER_SIZE])
    assert isinstance(reply, RetSubmit)
    assert reply.seqnum == urb.number
    assert reply.actual_length <= urb.length
    tail = len(urb.packets) * ISO_PACKET.size + (reply.actual_length if urb.is_in else 0)
    assert len(answer) - HEADER_SIZE - tail in (0, HEADER_SIZE)


def record(random: Random, data: bytes) -> None:
    """Capture what the input submits, and completions that say anything at all."""
    capture = pcapng.Capture(3, 7, snaplen=4096)
    for event in Stream(DEVID, TYPES.get).feed(data):
        if isinstance(event, Urb):
            kind = TYPES.get(event.endpoint, TransferType.BULK)
            for block in (
                capture.submit(event, kind, 1 << 60),
                capture.complete(event, finish(random, event), kind, 1 << 60),
            ):
                assert len(block) % 4 == 0
                assert len(block) < 4096 + 40
                assert block[4:8] == block[-4:] == len(block).to_bytes(4, "little")


def finish(random: Random, urb: Urb) -> Completion:
    data = random.randbytes(random.randrange(40))
    packets = tuple(
        IsoPacket(random.randrange(99), random.randrange(99), random.randrange(20))
        for _ in range(random.choice((0, len(urb.packets), 9)))
    )
    return Completion(
        urb.number, random.choice((0, 0, -32, -19)), random.choice((0, urb.length, 99)), data, packets
    )


async def fuzz_server(
    count: int, seed: int, at_once: int = 32, first: int = 0, note: Note = lambda _: None
) -> Tally:
    """`count` connections to a server on loopback, which must be as before when they are gone."""
    tally, shelf = Tally(), Shelf()
    async with serving(shelf, Limits(connections=64, connections_per_peer=64)) as at:
        drain = asyncio.create_task(hang_up(shelf))
        await well(at)
        idle = held()
        while tally.inputs < count:
            begin = first + tally.inputs
            volley = range(begin, min(begin + at_once, first + count))
            answers = await asyncio.gather(*(fire(Random(seed << 64 | n), at) for n in volley))
            tally.inputs += len(volley)
            tally.rejected += answers.count(b"")
            note(tally)
        await well(at)
        async with asyncio.timeout(10):
            while held() != idle:  # noqa: ASYNC110 - nothing tells when the server saw the last client hang up
                await asyncio.sleep(0.01)
        drain.cancel()
    return tally


def held() -> tuple[int, int]:
    """Tasks and descriptors of this process."""
    return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))


async def hang_up(shelf: Shelf) -> None:
    """End each session as soon as it begins."""
    while True:
        (await shelf.sessions.get()).close()


async def well(at: tuple[str, int]) -> None:
    assert await ask(at, handshake.list_request()) == handshake.list_reply([KEYBOARD]), "no list any more"


async def fire(random: Random, at: tuple[str, int]) -> bytes:
    """One hostile connection: say something in pieces, then hang up politely or not."""
    loop, data = asyncio.get_running_loop(), invent(random, REQUESTS) + random.choice((b"", *SESSIONS))
    half = random.randrange(len(data) + 1)
    polite = random.random() < 0.8
    with closing(await connect(at)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", not polite, 0))
        try:
            await loop.sock_sendall(sock, data[:half])
            await loop.sock_sendall(sock, data[half:])
            if not polite:
                return b""
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return await read_to_end(sock)


def serve(seed: int, numbers: range, note: Note) -> Tally:
    """A server that is not as before is one crash: which connection did it only fewer of them can tell."""
    try:
        return asyncio.run(fuzz_server(len(numbers), seed, first=numbers.start, note=note))
    except Exception as error:
        print(f"usbip-server: {error!r}\n  seed {seed}, connections {numbers}", file=sys.stderr)
        return Tally(len(numbers), crashes=1)


def fuzz(count: int, seed: int) -> Tally:
    """The parsers, each with its part of `count`."""
    part = range(count // len(PARSERS))
    tallies = [target.run(seed, part, lambda _: None) for target in PARSERS]
    return Tally(*(sum(getattr(tally, name) for tally in tallies) for name in Tally.__slots__))


SHORT = (TwinhubError, EOFError)
PARSERS = (
    parser("usbip-request", lambda r: invent(r, REQUESTS), lambda _, d: talk(handshake.request(), d), SHORT),
    parser("usbip-list", lambda r: invent(r, LISTS), lambda _, d: talk(handshake.listing(), d), SHORT),
    parser(
        "usbip-import",
        lambda r: invent(r, IMPORTS),
        lambda _, d: talk(handshake.importing("keyboard"), d),
        SHORT,
    ),
    parser("usbip-stream", lambda r: invent(r, SESSIONS), converse),
)
TARGETS = (
    *PARSERS,
    Target("usbip-server", serve, share=20),
    parser("pcapng", lambda r: invent(r, SESSIONS), record),
)
