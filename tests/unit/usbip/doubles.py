"""What the tests of USB/IP share: a directory with a keyboard in it, a running server, a raw client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field

from appliance.errors import NotFound
from appliance.usbip.server import Address, Limits, Server, listen
from appliance.usbip.stream import Stream
from appliance.usbip.wire import DeviceRecord, InterfaceRecord
from gadgets.usb.urb import Completion, Speed

KEYBOARD = DeviceRecord(
    path="/sys/devices/pci0000:00/0000:00:01.0/usb1/1-1",
    busid="keyboard",
    busnum=1,
    devnum=2,
    speed=Speed.FULL,
    vendor_id=0x0627,
    product_id=0x0001,
    bcd_device=0x0100,
    device_class=0,
    subclass=0,
    protocol=0,
    configuration_value=1,
    num_configurations=1,
    interfaces=(InterfaceRecord(3, 1, 1),),
)


@dataclass
class Shelf:
    """A directory that gives the keyboard to everyone, or fails as it is told to."""

    failure: Exception | None = None
    start_failure: Exception | None = None
    admits: bool = True
    opening: asyncio.Event | None = None
    """An `open` waits for it."""
    records: tuple[DeviceRecord, ...] = (KEYBOARD,)
    peers: list[Address] = field(default_factory=list)
    sessions: asyncio.Queue[socket.socket] = field(default_factory=asyncio.Queue)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def admit(self, peer: Address) -> bool:
        self.peers.append(peer)
        return self.admits

    def list(self, peer: Address) -> tuple[DeviceRecord, ...]:
        if self.failure:
            raise self.failure
        return self.records

    async def open(self, name: str, peer: Address) -> Loan:
        if self.opening:
            await self.opening.wait()
        if self.failure:
            raise self.failure
        for record in self.records:
            if record.busid == name:
                return Loan(record, self)
        raise NotFound(f"no export {name!r}")


@dataclass
class Loan:
    record: DeviceRecord
    shelf: Shelf

    async def start(self, sock: socket.socket) -> None:
        if self.shelf.start_failure:
            raise self.shelf.start_failure
        self.shelf.sessions.put_nowait(sock)

    def cancel(self) -> None:
        self.shelf.cancelled.set()


@asynccontextmanager
async def serving(
    shelf: Shelf, limits: Limits | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[str, int]]:
    """The address of a server that runs; afterwards it and the sessions nobody took are closed."""
    listeners = listen(host, 0)
    at = listeners[0].getsockname()[:2]
    running = asyncio.create_task(Server(shelf, limits).serve_on(listeners))
    try:
        yield at
    finally:
        running.cancel()
        await asyncio.wait([running])
        while not shelf.sessions.empty():
            shelf.sessions.get_nowait().close()
        if not running.cancelled():
            running.result()


async def ask(at: tuple[str, int], sent: bytes) -> bytes:
    """All that the server says to these bytes until it hangs up."""
    with closing(await connect(at)) as sock:
        await asyncio.get_running_loop().sock_sendall(sock, sent)
        return await read_to_end(sock)


async def connect(at: tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in at[0] else socket.AF_INET)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, at)
    except OSError:
        sock.close()
        raise
    return sock


async def read_to_end(sock: socket.socket) -> bytes:
    loop, heard = asyncio.get_running_loop(), b""
    try:
        while part := await loop.sock_recv(sock, 65536):
            heard += part
    except ConnectionResetError:
        pass
    return heard


def whole(stream: Stream, done: Completion) -> bytes:
    """The answer in one piece."""
    return b"".join(stream.answer(done))
