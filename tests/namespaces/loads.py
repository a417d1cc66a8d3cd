"""Devices at work, each in a thread, all that they bring compared: lost, doubled, out of order is Wrong.

    with Disk(client, address, "disk") as disk, Keys(client, address, "keyboard") as keys:
        disk.goes_on(100)
        ...
        disk.goes_on(100)
    assert disk.pulse.longest < …

Leaving the block stops a load in good order: what is in flight is waited for, what was written is read again.
"""

from __future__ import annotations

import random
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count, islice
from types import TracebackType
from typing import Final, Self

from gadgets.hid.layouts import strokes
from gadgets.hid.report import stroke_report
from gadgets.usb.urb import ENDPOINT_IN, TransferType
from tests.namespaces.urbs import Imported, Pulse, Wrong
from tests.namespaces.world import Node

PATIENCE: Final = 30.0
"""Seconds until what should come is missed."""
POLL: Final = 0.01
CBW: Final = struct.Struct("<4sIIBBB16s")
CSW: Final = struct.Struct("<4sIIB")
READ, WRITE, SYNCHRONIZE, TEST_READY = 0x28, 0x2A, 0x35, 0x00
COMMAND: Final = struct.Struct(">BBIBHB6x")
"""operation, flags, block, group, blocks, control"""
BLOCK: Final = 512
CHUNK_BLOCKS: Final = 8
STAMP: Final = struct.Struct(">QQ")
"""Which chunk this is, and the how manyth version of it."""
SET_IDLE: Final = bytes.fromhex("210a000000000000")
"""Only what changes is reported."""
RAISE_DTR: Final = bytes.fromhex("2122010000000000")
ECHO: Final = "[[rule]]\nwhen = '(?s)(.+)'\nsend = '\\1'\n"
"""The script (`connect = "script:FILE"`) of the serial gadget that `Echo` talks to."""
RELEASED: Final = bytes(8)


class Load(ABC):
    """Runs from the block's beginning on."""

    _failure: BaseException | None

    def __init__(self, node: Node, host: str, name: str) -> None:
        self.usb = Imported(node, host, name)
        self._stopping = threading.Event()
        self._leaving, self._failure = False, None
        self._thread = threading.Thread(target=self._run, name=f"load on {name}", daemon=True)

    @property
    def pulse(self) -> Pulse:
        return self.usb.pulse

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stopping.set()
        if kind is None and not self.idle:
            self._thread.join(PATIENCE)
        late = self._thread.is_alive() and not self.idle
        self._leaving = True
        self.usb.hang_up()
        self._thread.join()
        self.usb.sock.close()
        if kind is None and self._failure:
            raise self._failure
        if kind is None and late:
            raise Wrong(f"{self.usb.name}: {self.usb.in_flight} URBs are not answered")

    @property
    def idle(self) -> bool:
        """Whether it may wait for ever."""
        return False

    def goes_on(self, completions: int = 50, patience: float = PATIENCE) -> None:
        """Until so many more URBs were answered."""
        wanted = self.pulse.count + completions
        self.wait(lambda: self.pulse.count >= wanted, patience)

    def wait(self, done: Callable[[], bool], patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not (self._failure is None and done()):
            if self._failure:
                raise self._failure
            if time.monotonic() > deadline:
                raise Wrong(f"{self.usb.name}: nothing for {time.monotonic() - self.pulse.last:.1f} s")
            time.sleep(POLL)

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as failure:
            if not (self._leaving and isinstance(failure, OSError)):
                self._failure = failure

    @abstractmethod
    def work(self) -> None:
        """Until `_stopping` is set."""


class Disk(Load):
    """Writes and reads chunks all over the first `megabytes`, `depth` commands at once; 1 is what Linux does.

    Each chunk says where it belongs and which version of it it is, so that no other can pass for it.
    """

    def __init__(
        self, node: Node, host: str, name: str, megabytes: int = 16, depth: int = 1, seed: int = 0
    ) -> None:
        super().__init__(node, host, name)
        self.depth, self._random = depth, random.Random(seed)
        self._chunks = (megabytes << 20) // (CHUNK_BLOCKS * BLOCK)
        self.written: dict[int, int] = {}
        """The version of each chunk that the disk must have."""
        self._tags = count(1)
        self._expected: deque[bytes | None] = deque()
        """What the bulk IN endpoint brings; None: any data."""

    def work(self) -> None:
        while not self._is_ready():
            pass
        while not self._stopping.is_set():
            self._command(*self._choose())
        for chunk in self.written:
            self._command(READ, chunk)
        while self.usb.in_flight:
            self._settle()

    def _choose(self) -> tuple[int, int]:
        chunk = self._random.randrange(self._chunks)
        return self._random.choices((READ, WRITE, SYNCHRONIZE), (10, 10, 1))[0], chunk

    def _command(self, operation: int, chunk: int) -> None:
        bulk_in, bulk_out = self.usb.bulk()
        tag, length = next(self._tags), CHUNK_BLOCKS * BLOCK if operation != SYNCHRONIZE else 0
        if operation == WRITE:
            self.written[chunk] = self.written.get(chunk, 0) + 1
        data = content(chunk, self.written[chunk]) if chunk in self.written else None
        where = COMMAND.pack(operation, 0, chunk * CHUNK_BLOCKS, 0, length // BLOCK, 0)
        self._send(bulk_out, CBW.pack(b"USBC", tag, length, 0x80 * (operation == READ), 0, 10, where))
        if operation == WRITE:
            assert data
            self._send(bulk_out, data)
        elif operation == READ:
            self._ask(bulk_in, length, data)
        self._ask(bulk_in, CSW.size, CSW.pack(b"USBS", tag, 0, 0))
        while len(self._expected) > 2 * (self.depth - 1):
            self._settle()

    def _send(self, endpoint: int, data: bytes) -> None:
        self.usb.submit(endpoint, data)
        self._in_turn()

    def _ask(self, endpoint: int, length: int, expected: bytes | None) -> None:
        self.usb.submit(endpoint, length=length)
        self._expected.append(expected)
        self._in_turn()

    def _in_turn(self) -> None:
        """A closed loop has one URB under way."""
        if self.depth == 1:
            self._settle()

    def _settle(self) -> None:
        answer = self.usb.good(self.usb.answer())
        if answer.endpoint & ENDPOINT_IN:
            expected = self._expected.popleft()
            if expected is not None and answer.data != expected:
                raise Wrong(f"{self.usb.name}: {answer.data[:16].hex()} came, not {expected[:16].hex()}")

    def _is_ready(self) -> bool:
        """A disk tells of its reset first."""
        bulk_in, bulk_out = self.usb.bulk()
        self.usb.transfer(bulk_out, CBW.pack(b"USBC", 0, 0, 0, 0, 6, bytes(16)))
        return not self.usb.transfer(bulk_in, length=CSW.size)[12]


class Keys(Load):
    """A keyboard; `urbs` wait for its reports. Tell it what was typed by `typed`, before it is."""

    def __init__(self, node: Node, host: str, name: str, urbs: int = 1) -> None:
        super().__init__(node, host, name)
        self.usb.control(SET_IDLE)
        self._urbs = urbs
        self._expected: deque[bytes] = deque()

    def typed(self, text: str) -> None:
        for stroke in strokes(text):
            self._expected += (stroke_report(*stroke), RELEASED)

    def caught_up(self, patience: float = PATIENCE) -> None:
        """Until all that was typed has come."""
        self.wait(lambda: not self._expected, patience)

    @property
    def idle(self) -> bool:
        return not self._expected

    def work(self) -> None:
        endpoint = self.usb.pipes[TransferType.INTERRUPT, ENDPOINT_IN]
        for _ in range(self._urbs):
            self.usb.submit(endpoint, length=len(RELEASED))
        while True:
            report = self.usb.good(self.usb.answer()).data
            expected = self._expected[0] if self._expected else None
            if report != expected:
                wanted = expected.hex() if expected else "nothing"
                raise Wrong(f"{self.usb.name}: report {report.hex()} came, {wanted} was typed")
            self.usb.submit(endpoint, length=len(RELEASED))
            self._expected.popleft()


class Echo(Load):
    """A serial line that says everything again (`ECHO`): numbered lines, at most `window` bytes under way."""

    def __init__(self, node: Node, host: str, name: str, window: int = 64) -> None:
        super().__init__(node, host, name)
        self._window, self._stream = window, numbered_lines()
        self._under_way = bytearray()
        self.echoed = 0

    def work(self) -> None:
        bulk_in, bulk_out = self.usb.bulk()
        self.usb.control(RAISE_DTR)
        self.usb.submit(bulk_in, length=512)
        while not self._stopping.is_set() or self._under_way:
            if not self._stopping.is_set() and len(self._under_way) < self._window:
                portion = bytes(islice(self._stream, self._window - len(self._under_way)))
                self._under_way += portion
                self.usb.submit(bulk_out, portion)
            answer = self.usb.good(self.usb.answer())
            if answer.endpoint == bulk_in:
                if not self._under_way.startswith(answer.data):
                    wanted = bytes(self._under_way[: len(answer.data)])
                    raise Wrong(f"{self.usb.name}: {answer.data!r} came back, not {wanted!r}")
                del self._under_way[: len(answer.data)]
                self.echoed += len(answer.data)
                self.usb.submit(bulk_in, length=512)


def content(chunk: int, version: int) -> bytes:
    return STAMP.pack(chunk, version) * (CHUNK_BLOCKS * BLOCK // STAMP.size)


def numbered_lines() -> Iterator[int]:
    """The bytes of "0000000\\n0000001\\n…"."""
    for number in count():
        yield from b"%07d\n" % number
