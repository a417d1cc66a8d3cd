"""The reference arbiter: device.py on two lines of this machine, like the main loop of a microcontroller."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from appliance.errors import TwinhubError
from appliance.loop import HANGUP, IN, Loop
from appliance.pair.model import Standing
from appliance.pair.selector import store
from appliance.pair.selector.arbiter import line
from appliance.pair.selector.arbiter.device import Arbiter
from appliance.pair.selector.arbiter.frames import NONCE, Position
from appliance.pair.selector.register import FREE

log = logging.getLogger(__name__)

NAMES: Final = {Position.NONE: "none", Position.A: "a", Position.B: "b"}
SWITCH_SECONDS: Final = 1.0
REOPEN_SECONDS: Final = 1.0
"""Between two tries to open a serial device that went away."""
READ: Final = 4096

Switch = Callable[[Position, Standing], Position]
"""Turns it and reads it back; what it raises as a TwinhubError is a switch in an unknown position."""


def command_switch(words: Sequence[str], position: Position, standing: Standing) -> Position:
    """Calls the operator's command with "none", "a" or "b"; exit code 0 says that it read that back."""
    said = {"TWINHUB_OWNER": standing.owner or "", "TWINHUB_EPOCH": str(standing.epoch)}
    environment = {**os.environ, **said}
    try:
        done = subprocess.run(
            [*words, NAMES[position]],
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=SWITCH_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TwinhubError(f"the switch command failed: {error}") from error
    if done.returncode:
        raise TwinhubError(f"the switch command ended with {done.returncode}")
    return position


@dataclass(frozen=True, slots=True)
class Board:
    """What a Linux machine has for an arbiter: a file as memory, and the hook that turns the switch."""

    state: Path
    turn: Switch

    def save(self, standing: Standing, side: Position) -> None:
        try:
            store.save(self.state, {NAMES[side]: standing})
        except TwinhubError as error:
            log.error("%s", error)
            raise

    def load(self) -> tuple[Standing, Position]:
        for name, standing in store.load(self.state).items():
            side = next((position for position, known in NAMES.items() if known == name), Position.NONE)
            return standing, side
        return FREE, Position.NONE

    def switch(self, position: Position, standing: Standing) -> Position:
        try:
            return self.turn(position, standing)
        except TwinhubError as error:
            log.error("%s", error)
            return Position.UNKNOWN

    def nonce(self) -> bytes:
        return secrets.token_bytes(NONCE)


class Lines:
    """Both lines of an arbiter; the one appliance that a socket has is the latest that connected."""

    def __init__(self, arbiter: Arbiter, places: Sequence[str]) -> None:
        self._arbiter, self._places = arbiter, places
        self._loop = Loop()
        self._fds: dict[int, int] = {}
        self._gone: dict[int, str] = {}
        """serial devices that went away"""
        self._open = ExitStack()

    def run(self, ready: Callable[[], None]) -> NoReturn:
        """Until it is interrupted; `ready` is called when both lines are open."""
        with self._open:
            self._open.callback(self._loop.close)
            self._open.callback(self._close_all)
            for number, place in enumerate(self._places):
                if listener := line.listen(place):
                    self._open.callback(listener.close)
                    self._loop.watch(listener.fileno(), IN, partial(self._accept, number, listener))
                else:
                    self._begin(number, line.open_serial(place))
            self._tick()
            ready()
            self._loop.run()

    def _accept(self, number: int, listener: socket.socket, _: int) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            sock, _address = listener.accept()
            sock.setblocking(False)
            self._end(number)
            self._begin(number, sock.detach())

    def _begin(self, number: int, fd: int) -> None:
        self._fds[number] = fd
        self._loop.watch(fd, IN | HANGUP, partial(self._readable, number, fd))

    def _end(self, number: int) -> None:
        if number in self._fds:
            fd = self._fds.pop(number)
            self._loop.forget(fd)
            os.close(fd)
        self._arbiter.hung_up(number)

    def _reopen(self) -> None:
        for number, place in list(self._gone.items()):
            with suppress(TwinhubError):
                self._begin(number, line.open_serial(place))
                del self._gone[number]

    def _close_all(self) -> None:
        for number in list(self._fds):
            self._end(number)

    def _readable(self, number: int, fd: int, _: int) -> None:
        try:
            data = os.read(fd, READ)
            if not data:
                raise ConnectionResetError
            os.write(fd, self._arbiter.received(number, data, clock()))
        except BlockingIOError:
            pass  # who does not read is not answered
        except OSError:
            self._end(number)
            if line.address_of(self._places[number]) is None:
                self._gone[number] = self._places[number]
        self._tick()

    def _tick(self) -> None:
        self._arbiter.tick(clock())
        self._reopen()
        waits = [REOPEN_SECONDS] if self._gone else []
        if self._arbiter.wake_at is not None:
            waits.append(max(self._arbiter.wake_at - clock(), 0))
        due = time.monotonic_ns() + int(min(waits, default=0) * 1e9)
        self._loop.at(due, self._tick if waits else None)


def clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
