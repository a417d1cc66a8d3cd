"""The daemon's end of a worker's control socket, whose EOF tells that its session or gadget has ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from appliance.errors import PeerError, ProtocolError, Timeout, revive
from appliance.sessions.control import LINE_LIMIT, Lines, Message, encode
from appliance.sessions.state import SessionSpec

PATIENCE: Final = 2.0
"""Seconds in which a worker must answer."""
GADGET_PATIENCE: Final = 20.0
DIED: Final = "the worker died"
GADGETS: Final = "gadgets"
"""The directory of their control sockets, in the runtime directory."""


class Link:
    """A worker as the daemon sees it; `about` is what it describes. Made by `open`."""

    what: ClassVar[str]

    def __init__(self, path: Path, sock: socket.socket) -> None:
        self.path = path
        self.sock = sock
        self.about: Message = {}
        self.version = ""
        self.pid = 0
        self.reason = DIED
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[Message] | None = None
        self._late = 0
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: Path, patience: float = PATIENCE) -> Self:
        """Raises OSError when nobody listens there, PeerError when nobody answers, and what it answers."""
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(str(path))
            link = cls(path, sock)
            link._reader = asyncio.create_task(link._read(), name=str(link))
        except BaseException:
            sock.close()
            raise
        try:
            link.about = await link.ask("describe", patience=patience)
        except BaseException:
            await link.close()
            raise
        link.version, link.pid = link.about["version"], link.about["pid"]
        return link

    def __str__(self) -> str:
        return f"{self.what} {self.path.stem}"

    def when_over(self, callback: Callable[[Self], None]) -> None:
        """Called once, when the worker has closed its end; not when we close ours."""
        assert self._reader
        self._reader.add_done_callback(lambda task: None if task.cancelled() else callback(self))

    async def ask(self, op: str, fds: tuple[int, ...] = (), patience: float = PATIENCE, **fields: Any) -> Any:
        """The worker's answer; raises the TwinhubError that it answers with, or Timeout, or PeerError."""
        async with self._turn:
            self._answer = asyncio.get_running_loop().create_future()
            try:
                socket.send_fds(self.sock, [encode({"op": op, **fields})], list(fds))
                async with asyncio.timeout(patience):
                    answer = await self._answer
            except TimeoutError:
                self._late += 1
                raise Timeout(f"the worker of {self} does not answer") from None
            except OSError:
                raise PeerError(f"{self} has ended") from None
            finally:
                self._answer = None
        if "error" in answer:
            raise revive(answer)
        return answer["ok"]

    async def end(self, op: str, reason: str, told: str, patience: float = PATIENCE) -> None:
        """Asks it to end, by `op`; one that does not answer is killed. Returns when it is over."""
        try:
            await self.ask(op, patience=patience, reason=reason)
        except Timeout:
            self.reason = told
            os.kill(self.pid, signal.SIGKILL)
        except PeerError:
            pass  # it ended by itself meanwhile
        await self.over()

    async def over(self) -> None:
        """Returns when the worker has closed its end."""
        assert self._reader
        await asyncio.wait((self._reader,))

    async def close(self) -> None:
        """Leave the worker alone from now on."""
        assert self._reader
        self._reader.cancel()
        await asyncio.wait((self._reader,))
        self.sock.close()

    async def _read(self) -> None:
        lines, loop = Lines(), asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(self.sock, LINE_LIMIT):
                for message in lines.feed(data):
                    self._take(message)
        except (OSError, ProtocolError):
            pass  # whatever it says now, it is no worker any more
        self.sock.close()
        if self._answer and not self._answer.done():
            self._answer.set_exception(PeerError(f"{self} has ended"))

    def _take(self, message: Message) -> None:
        if "event" in message:
            self.hear(message)
        elif self._late:
            self._late -= 1
        elif self._answer and not self._answer.done():
            self._answer.set_result(message)

    def hear(self, event: Message) -> None:
        if event["event"] == "end":
            self.reason = str(event["reason"])


class TwinLink(Link):
    """Of a process that may have a twin on the sibling, or be one."""

    on_twin: Callable[[str, str], None] | None = None
    """Hears how the twin on the sibling, or this one of the sibling's, fares: its state, and why."""

    def hear(self, event: Message) -> None:
        if event["event"] == "twin" and self.on_twin:
            self.on_twin(event["state"], event["reason"])
        super().hear(event)


class SessionLink(TwinLink):
    what = "session"

    @cached_property
    def spec(self) -> SessionSpec:
        return SessionSpec.from_json(self.about["spec"])

    async def kick(self, reason: str) -> None:
        """A gadget's process, which waits for its media, is given more time: what it holds would be lost."""
        patience = GADGET_PATIENCE if self.spec.kind == "gadget" else PATIENCE
        await self.end("kick", reason, f"kicked: {reason}", patience)


class GadgetLink(TwinLink):
    what = "gadget"

    plugged = True
    """False: a fault pulled it out, and nobody can use it"""

    def hear(self, event: Message) -> None:
        if event["event"] == "plugged":
            self.plugged = bool(event["plugged"])
        super().hear(event)

    async def stop(self, reason: str) -> None:
        await self.end("stop", reason, reason, GADGET_PATIENCE)
