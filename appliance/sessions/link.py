"""The daemon's end of a worker's control socket, whose EOF tells that the session has ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from appliance.errors import PeerError, ProtocolError, Timeout, revive
from appliance.sessions.control import LINE_LIMIT, Lines, Message, encode
from appliance.sessions.state import SessionSpec

PATIENCE: Final = 2.0
"""Seconds in which a worker must answer."""
DIED: Final = "the worker died"


class Link:
    """One running session, as the daemon sees it. Made by `Link.open`."""

    def __init__(self, path: Path, sock: socket.socket) -> None:
        self.path = path
        self.sock = sock
        self.spec: SessionSpec
        self.version = ""
        self.pid = 0
        self.reason = DIED
        self.told_its_end = False
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[Message] | None = None
        self._late = 0
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: Path) -> Link:
        """Raises OSError when nobody listens there, PeerError when nobody answers."""
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(str(path))
            link = cls(path, sock)
            link._reader = asyncio.create_task(link._read(), name=f"session {path.stem}")
        except BaseException:
            sock.close()
            raise
        try:
            told = await link.ask("describe")
        except BaseException:
            await link.close()
            raise
        link.spec = SessionSpec.from_json(told["spec"])
        link.version, link.pid = told["version"], told["pid"]
        return link

    def when_over(self, callback: Callable[[Link], None]) -> None:
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
                raise Timeout(f"the worker of session {self.path.stem} does not answer") from None
            except OSError:
                raise PeerError(f"session {self.path.stem} has ended") from None
            finally:
                self._answer = None
        if "error" in answer:
            raise revive(answer)
        return answer["ok"]

    async def kick(self, reason: str) -> None:
        """Ends the session; a worker that does not answer is killed."""
        try:
            await self.ask("kick", reason=reason)
        except Timeout:
            self.reason = f"kicked: {reason}"
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
            self._answer.set_exception(PeerError(f"session {self.path.stem} has ended"))

    def _take(self, message: Message) -> None:
        if message.get("event") == "end":
            self.reason, self.told_its_end = str(message["reason"]), True
        elif self._late:
            self._late -= 1
        elif self._answer and not self._answer.done():
            self._answer.set_result(message)
