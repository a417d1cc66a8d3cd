"""The daemon's end of keepalived: what it shall know goes to its keeper, what it decides comes back.

The keeper takes what it hears as a sign of life, so it hears something from the daemon's own event loop
several times within `stall`: a loop that stands still is silent.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from appliance.errors import Unavailable, UsageError
from appliance.pair.keepalived import FAULT
from appliance.pair.keeper import DIRECTORY
from appliance.pair.keeper_messages import MAX_MESSAGE, Alive, Configure, Report, encode, parse_told
from appliance.pair.vrrp_fifo import Transition

log = logging.getLogger(__name__)

KEEPER_SOCKET: Final = Path("/run/twinhub-keepalived.sock")
"""Where twinhub-keepalived.socket listens."""
BEATS: Final = 5
"""Signs of life within `stall`."""
RETRY: Final = 1.0
"""Seconds until a keeper that is not there is looked for again."""

Connect = Callable[[], socket.socket]
"""Makes a connection to a keeper. Raises Unavailable."""


class Vrrp:
    """The groups that keepalived carries for us; what it makes of each goes to `told`."""

    def __init__(self, configured: Configure, told: Callable[[Transition], None], connect: Connect) -> None:
        self._configured = configured
        self._told = told
        self._connect = connect
        self._deltas: dict[str, int] = {one.name: FAULT for one in configured.groups}
        self._news = asyncio.Event()
        self._connection: socket.socket | None = None

    @property
    def is_up(self) -> bool:
        """Whether there is a keeper that hears us."""
        return self._connection is not None

    def report(self, group: str, delta: int) -> None:
        """What keepalived adds to the group's priority: FIT, FAULT, or some of it. At first it is FAULT."""
        if self._deltas[group] != delta:
            self._deltas[group] = delta
            self._news.set()

    def configure(self, configured: Configure) -> None:
        """Other groups from now on; what is known of those that stay is kept."""
        self._configured = configured
        self._deltas = {one.name: self._deltas.get(one.name, FAULT) for one in configured.groups}
        self._news.set()

    async def run(self) -> None:
        """Talks to the keeper, also to the next one when it was restarted. Until it is cancelled."""
        is_missed = False
        while True:
            try:
                await self._talk(self._connect())
                is_missed = False
            except* (OSError, Unavailable) as errors:
                if not is_missed:
                    log.warning("no keepalived: %s; no group's address can move here", errors.exceptions[0])
                is_missed = True
            await asyncio.sleep(RETRY)

    def give_up(self) -> None:
        """Tells keepalived at once that every group is unfit here, for the daemon ends for good."""
        for name in self._deltas:
            self._deltas[name] = FAULT
            with suppress(OSError):
                if self._connection:
                    self._connection.send(encode(Report(name, FAULT)), socket.MSG_NOSIGNAL)

    async def _talk(self, connection: socket.socket) -> None:
        with connection:
            connection.setblocking(False)
            self._connection = connection
            try:
                async with asyncio.TaskGroup() as talking:
                    speaking = talking.create_task(self._speak(connection))
                    await self._listen(connection)
                    speaking.cancel()
            finally:
                self._connection = None

    async def _speak(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        configured: Configure | None = None
        reported: dict[str, int] = {}
        while True:
            self._news.clear()
            if configured is not self._configured:
                configured, reported = self._configured, {}
                await loop.sock_sendall(connection, encode(configured))
            changed = {name: delta for name, delta in self._deltas.items() if reported.get(name) != delta}
            for name, delta in changed.items():
                await loop.sock_sendall(connection, encode(Report(name, delta)))
            reported |= changed
            if not changed:
                await loop.sock_sendall(connection, encode(Alive()))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), configured.stall / BEATS)

    async def _listen(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(connection, MAX_MESSAGE):
            try:
                self._told(parse_told(data))
            except UsageError as error:
                log.warning("keepalived's keeper: %s", error)


def by_unit() -> socket.socket:
    """A connection to the keeper that is a system service. Unavailable."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(KEEPER_SOCKET))
    except OSError as error:
        connection.close()
        raise Unavailable(f"nobody answers at {KEEPER_SOCKET}; start twinhub-keepalived.socket") from error
    return connection


class Spawned:
    """A keeper that is our child and ends with us: call it for the connection, of which there is one."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection: socket.socket | None = ours
        command = [sys.executable, "-I", "-m", "appliance.pair.keeper", "--fd", str(theirs.fileno())]
        with theirs:
            # In a session of its own, for a Ctrl-C must not end it before the groups are given up.
            self.process = subprocess.Popen(
                [*command, "--directory", str(directory)],
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def __call__(self) -> socket.socket:
        connection, self._connection = self._connection, None
        if not connection:
            raise Unavailable("keepalived's keeper died; restart `twinhub serve`")
        return connection

    def close(self) -> None:
        """Waits until it has ended, which it does when the connection is closed."""
        if self._connection:
            self._connection.close()
        self.process.wait()
