"""Connections from process to process: the daemons make them, gadgets' processes speak TLS on them.

Who is to receive offers a stream and tells the sibling its token, over the control link; the sibling dials
with it. Both ends are then passed on, raw, to the processes whose data it is (`hand_over`). The token is for
one connection and for a short time; it routes, and proves nothing: that does TLS inside.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from appliance.errors import ProtocolError, Unavailable
from appliance.pair import port
from appliance.sessions.link import Link as Worker

SECONDS: Final = 10.0
"""That an offer holds."""
MOST: Final = 1024
"""Offers at once."""


@dataclass(frozen=True, slots=True)
class Offer:
    what: str
    take: Callable[[socket.socket], None]
    """Gets the connection, blocking, as its own."""
    until: float


class Streams:
    def __init__(self, host: str, number: int, clock: Callable[[], float] | None = None) -> None:
        """`host` and port `number` are where the sibling listens."""
        self._host, self._number = host, number
        self._clock = clock or asyncio.get_running_loop().time
        self._offers: dict[str, Offer] = {}

    def offer(self, what: str, take: Callable[[socket.socket], None]) -> str:
        """The token with which the sibling may dial, once and soon. Unavailable if too many are open."""
        now = self._clock()
        self._offers = {token: each for token, each in self._offers.items() if each.until > now}
        if len(self._offers) >= MOST:
            raise Unavailable(f"{MOST} streams are waiting for the sibling to dial; try again in a moment")
        token = secrets.token_hex(16)
        self._offers[token] = Offer(what, take, now + SECONDS)
        return token

    async def dial(self, token: str) -> socket.socket:
        """The stream that the sibling offered; blocking, for another process. PeerError."""
        sock = await port.dial(self._host, self._number, "stream", token)
        sock.setblocking(True)
        return sock

    async def take(self, sock: socket.socket, token: str) -> None:
        """For the pair port. ProtocolError for a token that was not offered, or used, or is too old."""
        offer = self._offers.pop(token, None)
        if offer is None or offer.until <= self._clock():
            sock.close()
            raise ProtocolError("a stream that nobody waits for")
        sock.setblocking(True)
        offer.take(sock)


async def hand_over(worker: Worker, op: str, sock: socket.socket, **fields: Any) -> Any:
    """Passes the stream to a gadget's or session's process by `op` ("replicate", "follow"); its answer."""
    with sock:
        return await worker.ask(op, fds=(sock.fileno(),), **fields)
