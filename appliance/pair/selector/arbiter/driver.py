"""The selector `arbiter:/dev/ttyX`, also `arbiter:unix:PATH` and `arbiter:tcp:HOST:PORT`."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Final

from appliance.errors import DeviceFailed, ProtocolError, Timeout, Unavailable
from appliance.pair.model import Standing
from appliance.pair.selector.arbiter import line
from appliance.pair.selector.arbiter.frames import MOST_MS, Answer, Position, Result
from appliance.pair.selector.arbiter.host import Host
from appliance.pair.selector.asking import Asking
from appliance.pair.selector.register import Refused, Request
from appliance.pair.selector.spec import Spec

ANSWER_SECONDS: Final = 2.0
"""For each answer: a switch may take its time."""
SILENCE_SECONDS: Final = 0.25
"""After which a request is said again."""
READ: Final = 4096


def open_spec(spec: Spec) -> ArbiterSelector:
    return ArbiterSelector(spec.place, spec.key())


class ArbiterSelector(Asking):
    """The register and the switch of an arbiter. Atomic, and fences a hung appliance: its hub is taken away.

    A claim is granted when the hub has been taken from the other; it is ours some 0.1 s later.
    """

    atomic: Final = True

    def __init__(self, place: str, key: bytes, seconds: float = ANSWER_SECONDS) -> None:
        self.lease = 0.0
        self.silent = float("inf")
        """seconds for which the arbiter has not heard of the other appliance, by its latest answer"""
        self.switch = Position.UNKNOWN
        """as the arbiter read it back, by its latest answer"""
        self._place, self._seconds = place, seconds
        self._host = Host(key)
        self._fd: int | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._lock = asyncio.Lock()

    async def ask(self, request: Request) -> Standing:
        async with self._lock:
            try:
                async with asyncio.timeout(self._seconds):
                    answer = await self._ask(request)
            except TimeoutError as error:
                self._drop()
                raise Timeout(
                    f"the arbiter at {self._place} did not answer within {self._seconds:g} s; "
                    "has it power, and the same key?"
                ) from error
            except OSError as error:
                self._drop()
                why = error.strerror or str(error)
                raise Unavailable(f"the line to the arbiter at {self._place} broke: {why}") from error
        return self._judged(answer)

    async def close(self) -> None:
        self._drop()

    def _drop(self) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
        self._fd = None

    async def _ask(self, request: Request) -> Answer:
        loop = asyncio.get_running_loop()
        if self._fd is None:
            self._fd = await line.connect(self._place)
            loop.add_reader(self._fd, self._readable, self._fd)
        answer: asyncio.Future[Answer] = loop.create_future()
        self._answer = answer
        try:
            send = self._host.ask(request)
            while not answer.done():
                os.write(self._fd, send)
                await asyncio.wait((answer,), timeout=SILENCE_SECONDS)
                send = self._host.again()
            return answer.result()
        finally:
            self._answer = None

    def _readable(self, fd: int) -> None:
        try:
            data = os.read(fd, READ)
            send, answer = self._host.received(data)
            if send:
                os.write(fd, send)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "the other end hung up")
        except BlockingIOError:
            return
        except OSError as error:
            self._drop()
            if self._answer and not self._answer.done():
                self._answer.set_exception(error)
            return
        if answer and self._answer and not self._answer.done():
            self._answer.set_result(answer)

    def _judged(self, answer: Answer) -> Standing:
        self.lease, self.switch = answer.lease / 1000, answer.switch
        self.silent = float("inf") if answer.silent == MOST_MS else answer.silent / 1000
        match answer.result:
            case Result.REFUSED:
                raise Refused(answer.standing)
            case Result.FAULT:
                raise DeviceFailed(
                    f"the switch of the arbiter at {self._place} does not obey, or its memory does not keep: "
                    "nothing was granted; see what it says, and check the wiring"
                )
            case Result.MALFORMED:
                raise ProtocolError(f"the arbiter at {self._place} does not understand us")
            case Result.GRANTED:
                return answer.standing
