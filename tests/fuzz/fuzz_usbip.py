"""Fuzz USB/IP: `python -m tests.fuzz.fuzz_usbip --count N --seed S`, or with `--server` a running server.

Inputs are noise and mutations of valid sessions, all drawn from the seed. A parser may reject an input with
an error of ours; anything else that it raises, a read beyond the bounds or a growing memory is a crash.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from io import BytesIO
from random import Random
from typing import Any

from appliance.errors import Busy, TwinhubError
from appliance.usbip import handshake
from appliance.usbip.handshake import Handshake, Import, complete
from appliance.usbip.server import Limits
from appliance.usbip.stream import Stream
from appliance.usbip.wire import HEADER_SIZE, ISO_PACKET, RetSubmit, Submit, Unlink, pack_iso, unpack_reply
from gadgets.usb.urb import Completion, IsoPacket, TransferType, Urb
from tests.unit.usbip.doubles import KEYBOARD, Shelf, ask, connect, read_to_end, serving

DEVID = KEYBOARD.devid
TYPES = {
    0x81: TransferType.INTERRUPT,
    0x02: TransferType.BULK,
    0x83: TransferType.ISOCHRONOUS,
    0x04: TransferType.ISOCHRONOUS,
}
PACKETS = tuple(IsoPacket(n * 8, 8) for n in range(4))
GROWTH = 64 << 20
"""Bytes by which the process may grow over a run."""
LONGEST_READ = 4 * 255 + 312
"""No handshake asks for more at once."""
NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x3FF,
    0x400,
    0x401,
    0xFFFF,
    1 << 24,
    (1 << 24) + 1,
    1 << 31,
    (1 << 32) - 1,
)

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


def invent(random: Random, valid: tuple[bytes, ...]) -> bytes:
    """Noise, or a valid input with a few things done to it."""
    if random.random() < 0.1:
        return random.randbytes(random.randrange(400))
    data = bytearray(random.choice(valid))
    for _ in range(random.randrange(5)):
        random.choice(MUTATIONS)(random, data)
    return bytes(data)


def flip(random: Random, data: bytearray) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def number(random: Random, data: bytearray) -> None:
    at = random.randrange(0, len(data) + 1, 4)
    data[at : at + 4] = random.choice(NUMBERS).to_bytes(4, "big")


def cut(random: Random, data: bytearray) -> None:
    del data[random.randrange(len(data) + 1) :]


def drop(random: Random, data: bytearray) -> None:
    at = random.randrange(len(data) + 1)
    del data[at : at + random.randrange(1, 9)]


def double(random: Random, data: bytearray) -> None:
    data += data[random.randrange(len(data) + 1) :]


MUTATIONS = (flip, number, cut, drop, double)


def talk(steps: Handshake[Any], data: bytes) -> None:
    """Hand the input to a handshake; one that ends too early is the shell's to notice."""
    stream = BytesIO(data)

    def read(count: int) -> bytes:
        assert 0 < count <= LONGEST_READ, f"a handshake wants {count} bytes"
        if len(part := stream.read(count)) < count:
            raise EOFError
        return part

    try:
        complete(steps, read)
    except EOFError:
        pass


def converse(random: Random, data: bytes) -> None:
    """Feed the input in pieces to a session, whose device does anything at all; check every answer."""
    one, at = Stream(DEVID, TYPES.get, max_in_flight=64), 0
    while at < len(data):
        size = random.choice((1, 10, 48, 400))
        for event in one.feed(data[at : at + size]):
            if isinstance(event, Unlink):
                answer = one.unlinked(event, random.random() < 0.5)
                assert len(answer) in (0, HEADER_SIZE)
            elif random.random() < 0.7 and (answer := one.completion(finish(random, event))):
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


def finish(random: Random, urb: Urb) -> Completion:
    data = random.randbytes(random.randrange(40))
    packets = tuple(
        IsoPacket(random.randrange(99), random.randrange(99), random.randrange(20))
        for _ in range(random.choice((0, len(urb.packets), 9)))
    )
    return Completion(
        urb.number, random.choice((0, 0, -32, -19)), random.choice((0, urb.length, 99)), data, packets
    )


TARGETS: dict[str, tuple[tuple[bytes, ...], Callable[[Random, bytes], None]]] = {
    "request": (REQUESTS, lambda _, data: talk(handshake.request(), data)),
    "listing": (LISTS, lambda _, data: talk(handshake.listing(), data)),
    "importing": (IMPORTS, lambda _, data: talk(handshake.importing("keyboard"), data)),
    "stream": (SESSIONS, converse),
}


@dataclass
class Tally:
    inputs: int = 0
    rejected: int = 0
    crashes: int = 0

    def __str__(self) -> str:
        return f"{self.inputs} inputs, {self.rejected} rejected, {self.crashes} crashes"


def fuzz(count: int, seed: int) -> Tally:
    """`count` inputs against the parsers, one target after the other."""
    random, tally, before = Random(seed), Tally(), memory()
    targets = list(TARGETS.items())
    for turn in range(count):
        name, (valid, target) = targets[turn % len(targets)]
        data = invent(random, valid)
        tally.inputs += 1
        try:
            target(random, data)
        except TwinhubError:
            tally.rejected += 1
        except Exception as error:
            tally.crashes += 1
            print(f"crash of {name}: {error!r}\n  input {data.hex()}", file=sys.stderr)
    assert memory() - before < GROWTH, f"memory grew by {memory() - before} bytes"
    return tally


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def fuzz_server(count: int, seed: int, at_once: int = 32) -> Tally:
    """`count` connections to a server on loopback, which must be as before when they are gone."""
    random, tally, before, shelf = Random(seed), Tally(), memory(), Shelf()
    async with serving(shelf, Limits(connections=64, connections_per_peer=64)) as at:
        drain = asyncio.create_task(hang_up(shelf))
        await well(at)
        idle = held()
        while tally.inputs < count:
            volley = min(at_once, count - tally.inputs)
            answers = await asyncio.gather(*(fire(random, at) for _ in range(volley)))
            tally.inputs += volley
            tally.rejected += answers.count(b"")
        await well(at)
        async with asyncio.timeout(10):
            while held() != idle:  # noqa: ASYNC110 - nothing tells when the server saw the last client hang up
                await asyncio.sleep(0.01)
        assert memory() - before < GROWTH, f"memory grew by {memory() - before} bytes"
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="fuzz USB/IP")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server", action="store_true", help="fire at a running server, not at the parsers")
    options = parser.parse_args(arguments)
    if options.server:
        tally = asyncio.run(fuzz_server(options.count, options.seed))
    else:
        tally = fuzz(options.count, options.seed)
    print(tally)
    return 1 if tally.crashes else 0


if __name__ == "__main__":
    raise SystemExit(main())
