"""A device behind a fake stub, and the helper that hands sockets over to it."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress

from appliance.errors import DeviceFailed
from tests.unit.sessions.pdus import ANSWER, COMMAND, answer, submit, unlinked

TIMEOUT = 10.0


def pattern(seqnum: int, length: int) -> bytes:
    """What the fake device answers to an IN: different for every URB, no period that divides a buffer."""
    return (b"%07d" % seqnum * (length // 7 + 1))[:length]


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, fewer only at the end."""
    data = bytearray()
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return bytes(data)


class FakeDevice(threading.Thread):
    """The stub and its device: answers IN with `pattern`, takes OUT, parks interrupt IN 3 until unlinked."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(name="fake device")
        self.sock = sock
        self.taken: list[bytes] = []
        self.parked: set[int] = set()
        self.start()

    def run(self) -> None:
        with self.sock, suppress(BrokenPipeError, ConnectionResetError):
            while len(header := receive(self.sock, COMMAND.size)) == COMMAND.size:
                self.reply(*COMMAND.unpack(header)[:7])

    def reply(
        self, command: int, seqnum: int, _: int, direction: int, ep: int, flags: int, length: int
    ) -> None:
        if command == 2:
            status = -104 if flags in self.parked else 0
            self.parked.discard(flags)
            self.sock.sendall(unlinked(seqnum, status))
        elif direction and ep == 3:
            self.parked.add(seqnum)
        elif direction:
            self.sock.sendall(answer(seqnum, pattern(seqnum, length)))
        else:
            self.taken.append(receive(self.sock, length))
            self.sock.sendall(answer(seqnum, actual=length))

    def unplug(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)


class FakeHelper:
    """Stands for the kernel: every hand-over plugs a FakeDevice into the socket."""

    def __init__(self) -> None:
        self.devices: list[FakeDevice] = []
        self.ended: list[str] = []
        self.fails = False

    async def hand_over(self, busid: str, fd: int) -> None:
        if self.fails:
            raise DeviceFailed(f"{busid} is in an error state")
        sock = socket.socket(fileno=os.dup(fd))
        sock.settimeout(None)
        self.devices.append(FakeDevice(sock))

    async def end(self, busid: str) -> None:
        self.ended.append(busid)

    async def bind(self, busid: str) -> None: ...

    async def unbind(self, busid: str) -> None: ...

    async def load_modules(self) -> None: ...

    async def status(self, busid: str) -> object:
        raise NotImplementedError


class Client:
    """The client's end: submits, and checks what comes back against `pattern`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.seqnum = sock, 0
        sock.settimeout(TIMEOUT)

    def submit_in(self, length: int, endpoint: int = 0x81) -> int:
        self.seqnum += 1
        self.sock.sendall(submit(self.seqnum, endpoint, length))
        return self.seqnum

    def expect_in(self, seqnum: int, length: int) -> None:
        got = receive(self.sock, 48 + length)
        assert got == answer(seqnum, pattern(seqnum, length))

    def read(self, length: int) -> None:
        self.expect_in(self.submit_in(length), length)

    def write(self, data: bytes) -> None:
        self.seqnum += 1
        self.sock.sendall(submit(self.seqnum, 0x02, data=data))
        assert receive(self.sock, 48) == answer(self.seqnum, actual=len(data))

    def hung_up(self) -> bool:
        """Waits for the server to close."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


def control(client: Client, setup: str, length: int) -> bytes:
    """A control IN transfer; returns its data."""
    client.seqnum += 1
    client.sock.sendall(submit(client.seqnum, 0x80, length, setup=bytes.fromhex(setup)))
    header = receive(client.sock, 48)
    _, seqnum, _, _, _, status, actual, *_ = ANSWER.unpack(header)
    assert (seqnum, status) == (client.seqnum, 0)
    return receive(client.sock, actual)
