"""The pair port: every connection begins with one line in clear that says what it is for.

`twinhub-pair link`, `twinhub-pair enrol` or `twinhub-pair stream TOKEN`. The line only routes: what comes
after it proves itself, and a stranger's line reaches nothing that does not ask for that proof.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Final

from appliance.errors import PeerError, ProtocolError, TwinhubError, Unavailable
from appliance.exports.keys import Network
from appliance.usbip.tcp import prepare

log = logging.getLogger(__name__)

LINE: Final = re.compile(rb"twinhub-pair (link|enrol|stream) ?([0-9a-f]{0,64})\n")
LONGEST: Final = 96
PATIENCE: Final = 5.0
"""Seconds for a stranger to say what it wants, and for a dialled appliance to be there."""
STRANGERS: Final = 32
STRANGERS_PER_HOST: Final = 8

Taker = Callable[[socket.socket, str], Awaitable[None]]
"""Who a kind of connection is for: its socket, which is the taker's from now on, and what came with the kind.
While this runs, the connection counts as a stranger's."""


def line_of(kind: str, argument: str = "") -> bytes:
    return f"twinhub-pair {kind} {argument}".rstrip().encode() + b"\n"


def parse_line(line: bytes) -> tuple[str, str]:
    """Kind and argument. ProtocolError for anything else."""
    found = LINE.fullmatch(line)
    if not found:
        raise ProtocolError("this is the port of an appliance's pair; here only its sibling has business")
    return found[1].decode(), found[2].decode()


async def receive_line(sock: socket.socket) -> bytes:
    """Up to the first newline and not one byte further: what follows may be for another process."""
    loop, line = asyncio.get_running_loop(), b""
    while not line.endswith(b"\n"):
        byte = await loop.sock_recv(sock, 1)
        if not byte or len(line) == LONGEST:
            raise ProtocolError("hung up, or went on too long, before it said what it wants")
        line += byte
    return line


async def dial(host: str, port: int, kind: str, argument: str = "") -> socket.socket:
    """A connection of this kind to the appliance there. PeerError if it is not to be had."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(PATIENCE):
            ((family, *_, address), *_) = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                prepare(sock)
                await loop.sock_connect(sock, address)
                await loop.sock_sendall(sock, line_of(kind, argument))
            except BaseException:
                sock.close()
                raise
            return sock
    except TimeoutError:
        raise PeerError(f"{host} port {port} does not answer") from None
    except (OSError, UnicodeError) as error:
        raise PeerError(f"cannot reach {host} port {port}: {error}") from None


def listen(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Unavailable where that cannot be done."""
    listeners: list[socket.socket] = []
    try:
        for host in addresses:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listeners.append(socket.create_server((host, port), family=family))
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise Unavailable(f"cannot listen on {host} port {port} for the sibling: {error}") from error
    return listeners


class Port:
    def __init__(self, takers: Mapping[str, Taker], allow: Sequence[Network] = ()) -> None:
        """`allow`: from where; nothing: from anywhere."""
        self._takers, self._allow = takers, allow
        self._strangers: Counter[str] = Counter()

    async def serve_on(self, listeners: Sequence[socket.socket]) -> None:
        """Until cancelled; then the listeners and all that has not been taken are closed."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for listener in listeners:
                    listener.setblocking(False)
                    tasks.create_task(self._accept(listener, tasks))
        finally:
            for listener in listeners:
                listener.close()

    async def _accept(self, listener: socket.socket, tasks: asyncio.TaskGroup) -> None:
        while True:
            await arrival(listener)
            try:
                sock, address = listener.accept()
            except OSError as error:  # gone again, or out of descriptors: later ones may do better
                log.info("cannot accept a connection on the pair port: %s", error)
                await asyncio.sleep(0.1)
                continue
            host = plain_host(address[0])
            if self._may_stay(host):
                sock.setblocking(False)
                self._strangers[host] += 1
                gone = partial(self._part, sock, host)
                tasks.create_task(self._attend(sock, host)).add_done_callback(gone)
            else:
                sock.close()

    def _may_stay(self, host: str) -> bool:
        return (
            self._strangers.total() < STRANGERS
            and self._strangers[host] < STRANGERS_PER_HOST
            and (not self._allow or any(ip_address(host) in network for network in self._allow))
        )

    async def _attend(self, sock: socket.socket, host: str) -> None:
        try:
            prepare(sock)
            async with asyncio.timeout(PATIENCE):
                kind, argument = parse_line(await receive_line(sock))
            await self._takers[kind](socket.socket(fileno=sock.detach()), argument)
        except (TwinhubError, OSError) as error:
            log.info("on the pair port, %s: %s", host, error or type(error).__name__)
        except Exception:
            log.exception("on the pair port, the connection of %s failed", host)

    def _part(self, sock: socket.socket, host: str, _: asyncio.Task[None]) -> None:
        sock.close()
        self._strangers -= Counter([host])


async def arrival(listener: socket.socket) -> None:
    """Returns when there is somebody to accept: `loop.sock_accept` loses whom it has when it is cancelled."""
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    loop.add_reader(listener, there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(listener)


def plain_host(host: str) -> str:
    """An IPv4 client of a dual-stack socket is its IPv4 address; a zone is no part of an address."""
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
