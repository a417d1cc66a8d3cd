"""A gadget and its copy in one process, with all that goes between them in the test's hands."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from appliance.errors import TwinhubError
from appliance.loop import IN, Loop
from appliance.sessions.replication.follower import Follower
from appliance.sessions.replication.master import Master, Phase
from appliance.sessions.running import Running
from appliance.sessions.software import Software
from appliance.sessions.state import SessionState
from gadgets.definition import Definition, Part
from gadgets.usb.urb import Speed
from tests.unit.gadgets.storage.disks import cbw
from tests.unit.sessions.pdus import spec, submit, unlink

SPEC = spec(kind="gadget", gadget="it", busid="", descriptors=b"")
CONFIGURE = bytes.fromhex("0009010000000000")
MS = 1_000_000


@dataclass(frozen=True)
class Bytes:
    """From the client."""

    data: bytes


@dataclass(frozen=True)
class Local:
    input: dict[str, Any]


@dataclass(frozen=True)
class Tick:
    now: int


Step = Bytes | Local | Tick


class Numbers:
    """A client's URBs."""

    def __init__(self) -> None:
        self.last = 0

    def submit(self, endpoint: int, length: int = 0, data: bytes = b"", setup: bytes = bytes(8)) -> bytes:
        self.last += 1
        return submit(self.last, endpoint, length, data, setup=setup)

    def unlink(self, target: int) -> bytes:
        self.last += 1
        return unlink(self.last, target)

    def configure(self) -> bytes:
        return self.submit(0, setup=CONFIGURE)


class Outside:
    """One process: a running gadget, its loop, and the client of its session."""

    def __init__(self, definition: Definition, *, live: bool = True) -> None:
        self.loop = Loop()
        self.told: list[object] = []
        self.running = Running(self.loop, definition.build(), self.told.append, live=live)
        self.client, self.served = socket.socketpair()
        self.client.setblocking(False)
        self.served.setblocking(False)
        self.software: Software | None = None
        self.got = b""

    def attach(self) -> None:
        self.software = Software(SessionState.begin(SPEC), self.served, self.running)

    def do(self, step: Step) -> None:
        match step:
            case Bytes(data):
                assert self.software
                left = memoryview(data)
                while left:
                    left = left[self.client.send(left[: 32 << 10]) :]
                    self.software.on_client(IN)
            case Local(input):
                with suppress(TwinhubError):
                    self.running.local_plain(input)
            case Tick(now):
                self.running.tick(now)
        self.hear()

    def hear(self) -> bytes:
        """What the client got so far."""
        with suppress(BlockingIOError):
            while data := self.client.recv(1 << 20):
                self.got += data
                if self.software:
                    self.software.push()
        return self.got

    def close(self) -> None:
        self.running.close()
        self.loop.close()
        self.client.close()
        self.served.close()


class Pair:
    """Bytes go over when the test says so; `over` and `back` have what is on its way."""

    def __init__(self, definition: Definition, *, follower: Definition | None = None) -> None:
        self.master, self.copy = Outside(definition), Outside(follower or definition, live=False)
        self.over, self.back = bytearray(), bytearray()
        self.phases: list[Phase] = []
        self.reasons: list[str] = []
        self.said: list[tuple[str, str]] = []
        self.log = Master(self.master.running, 1, self.over.extend, self.turned)
        self.follower = Follower(self.copy.running, 0, self.back.extend, lambda *both: self.said.append(both))

    def turned(self, phase: Phase, reason: str) -> None:
        self.phases.append(phase)
        self.reasons.append(reason)

    def move(self, count: int | None = None) -> None:
        """So many bytes reach the copy; None: all."""
        data = bytes(self.over[:count])
        del self.over[: len(data)]
        self.follower.feed(data)

    def answer(self) -> None:
        data = bytes(self.back)
        self.back.clear()
        self.log.feed(data)

    def settle(self) -> None:
        while self.over or self.back:
            self.move()
            self.answer()
            self.master.hear()

    def protect(self) -> None:
        """From nothing to where outputs wait."""
        self.log.start()
        self.settle()
        self.look_again()
        assert self.phases == [Phase.CAUGHT_UP], (self.phases, self.reasons, self.said)
        answers: list[str] = []
        self.log.protect(answers.append)
        self.settle()
        assert answers == [""]

    def look_again(self) -> None:
        """As the alarm would."""
        if self.log.look_at is not None:
            self.master.hear()
            self.log.on_time(self.log.look_at)

    def take_over(self) -> Outside:
        """The master is no more; the copy goes on with its client."""
        self.follower.promote()
        shadow = self.follower.shadow
        got = len(self.master.hear())
        if shadow:
            assert got <= shadow.bytes_out
            unsent = shadow.bytes_out - got
            shadow.give()
            self.copy.got = self.master.got
            self.copy.software = Software.resume(
                SessionState.begin(shadow.spec), self.copy.served, self.copy.running, shadow, unsent
            )
            self.copy.hear()
        return self.copy

    def close(self) -> None:
        self.master.close()
        self.copy.close()


def alone(definition: Definition, steps: Sequence[Step]) -> bytes:
    """What the client gets where nothing fails."""
    one = Outside(definition)
    try:
        one.attach()
        for step in steps:
            one.do(step)
        return one.hear()
    finally:
        one.close()


# Gadgets, and what happens to them

KEYBOARD = Definition("keyboard", speed=Speed.FULL, functions=(Part("keyboard"),))
DISK = Definition("disk", functions=(Part("disk", {"luns": [{"medium": "memory:1M"}]}),))
SERIAL = Definition("serial", functions=(Part("serial"),))


def typing() -> list[Step]:
    urbs = Numbers()
    every_4_ms = bytes.fromhex("210a000100000000")
    steps: list[Step] = [Bytes(urbs.configure()), Bytes(urbs.submit(0, setup=every_4_ms))]
    for at, letters in enumerate(("ab", "C", "d")):
        steps += [Bytes(urbs.submit(0x81, 8) + urbs.submit(0x81, 8)), Local({"type_text": letters})]
        steps += [Tick((at * 20 + ms) * MS) for ms in range(0, 20, 4)]
        steps += [Bytes(urbs.submit(0x81, 8)), Bytes(urbs.unlink(urbs.last))]
    return [*steps, Bytes(urbs.submit(0x80, 18, setup=bytes.fromhex("8006000100001200")))]


def command(urbs: Numbers, block: str, data: bytes = b"", expected: int = 0) -> bytes:
    flags = 0 if data else 0x80
    wrapper = cbw(bytes.fromhex(block), len(data) or expected, flags=flags, tag=urbs.last)
    parts = [urbs.submit(0x01, data=wrapper)]
    if data:
        parts.append(urbs.submit(0x01, data=data))
    if expected:
        parts.append(urbs.submit(0x81, expected))
    return b"".join((*parts, urbs.submit(0x81, 13)))


def storing() -> list[Step]:
    urbs = Numbers()
    steps: list[Step] = [Bytes(urbs.configure()), Bytes(command(urbs, "00 00 00 00 00 00"))]
    for number in range(3):
        data = bytes([number + 1]) * 2048
        steps.append(Bytes(command(urbs, f"2a 00 000000{number * 4:02x} 00 0004 00", data)))
        steps.append(Bytes(command(urbs, "35 00 00000000 00 0000 00")))
        steps.append(Bytes(command(urbs, "28 00 00000000 00 0010 00", expected=8192)))
    steps += [
        Local({"spoil_blocks": 4, "last": 5}),
        Bytes(command(urbs, "28 00 00000000 00 0010 00", expected=8192)),
    ]
    steps += [Bytes(command(urbs, "03 00 00 00 12 00", expected=18))]
    return steps


def talking() -> list[Step]:
    urbs = Numbers()
    steps: list[Step] = [
        Bytes(urbs.configure()),
        Bytes(urbs.submit(0, setup=bytes.fromhex("2122030000000000"))),
    ]
    for number in range(4):
        steps += [Bytes(urbs.submit(0x82, 64) + urbs.submit(0x01, data=b"to the port %d" % number))]
        steps += [Local({"send": f"to the host {number}"}), Bytes(urbs.submit(0x82, 8))]
    return steps


Script = Callable[[], list[Step]]
