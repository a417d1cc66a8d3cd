"""The server's shell: connections in, handshakes answered, sockets of imported devices handed on.

A `Server` knows no device: a `Directory` says what there is and who may have it. Everything that a stranger
can make it hold is bounded by `Limits`: sockets, seconds and, as no handshake reads beyond 40 bytes, memory.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol, TypeVar

from appliance.errors import PeerError, Timeout, TwinhubError, Unavailable
from appliance.usbip.handshake import (
    Devlist,
    Import,
    complete_async,
    failure,
    import_reply,
    list_reply,
    request,
)
from appliance.usbip.tcp import prepare
from appliance.usbip.wire import PORT, DeviceRecord

log = logging.getLogger(__name__)
T = TypeVar("T")

Address = IPv4Address | IPv6Address
"""Of a peer; an IPv4 client of a dual-stack socket is its IPv4 address."""

BACKLOG: Final = 128
OUT_OF_RESOURCES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
ACCEPT_PAUSE: Final = 0.5
"""Seconds until accepting is tried again after the process ran out of descriptors."""


class Grant(Protocol):
    """An export that was opened for one client."""

    @property
    def record(self) -> DeviceRecord: ...

    async def start(self, sock: socket.socket) -> None:
        """The session begins on this blocking TCP socket, which is the grant's from now on. If this raises,
        the server closes it."""

    def cancel(self) -> None:
        """The client went away before the session began."""


class Directory(Protocol):
    """What is shared, and with whom."""

    def admit(self, peer: Address) -> bool:
        """False: nothing here is for this peer; its connection is closed unheard."""

    def list(self, peer: Address) -> Sequence[DeviceRecord]: ...

    async def open(self, name: str, peer: Address) -> Grant:
        """Raises a TwinhubError, whose `usbip_status` is the answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What strangers can hold, all together and each."""

    request_seconds: float = 5.0
    """from accept until the whole request is there"""
    answer_seconds: float = 10.0
    """from then until the client has its answer, or the session has begun"""
    connections: int = 128
    """in their handshake at once; a further one is closed"""
    connections_per_peer: int = 16


def listen(host: str, port: int = PORT) -> list[socket.socket]:
    """Listening sockets on every address of `host`. Raises Unavailable."""
    listeners: list[socket.socket] = []
    try:
        for family, *_, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            listeners.append(socket.create_server((address[0], port), family=family, backlog=BACKLOG))
    except (OSError, UnicodeError) as error:
        for listener in listeners:
            listener.close()
        raise Unavailable(
            f"cannot listen on {host} port {port}: {error}. If another USB/IP server (usbipd) runs, stop it"
        ) from error
    return listeners


class Server:
    def __init__(self, directory: Directory, limits: Limits | None = None) -> None:
        self._directory = directory
        self._limits = limits or Limits()
        self._connections: Counter[Address] = Counter()

    async def serve_on(self, listeners: Sequence[socket.socket]) -> None:
        """Serves until cancelled; then the listeners and all connections in their handshake are closed.

        The listeners may be ready-made (systemd). Sessions that have begun are not the server's.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for listener in listeners:
                    listener.setblocking(False)
                    tasks.create_task(self._accept(listener, tasks))
        finally:
            for listener in listeners:
                listener.close()

    async def _accept(self, listener: socket.socket, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in OUT_OF_RESOURCES:
                    raise
                log.error("cannot accept a connection: %s", error)
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            peer = _peer(address[0])
            if self._is_welcome(peer):
                self._connections[peer] += 1
                # A callback, for a task that is cancelled before its first step runs no `finally`.
                tasks.create_task(self._attend(sock, peer)).add_done_callback(partial(self._part, sock, peer))
            else:
                sock.close()

    def _is_welcome(self, peer: Address) -> bool:
        return (
            self._connections.total() < self._limits.connections
            and self._connections[peer] < self._limits.connections_per_peer
            and self._directory.admit(peer)
        )

    async def _attend(self, sock: socket.socket, peer: Address) -> None:
        try:
            await self._converse(sock, peer)
        except (TwinhubError, OSError) as error:
            log.info("%s: %s", peer, error)
        except Exception:
            # A stranger's request found a bug of ours; that must not end the service for all others.
            log.exception("%s: the connection failed", peer)

    def _part(self, sock: socket.socket, peer: Address, _: asyncio.Task[None]) -> None:
        sock.close()
        self._connections -= Counter([peer])

    async def _converse(self, sock: socket.socket, peer: Address) -> None:
        prepare(sock)
        asked = await _within(
            self._limits.request_seconds,
            complete_async(request(), partial(_receive, sock)),
            Timeout("sent no whole request in time"),
        )
        if isinstance(asked, Devlist):
            await self._list(sock, asked, peer)
        else:
            await self._import(sock, asked, peer)

    async def _list(self, sock: socket.socket, asked: Devlist, peer: Address) -> None:
        async with self._failure_told(sock, asked):
            reply = list_reply(self._directory.list(peer))
        await self._send(sock, reply)

    async def _import(self, sock: socket.socket, asked: Import, peer: Address) -> None:
        async with self._failure_told(sock, asked):
            grant = await _within(
                self._limits.answer_seconds,
                self._directory.open(asked.busid, peer),
                Unavailable(f"opening {asked.busid!r} took too long"),
            )
        try:
            await self._send(sock, import_reply(grant.record))
        except BaseException:
            grant.cancel()
            raise
        await self._hand_over(sock, grant)

    @asynccontextmanager
    async def _failure_told(self, sock: socket.socket, asked: Devlist | Import) -> AsyncIterator[None]:
        """Whatever the directory raises reaches the client as a status: it must not wait in vain."""
        try:
            yield
        except Exception as error:
            known = error if isinstance(error, TwinhubError) else TwinhubError()
            await self._send(sock, failure(asked, known))
            raise

    async def _send(self, sock: socket.socket, reply: bytes) -> None:
        await _within(
            self._limits.answer_seconds,
            asyncio.get_running_loop().sock_sendall(sock, reply),
            Timeout("does not take its answer"),
        )

    async def _hand_over(self, sock: socket.socket, grant: Grant) -> None:
        session = socket.socket(fileno=sock.detach())
        session.setblocking(True)
        try:
            await _within(
                self._limits.answer_seconds,
                grant.start(session),
                Unavailable("the session did not start in time"),
            )
        except BaseException:
            session.close()
            raise


async def _receive(sock: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes and not one more: what follows is for the session."""
    loop, parts = asyncio.get_running_loop(), b""
    while len(parts) < count:
        part = await loop.sock_recv(sock, count - len(parts))
        if not part:
            raise PeerError("hung up before its request was whole")
        parts += part
    return parts


async def _within(seconds: float, work: Awaitable[T], otherwise: TwinhubError) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise otherwise from None


def _peer(host: str) -> Address:
    address = ip_address(host)
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
