"""What a relayed session costs: URBs over loopback TCP, through a worker and straight to the stub.

The client is this process, the stub an echo in a process of its own. `python -m tests.bench.relay_bench`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from typing import Final

from appliance.sessions.manager import Sessions
from appliance.sessions.state import SessionSpec

COMMAND: Final = Struct(">IIIIIIiiii8s")
ANSWER: Final = Struct(">IIIIIiiiii8x")
DESCRIPTORS: Final = bytes.fromhex(
    "120100020000004009120100000100000001"
    "09022000010100803209040000020806500007058102000200" + "07050202000200"
)
"""A mass storage device: bulk IN 1, bulk OUT 2."""
DEVID: Final = 0x1_0002
PING_PONG: Final = ((2, 0, 31), (1, 1, 4096), (1, 1, 13))
"""A read of 4 KiB in Bulk-Only Transport, as (endpoint, direction, length)."""
ROUNDS: Final = 5


def stub(sock: socket.socket) -> None:
    """Completes every URB at once, from this process; returns when the other end has closed."""
    zeros = memoryview(bytes((16 << 20) + ANSWER.size))
    buffer, sink = bytearray(COMMAND.size), bytearray(1 << 20)
    while sock.recv_into(buffer, COMMAND.size, socket.MSG_WAITALL) == COMMAND.size:
        _, seqnum, _, direction, _, _, length, *_ = COMMAND.unpack(buffer)
        if not direction:
            sock.recv_into(sink, length, socket.MSG_WAITALL)
        answer = ANSWER.pack(3, seqnum, 0, 0, 0, 0, length, 0, 0, 0)
        sock.sendmsg([answer, zeros[: length * direction]])


class Client:
    """Submits one URB after the other and waits for each."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.seqnum = sock, 0
        self.buffer = memoryview(bytearray((16 << 20) + ANSWER.size))

    def transfer(self, endpoint: int, direction: int, length: int) -> None:
        self.seqnum += 1
        header = COMMAND.pack(1, self.seqnum, DEVID, direction, endpoint, 0, length, 0, 0, 0, b"")
        self.sock.sendall(header if direction else header + bytes(length))
        left = ANSWER.size + length * direction
        while left:
            left -= self.sock.recv_into(self.buffer, left)

    def microseconds_a_urb(self, count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            for urb in PING_PONG:
                self.transfer(*urb)
        return (time.perf_counter() - began) / count / len(PING_PONG) * 1e6

    def megabytes_a_second(self, length: int, total: int) -> float:
        began = time.perf_counter()
        for _ in range(total // length):
            self.transfer(1, 1, length)
        return total / (time.perf_counter() - began) / 1e6


class ForkedStub:
    """A Helper whose device is an echo in a forked process."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    async def hand_over(self, busid: str, fd: int) -> None:
        if pid := os.fork():
            self.pids.append(pid)
            return
        kept = os.dup(fd)
        os.closerange(3, kept)
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
        stub(socket.socket(fileno=kept))
        os._exit(0)

    async def end(self, busid: str) -> None:
        """Its sockets' closing ends it."""


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    for sock in (client, accepted):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, accepted


@contextmanager
def both() -> Iterator[tuple[Client, Client, Sessions]]:
    """A client straight at a stub, and one whose session is relayed."""
    helper = ForkedStub()
    with tempfile.TemporaryDirectory() as runtime, asyncio.Runner() as runner:
        straight, accepted = tcp_pair()
        runner.run(helper.hand_over("", accepted.fileno()))
        accepted.close()
        relayed, accepted = tcp_pair()
        sessions = Sessions(Path(runtime), helper, lambda spec, reason: None)  # type: ignore[arg-type]
        spec = SessionSpec(
            "bench", "disk", "relayed", "here", 0.0, "1-1", DEVID, descriptors=DESCRIPTORS, configuration=1
        )
        runner.run(sessions.start(spec, accepted))
        with straight, relayed:
            yield Client(straight), Client(relayed), sessions
            runner.run(sessions.close(leave=False))
    for pid in helper.pids:
        os.waitpid(pid, 0)


def compare(measure: Callable[[Client], float], straight: Client, relayed: Client) -> tuple[float, float]:
    """The medians of rounds that alternate, so that a busy machine hits both alike."""
    rounds = [(measure(straight), measure(relayed)) for _ in range(ROUNDS)]
    return statistics.median(s for s, _ in rounds), statistics.median(r for _, r in rounds)


def main() -> int:
    with both() as (straight, relayed, _):
        one, two = compare(lambda client: client.microseconds_a_urb(2000), straight, relayed)
        print(f"ping-pong: {one:.1f} µs a URB straight, {two:.1f} relayed: {two - one:.1f} added")
        for length in (128 << 10, 1 << 20):
            one, two = compare(lambda c, n=length: c.megabytes_a_second(n, 256 << 20), straight, relayed)
            print(f"IN {length >> 10} KiB: {one:.0f} MB/s straight, {two:.0f} relayed: ratio {two / one:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
