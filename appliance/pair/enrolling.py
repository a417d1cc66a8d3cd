"""The shell around `enrol.py`: JSON lines on a connection to the pair port, until both know each other."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from appliance.errors import PeerError, ProtocolError, Timeout, TwinhubError, describe
from appliance.pair.enrol import About, Dialler, Listener, Message
from appliance.pair.port import dial, plain_host
from appliance.security.sibling import Sibling

LONGEST: Final = 16 << 10
PATIENCE: Final = 10.0
"""Seconds for the whole of it."""


class Talk:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def say(self, message: Message) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")
        await self._writer.drain()

    async def hear(self) -> Message:
        try:
            said = json.loads(await self._reader.readuntil(b"\n"))
        except asyncio.IncompleteReadError:
            raise PeerError("the other appliance hung up; its log says why") from None
        except (ValueError, RecursionError, asyncio.LimitOverrunError):
            raise ProtocolError("what answers there is no appliance that pairs") from None
        if not isinstance(said, dict):
            raise ProtocolError("what answers there is no appliance that pairs")
        return said


@asynccontextmanager
async def talking(sock: socket.socket) -> AsyncIterator[Talk]:
    reader, writer = await asyncio.open_connection(sock=sock, limit=LONGEST)
    try:
        async with asyncio.timeout(PATIENCE):
            yield Talk(reader, writer)
    except TimeoutError:
        raise Timeout("the other appliance did not answer in time") from None
    except OSError as error:
        raise PeerError(f"the connection to the other appliance broke: {error}") from None
    finally:
        writer.close()


async def join(host: str, port: int, code: bytes, about: About) -> Sibling:
    """Enrols with the appliance that shows `code`. Refused with what it says; Timeout, PeerError."""
    sock = await dial(host, port, "enrol")
    address = plain_host(
        sock.getpeername()[0]
    )  # names may lead elsewhere tomorrow, and keepalived takes none
    async with talking(sock) as talk:
        run = Dialler(code, about)
        await talk.say(run.open())
        await talk.say(run.prove(await talk.hear()))
        return run.conclude(await talk.hear(), address, port)


async def answer(sock: socket.socket, begin: Callable[[], Listener], pin: Callable[[Sibling], None]) -> None:
    """Enrols one that dialled; `begin` may refuse, and `pin` is called before the other one is told that all
    is well. What goes wrong the other one is told, and it is raised."""
    host = plain_host(sock.getpeername()[0])
    async with talking(sock) as talk:
        try:
            opening = await talk.hear()
            run = begin()
            await talk.say(run.open(opening))
            last, sibling = run.conclude(await talk.hear(), host)
            pin(sibling)
            await talk.say(last)
        except TwinhubError as error:
            await talk.say(describe(error))
            raise
