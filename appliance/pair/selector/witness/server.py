"""The witness' process: grants by register.py, to whoever has the key."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from appliance.errors import Busy, PeerError, TwinhubError, Unavailable
from appliance.pair.selector import store
from appliance.pair.selector.register import FREE, Op, Refused, Register, Request, apply
from appliance.pair.selector.witness import wire

MOST_GROUPS: Final = 1024
MOST_STRANGERS: Final = 64
"""Connections that have not shown the key; a further one is closed."""
MOST_FRIENDS: Final = 256
"""Those that have."""
STRANGER_SECONDS: Final = 5.0
"""Within which they have to."""
DEAD_MS: Final = 10_000
"""An appliance whose kernel does not acknowledge for so long has gone; its registers stay."""


@dataclass(frozen=True, slots=True)
class Settings:
    key: bytes
    state: Path
    lease: float = 5.0
    """seconds; longer than `lease` of any of its groups"""
    first_epoch: int = 0
    """of a group that it does not know"""


class Witness:
    """The registers, durable: an answer that changes one is given after it was written."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings, self._clock = settings, clock
        known = store.load(settings.state)
        self._registers = {
            group: Register(standing).restarted(clock(), settings.lease) for group, standing in known.items()
        }

    def answer(self, message: wire.Json) -> wire.Json:
        lease = self._settings.lease
        try:
            group, request = wire.read_request(message)
            return wire.write_standing(self._do(group, request).standing, lease)
        except Refused as refused:
            return wire.write_standing(refused.standing, lease, refused=True)
        except TwinhubError as error:
            return wire.write_error(error)

    def _do(self, group: str, request: Request) -> Register:
        """No await from reading the register to keeping the new one: requests are done in turn."""
        fresh = Register(replace(FREE, epoch=self._settings.first_epoch))
        before = self._registers.get(group, fresh)
        after = apply(before, request, self._clock(), self._settings.lease)
        if after.standing != before.standing:
            if group not in self._registers and len(self._registers) >= MOST_GROUPS:
                raise Busy(f"this witness has {MOST_GROUPS} groups, and takes no more; start another one")
            standings = {name: register.standing for name, register in self._registers.items()}
            store.save(self._settings.state, {**standings, group: after.standing})
        if request.op is not Op.LOOK:
            self._registers[group] = after
        return after


class Server:
    """Connections to a Witness."""

    def __init__(self, settings: Settings, clock: Callable[[], float] | None = None) -> None:
        self._key = settings.key
        self._witness = Witness(settings, clock or boottime)
        self._strangers, self._friends = 0, 0
        self._connections: set[asyncio.Task[None]] = set()

    async def serve_on(self, listeners: Sequence[socket.socket]) -> None:
        """Until cancelled; then listeners and connections are closed."""
        servers = [
            await asyncio.start_server(self._accepted, sock=sock, limit=wire.LINE_LIMIT) for sock in listeners
        ]
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for server in servers:
                server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._strangers >= MOST_STRANGERS:
            writer.close()
            return
        connection = asyncio.create_task(self._attend(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            _watch_over(writer.get_extra_info("socket"))
            await self._converse(reader, writer)
        except (PeerError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # whoever it was left, or has no key
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._strangers += 1
        try:
            async with asyncio.timeout(STRANGER_SECONDS):
                ours = secrets.token_bytes(wire.NONCE)
                writer.write(wire.greeting(ours))
                theirs = wire.read_nonce(wire.parse(await reader.readuntil(b"\n")))
                key = wire.session_key(self._key, ours, theirs)
                asked, answered = wire.Lines(key, wire.TO_WITNESS), wire.Lines(key, wire.FROM_WITNESS)
                message = asked.open(await reader.readuntil(b"\n"))
        finally:
            self._strangers -= 1
        if self._friends >= MOST_FRIENDS:
            return
        self._friends += 1
        try:
            while True:
                writer.write(answered.seal(self._witness.answer(message)))
                await writer.drain()
                message = asked.open(await reader.readuntil(b"\n"))
        finally:
            self._friends -= 1


def listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on every address of `host`. Raises Unavailable."""
    with ExitStack() as made:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            listeners = [
                made.enter_context(socket.create_server(address[:2], family=family))
                for family, *_, address in found
            ]
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"cannot listen on {host} port {port}: {error}") from error
        made.pop_all()
    return listeners


def boottime() -> float:
    """Seconds that also pass while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _watch_over(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_MS // 2000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, DEAD_MS // 10000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_MS)
