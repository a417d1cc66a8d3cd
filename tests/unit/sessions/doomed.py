"""A daemon to be killed: starts one session on the client's socket, and waits. See test_sessions.py.

`python -m tests.unit.sessions.doomed RUNTIME CLIENT_FD TEST_FD`: over the latter it hands the stub's end
to the test, and says "s" when the session has started.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

from appliance.sessions.manager import Sessions
from tests.unit.sessions.doubles import FakeHelper
from tests.unit.sessions.pdus import spec


class Passing(FakeHelper):
    def __init__(self, test: socket.socket) -> None:
        super().__init__()
        self.test = test

    async def hand_over(self, busid: str, fd: int) -> None:
        socket.send_fds(self.test, [b"f"], [fd])


async def main(runtime: str, client: str, test: str) -> None:
    with socket.socket(fileno=int(test)) as told:
        sessions = Sessions(Path(runtime), Passing(told), lambda spec, reason: None)
        await sessions.start(spec(), socket.socket(fileno=int(client)))
        told.send(b"s")
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
