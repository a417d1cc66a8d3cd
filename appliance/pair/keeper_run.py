"""keepalived as a child process: started again when it ends, and swept up after.

A keepalived that was killed leaves the virtual addresses on the machine, where they are as harmful as a
second master. So its addresses are written down before it starts, and taken away whenever it has ended; by
the next keeper, if this one was killed too.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from appliance.pair.keepalived import Places, addresses, command, configuration
from appliance.pair.keeper_messages import Configure
from appliance.pair.vrrp_fifo import State, Transition, Transitions

FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 5.0
"""Seconds until a keepalived that ended at once is started again: they double."""
GRACE: Final = 2.0
"""Seconds in which it must have told its sibling that it stops, and ended."""


class Keepalived:
    """Runs while there are groups; each transition goes to `tell`."""

    def __init__(self, places: Places, tell: Callable[[Transition], None]) -> None:
        self._places = places
        self._tell = tell
        self._groups: tuple[str, ...] = ()
        self._addresses: tuple[str, ...] = ()
        self._child: asyncio.subprocess.Process | None = None
        self._is_wanted = asyncio.Event()

    def use(self, configured: Configure) -> None:
        """The groups from now on; those that stay as they are notice nothing."""
        text = configuration(configured.groups, configured.link, self._places)
        self._groups = tuple(one.name for one in configured.groups)
        before, self._addresses = self._addresses, tuple(addresses(configured.groups).splitlines())
        self._write_addresses(before)
        write(self._places.configuration, text)
        if self._groups:
            self._is_wanted.set()
        else:
            self._is_wanted.clear()
        self._signal(signal.SIGHUP if self._groups else signal.SIGTERM)

    async def run(self) -> None:
        """Until it is cancelled; then keepalived has ended, and its addresses are gone."""
        fifo = open_fifo(self._places.fifo)
        transitions = Transitions()

        def readable() -> None:
            with suppress(BlockingIOError):
                for transition in transitions.feed(os.read(fifo, select.PIPE_BUF)):
                    self._tell(transition)

        loop = asyncio.get_running_loop()
        loop.add_reader(fifo, readable)
        delay = FIRST_DELAY
        try:
            await flush(lines_of(self._places.addresses))
            while True:
                await self._is_wanted.wait()
                started = loop.time()
                await self._run_once()
                delay = (
                    min(delay * 2, LONGEST_DELAY) if loop.time() - started < LONGEST_DELAY else FIRST_DELAY
                )
                await asyncio.sleep(delay)
        finally:
            loop.remove_reader(fifo)
            os.close(fifo)

    async def _run_once(self) -> None:
        # Were we killed, it would go on deciding with nobody to tell it that a group is unfit.
        mortal = ["setpriv", "--pdeathsig", "TERM", *command(self._places)]
        child = await asyncio.create_subprocess_exec(
            *mortal, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        self._child = child
        try:
            await child.wait()
        finally:
            await self._sweep(child)

    async def _sweep(self, child: asyncio.subprocess.Process) -> None:
        self._signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), GRACE)
        self._child = None
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
        await flush(lines_of(self._places.addresses))
        self._write_addresses()
        for name in self._groups:
            self._tell(Transition(name, State.STOP, 0))

    def _signal(self, number: int) -> None:
        if self._child:
            with suppress(ProcessLookupError):
                self._child.send_signal(number)

    def _write_addresses(self, before: Iterable[str] = ()) -> None:
        lines = dict.fromkeys([*before, *self._addresses])
        write(self._places.addresses, "".join(f"{line}\n" for line in lines))


def write(path: Path, text: str) -> None:
    """Replaces the file at once: who watches it never reads a half."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.rename(path)


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def flush(lines: Iterable[str]) -> None:
    """Takes each `ADDRESS INTERFACE` from this machine that is on it."""
    for line in lines:
        address, _, interface = line.partition(" ")
        taken = await asyncio.create_subprocess_exec(
            "ip", "address", "del", address, "dev", interface,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await taken.wait()


def open_fifo(path: Path) -> int:
    """Ours to read and to write: so it never ends, whichever keepalived comes and goes."""
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
