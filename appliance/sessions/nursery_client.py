"""The daemon's end of the nursery, which it starts when it is needed and not there."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

from appliance.errors import Unavailable, UsageError, revive
from appliance.sessions.control import REQUEST_LIMIT

ANSWER_LIMIT: Final = 4096
PATIENCE: Final = 60.0
"""Seconds in which a nursery must have started, imported its workers' code and forked, on a slow machine."""


class Nursery:
    """`start` a worker; `close` when the daemon ends, which ends the nursery and no worker."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._sock: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, kind: str, what: dict[str, Any], sockets: Sequence[socket.socket]) -> int:
        """The pid of a new worker, which has its own copies of `sockets`, its listener first."""
        request = json.dumps({kind: what}).encode()
        if len(request) > REQUEST_LIMIT:
            raise UsageError(
                f"this is larger than the {REQUEST_LIMIT >> 10} KiB that a worker is started with"
            )
        async with self._turn:
            self.open()
            try:
                async with asyncio.timeout(PATIENCE):
                    told = await self._ask(request, [sock.fileno() for sock in sockets])
            except (OSError, TimeoutError) as error:
                await self.close()
                reason = str(error) or "it does not answer"
                raise Unavailable(f"the process that starts workers failed: {reason}; try again") from error
            except asyncio.CancelledError:
                await self.close()  # so that the answer to this is not taken for the next one's
                raise
        answer = json.loads(told)
        if "error" in answer:
            raise revive(answer)
        return int(answer["pid"])

    def open(self) -> None:
        """Start it now, so that the first session need not wait for it."""
        if self._process and self._process.poll() is None:
            return
        if self._sock:
            self._sock.close()
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._sock.setblocking(False)
            command = [sys.executable, "-m", "appliance.sessions.nursery", "--fd", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                process_group=0,  # a Ctrl-C is the daemon's, which ends us in good order
            )

    async def _ask(self, request: bytes, fds: list[int]) -> bytes:
        assert self._sock
        socket.send_fds(self._sock, [request], fds)
        if answer := await asyncio.get_running_loop().sock_recv(self._sock, ANSWER_LIMIT):
            return answer
        raise ConnectionError("it has ended")

    async def close(self) -> None:
        sock, process = self._sock, self._process
        self._sock = self._process = None  # before anybody else's turn: who waits here may be cancelled
        if sock and process:
            sock.close()
            await asyncio.to_thread(process.wait)
