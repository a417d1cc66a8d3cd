"""The keeper of keepalived: the root process that runs it, feeds it health and tells what it decides.

It outlives the daemon's restarts, and judges by their length: a daemon that has said nothing for `stall`
seconds, dead or stalled, loses its groups. It serves one daemon at a time, the newest, and trusts it no
further than parse_said goes: what keepalived reads is written here.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from appliance.errors import NotPermitted, TwinhubError, Unavailable, UsageError
from appliance.kernel.helper import activated
from appliance.pair.keepalived import FAULT, Places
from appliance.pair.keeper_messages import MAX_MESSAGE, Configure, Report, encode, parse_said
from appliance.pair.keeper_run import Keepalived, write
from appliance.pair.vrrp_fifo import Transition

DIRECTORY: Final = Path("/run/twinhub-keepalived")
LOOKS: Final = 10
"""How often within `stall` it is looked whether the daemon has said something."""
PRIORITY: Final = 50
"""Of the real-time scheduler's 99."""
NEEDED: Final = {"keepalived": "keepalived", "ip": "iproute2", "setpriv": "util-linux"}
"""Programs, and the packages that have them."""


class Keeper:
    """The groups, what is known of each, and the one daemon that is served."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._configured: Configure | None = None
        self._deltas: dict[str, int] = {}
        self._states: dict[str, Transition] = {}
        self._daemon: socket.socket | None = None
        self._heard = asyncio.get_running_loop().time()
        self._is_silent = False
        self.keepalived = Keepalived(places, self._tell)

    async def serve(self, connection: socket.socket) -> None:
        """Does what one daemon says until it hangs up, or another one comes."""
        connection.setblocking(False)
        if self._daemon:
            hang_up(self._daemon)
        self._daemon = connection
        with connection, suppress(OSError):
            for state in self._states.values():
                self._send(state)
            while data := await asyncio.get_running_loop().sock_recv(connection, MAX_MESSAGE):
                self._hear(data)
        if self._daemon is connection:
            self._daemon = None

    def _hear(self, data: bytes) -> None:
        self._heard = asyncio.get_running_loop().time()
        try:
            said = parse_said(data)
            if isinstance(said, Configure) and said != self._configured:
                self._configure(said)
            elif isinstance(said, Report) and self._deltas.get(said.group, said.delta) != said.delta:
                self._deltas[said.group] = said.delta
                self._write_health(said.group)
        except UsageError as error:
            print(f"twinhub-keepalived: {error}", file=sys.stderr)

    def _configure(self, wanted: Configure) -> None:
        self._deltas = {one.name: self._deltas.get(one.name, FAULT) for one in wanted.groups}
        self._states = {name: state for name, state in self._states.items() if name in self._deltas}
        for name in self._deltas:
            self._write_health(name)
        self.keepalived.use(wanted)
        self._configured = wanted

    def _write_health(self, name: str) -> None:
        write(self._places.health(name), f"{FAULT if self._is_silent else self._deltas[name]}\n")

    async def listen_for_life(self) -> None:
        """Gives the groups up while the daemon is silent."""
        loop = asyncio.get_running_loop()
        while True:
            stall = self._configured.stall if self._configured else 1.0
            await asyncio.sleep(stall / LOOKS)
            if self._is_silent != (loop.time() - self._heard > stall):
                self._is_silent = not self._is_silent
                for name in self._deltas:
                    self._write_health(name)

    def _tell(self, transition: Transition) -> None:
        if transition.group in self._deltas:
            self._states[transition.group] = transition
            self._send(transition)

    def _send(self, transition: Transition) -> None:
        """A daemon that does not read is hung up on: when it comes back, it is told all states."""
        if self._daemon:
            try:
                self._daemon.send(encode(transition), socket.MSG_NOSIGNAL)
            except OSError:
                hang_up(self._daemon)


def hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


async def keep(places: Places, listener: socket.socket | None, connection: socket.socket | None) -> None:
    """For the daemons that connect to `listener`; or for one, until its `connection` ends. Until SIGTERM."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    keeper = Keeper(places)
    tasks = {
        asyncio.create_task(work)
        for work in (
            stop.wait(),
            keeper.keepalived.run(),
            keeper.listen_for_life(),
            keeper.serve(connection) if connection else accept(keeper, listener),
        )
    }
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()):
            raise error


async def accept(keeper: Keeper, listener: socket.socket | None) -> None:
    """Serves every daemon that connects, one at a time."""
    assert listener
    listener.setblocking(False)
    async with asyncio.TaskGroup() as serving:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            serving.create_task(keeper.serve(connection))


def hurry() -> None:
    """Makes this process, and keepalived after it, run before those that are no matter of milliseconds.

    keepalived could do it itself, but gives itself a limit with it, by which a busy kernel kills it.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    except PermissionError:
        print(
            "twinhub-keepalived: may not run in real time; a busy machine may lose its role", file=sys.stderr
        )


def own(directory: Path) -> Places:
    """The places in a directory that nobody but us may write to; it is made where there is none."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = directory.stat()
    if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(f"{directory} must belong to root and be writable by nobody else")
    return Places(directory)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m appliance.pair.keeper",
        description="Runs keepalived for a Twinhub daemon, which needs no root. Runs as root.",
        epilog="Under systemd socket activation it serves whoever may connect to the unit's socket.",
    )
    parser.add_argument(
        "--fd", type=int, metavar="N", help="serve this inherited connection, and end with it"
    )
    parser.add_argument(
        "--directory", type=Path, default=DIRECTORY, metavar="DIR",
        help="where keepalived's files are, root's alone (default: %(default)s)",
    )  # fmt: skip
    return parser


def main() -> int:
    options = arguments().parse_args()
    try:
        if os.geteuid() != 0:
            raise NotPermitted("the keeper must run as root; start twinhub-keepalived.service instead")
        for program, package in NEEDED.items():
            if not shutil.which(program):
                raise Unavailable(f"{program} is missing; apt-get install {package}")
        listener = None if options.fd is not None else activated()
        connection = None if options.fd is None else socket.socket(fileno=options.fd)
        if not listener and not connection:
            raise UsageError("give --fd, or start it by its socket unit")
        hurry()
        asyncio.run(keep(own(options.directory), listener, connection))
    except TwinhubError as error:
        print(f"twinhub-keepalived: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
