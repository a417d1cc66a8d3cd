"""The selector `witness:HOST:PORT`."""

from __future__ import annotations

import asyncio
import secrets
import socket
from dataclasses import dataclass
from typing import Final

from appliance.errors import PeerError, Timeout, Unavailable
from appliance.pair.model import Standing
from appliance.pair.selector.asking import Asking
from appliance.pair.selector.register import Refused, Request
from appliance.pair.selector.spec import Spec, host_and_port
from appliance.pair.selector.witness import wire

ANSWER_SECONDS: Final = 1.0
"""For connecting and for each answer; a takeover waits no longer for a witness that is away."""


def open_spec(spec: Spec) -> WitnessSelector:
    host, port = host_and_port(spec.place, wire.PORT)
    return WitnessSelector(host, port, spec.group, spec.key())


class WitnessSelector(Asking):
    """A group's register at a witness. Atomic; it switches nothing: lease and output commit silence an owner.

    Keeps one connection, and makes another when that broke.
    """

    atomic: Final = True

    def __init__(self, host: str, port: int, group: str, key: bytes, seconds: float = ANSWER_SECONDS) -> None:
        self.lease = 0.0
        self._host, self._port, self._group = host, port, group
        self._key, self._seconds = key, seconds
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None

    async def ask(self, request: Request) -> Standing:
        async with self._lock:
            try:
                async with asyncio.timeout(self._seconds):
                    connection = await self._connected()
                    told = await connection.ask(wire.write_request(self._group, request))
            except TimeoutError as error:
                self._drop()
                raise Timeout(f"{self._place} did not answer within {self._seconds:g} s") from error
            except asyncio.IncompleteReadError as error:
                self._drop()
                hint = "" if self.lease else "; is the key the same on both ends?"
                raise PeerError(f"{self._place} hung up{hint}") from error
            except OSError as error:
                self._drop()
                why = error.strerror or str(error)
                raise Unavailable(
                    f"{self._place} cannot be reached: {why}; does `twinhub witness` run there?"
                ) from error
            except BaseException:
                # Cancelled, or nonsense was said: the answer may come later, and belongs to no other request.
                self._drop()
                raise
        answer = wire.read_answer(told)
        self.lease = answer.lease
        if answer.refused:
            raise Refused(answer.standing)
        return answer.standing

    async def close(self) -> None:
        self._drop()

    @property
    def _place(self) -> str:
        return f"the witness at {self._host} port {self._port}"

    def _drop(self) -> None:
        if self._connection:
            self._connection.writer.transport.abort()
        self._connection = None

    async def _connected(self) -> Connection:
        if self._connection and self._connection.reader.at_eof():
            self._drop()
        if not self._connection:
            self._connection = await self._connect()
        return self._connection

    async def _connect(self) -> Connection:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=wire.LINE_LIMIT)
        try:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            theirs = wire.read_greeting(await reader.readuntil(b"\n"))
            ours = secrets.token_bytes(wire.NONCE)
            writer.write(wire.reply_to_greeting(ours))
        except BaseException:
            writer.transport.abort()
            raise
        key = wire.session_key(self._key, theirs, ours)
        return Connection(
            reader, writer, wire.Lines(key, wire.TO_WITNESS), wire.Lines(key, wire.FROM_WITNESS)
        )


@dataclass(frozen=True, slots=True)
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    asked: wire.Lines
    answered: wire.Lines

    async def ask(self, message: wire.Json) -> wire.Json:
        self.writer.write(self.asked.seal(message))
        return self.answered.open(await self.reader.readuntil(b"\n"))
