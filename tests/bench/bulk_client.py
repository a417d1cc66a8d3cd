"""A client that is a program and not a kernel: the same for every server that is measured with it."""

from __future__ import annotations

import socket
import time
from struct import Struct
from typing import Final

COMMAND: Final = Struct(">IIIIIIiiii8s")
ANSWER: Final = Struct(">IIIIIiiiii8x")
CBW: Final = Struct("<4sIIBBB16s")
READ_10: Final = Struct(">BBIBHB6x")
BLOCK: Final = 512


class BulkClient:
    """Submits URBs on an imported device's socket and waits for each."""

    def __init__(self, sock: socket.socket, devid: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.devid, self.seqnum = sock, devid, 0
        self.buffer = memoryview(bytearray((16 << 20) + ANSWER.size))

    def submit(self, endpoint: int, length: int, data: bytes = b"", setup: bytes = b"") -> None:
        """`endpoint`: its address, so 0x81 is IN 1."""
        self.seqnum += 1
        direction = endpoint >> 7
        header = COMMAND.pack(1, self.seqnum, self.devid, direction, endpoint & 15, 0, length, 0, 0, 0, setup)
        self.sock.sendall(header + data)

    def finish(self, inbound: bool) -> memoryview:
        """The data of the next answer; RuntimeError for a status that is none of success."""
        self._receive(0, ANSWER.size)
        _, seqnum, *_, status, actual, _, _, _ = ANSWER.unpack_from(self.buffer)
        if status:
            raise RuntimeError(f"URB {seqnum} ended with {status}")
        if inbound:
            self._receive(ANSWER.size, actual)
        return self.buffer[ANSWER.size : ANSWER.size + actual]

    def _receive(self, at: int, left: int) -> None:
        while left:
            count = self.sock.recv_into(self.buffer[at:], left)
            if not count:
                raise ConnectionError("the server hung up")
            at, left = at + count, left - count

    def transfer(self, endpoint: int, length: int, data: bytes = b"", setup: bytes = b"") -> memoryview:
        self.submit(endpoint, length, data, setup)
        return self.finish(bool(endpoint & 0x80))

    def configure(self) -> None:
        self.transfer(0x00, 0, setup=bytes.fromhex("0009010000000000"))

    def ask_ready(self, bulk_in: int, bulk_out: int) -> None:
        """TEST UNIT READY until it is: a disk tells of its reset first."""
        passed = False
        while not passed:
            self.transfer(bulk_out, 31, CBW.pack(b"USBC", 0, 0, 0, 0, 6, bytes(16)))
            passed = not self.transfer(bulk_in, 13)[12]

    def read_disk(self, bulk_in: int, bulk_out: int, block: int, count: int) -> memoryview:
        """READ(10) in its three URBs."""
        length = count * BLOCK
        command = READ_10.pack(0x28, 0, block, 0, count, 0)
        self.transfer(bulk_out, 31, CBW.pack(b"USBC", self.seqnum, length, 0x80, 0, 10, command))
        data = bytes(self.transfer(bulk_in, length))
        if self.transfer(bulk_in, 13)[12]:
            raise RuntimeError("the read failed")
        return memoryview(data)


def microseconds_a_urb(client: BulkClient, bulk_in: int, bulk_out: int, reads: int) -> float:
    """Of 4 KiB reads all over a 64 MiB disk."""
    client.ask_ready(bulk_in, bulk_out)
    began = time.perf_counter()
    for number in range(reads):
        client.read_disk(bulk_in, bulk_out, number * 7919 % 16384 * 8, 8)
    return (time.perf_counter() - began) / reads / 3 * 1e6


def megabytes_a_second(client: BulkClient, bulk_in: int, length: int, total: int, in_flight: int) -> float:
    """Of a bulk source that never runs dry, with so many URBs always in flight."""
    began = time.perf_counter()
    for _ in range(in_flight):
        client.submit(bulk_in, length)
    for _ in range(total // length - in_flight):
        client.finish(True)
        client.submit(bulk_in, length)
    for _ in range(in_flight):
        client.finish(True)
    return total / (time.perf_counter() - began) / 1e6
