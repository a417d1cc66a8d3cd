"""The gadget session: the USB/IP stream of a client's socket, on a software device that runs."""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from fcntl import ioctl
from itertools import islice
from typing import Any, Final, Protocol

from appliance.errors import UsageError
from appliance.loop import IN, OUT, Ended
from appliance.sessions.capture import Capture
from appliance.sessions.guard import Guard, Unguarded
from appliance.sessions.running import Running
from appliance.sessions.state import SessionState
from appliance.sessions.telemetry import Telemetry
from appliance.usbip.stream import Stream
from appliance.usbip.wire import Unlink
from gadgets.usb.urb import Completion, Status, TransferType, Urb

PIECES: Final = 64
"""Sent at once."""


SIOCOUTQ: Final = 0x5411
"""sockios(7): bytes in the send queue that the peer has not acknowledged. So named for Unix sockets, too."""

Piece = bytes | memoryview
UNGUARDED: Final = Unguarded()


class OutputLog(Protocol):
    """What stands between a device's answers and its client, while there is a backup."""

    def received(self, data: memoryview) -> None:
        """From the client; before the device has it."""

    def outputs(self, client: Software, pieces: Iterable[Piece]) -> Iterable[Piece]:
        """What an input made, in all. Of that, what may go out now; the rest comes by `let_go`."""


class Resumed(Protocol):
    """A session that began in another process."""

    stream: Stream
    bytes_in: int
    bytes_out: int
    facts: Mapping[str, Any]

    def left(self, unsent: int) -> Iterable[Piece]:
        """What has yet to be sent to its client: `unsent` bytes of what `promote` passed, and all since."""


class Software:
    """The `Host` of a running device and the `Carrier` of a session; attached from now until `close`.

    With a backup, answers are `produced` first and `outgoing` when the log lets them go; without, it is one.
    """

    def __init__(
        self,
        state: SessionState,
        client: socket.socket,
        running: Running,
        facts: Mapping[str, Any] | None = None,
        guard: Guard = UNGUARDED,
    ) -> None:
        self._begin(state, client, running, guard)
        self.facts = facts or {}
        self.stream = Stream(state.spec.devid, running.device.transfer_type)
        running.attach(self)

    @classmethod
    def resume(
        cls,
        state: SessionState,
        client: socket.socket,
        running: Running,
        before: Resumed,
        unsent: int,
        guard: Guard = UNGUARDED,
    ) -> Software:
        """Go on with a session that is attached already, in place of the host that it has."""
        self = cls.__new__(cls)
        self._begin(state, client, running, guard)
        self.facts, self.stream, self.bytes_in = before.facts, before.stream, before.bytes_in
        self.outgoing += before.left(unsent)
        self.sent = before.bytes_out - sum(map(len, self.outgoing))
        running.host = self
        self.commit(self.bytes_in)
        self.flush()
        running.arm()
        return self

    def _begin(self, state: SessionState, client: socket.socket, running: Running, guard: Guard) -> None:
        self.loop, self.spec, self.client, self.running = running.loop, state.spec, client, running
        self.guard, self.commit = guard, guard.commit
        self.local = running.local_plain
        self.telemetry = Telemetry()
        self.bytes_in = self.sent = 0
        """positions in the client's stream"""
        self.outgoing: deque[Piece] = deque()
        self.produced = self.outgoing
        self.log: OutputLog | None = None
        self.paused = False
        self.wanted = IN
        self.capture: Capture | None = None
        self.active_at = time.monotonic_ns()
        self.idle_ns = int((state.spec.idle_seconds or 0) * 1e9)
        client.setblocking(False)
        self.loop.watch(client.fileno(), IN, self.on_client)

    def on_client(self, events: int) -> None:
        if events == OUT:
            self.push()
            return
        if self.running.lease is not None and self.running.is_fenced:
            self.look()
            return
        space = self.stream.space()
        try:
            count = self.client.recv_into(space)
        except BlockingIOError:
            return
        except OSError as error:
            raise Ended(f"the client hung up: {error.strerror}") from None
        if not count:
            raise Ended("the client hung up")
        self.bytes_in += count
        if self.log is None:
            self.commit(self.bytes_in)
        else:
            self.log.received(space[:count])
        self.running.take(self.stream.received(count, time.monotonic_ns()))

    # The host of the device

    def submitted(self, urb: Urb) -> None:
        if self.capture:
            self.capture.submit(urb, self.kind(urb))

    def unlinked(self, unlink: Unlink, cancelled: bool) -> None:
        if cancelled and unlink.number in self.stream.pending:
            urb, *_ = self.stream.pending[unlink.number]
            self.telemetry.of(urb.endpoint).unlinked += 1
            if self.capture:
                self.capture.complete(urb, Completion(urb.number, Status.CONNRESET), self.kind(urb))
        if answer := self.stream.unlinked(unlink, cancelled):
            self.produced.append(answer)

    def complete(self, completions: Iterable[Completion]) -> None:
        stream, counters = self.stream, self.telemetry.by_address
        for done in completions:
            sent = stream.pending.get(done.number)
            if sent is None:
                continue
            self.produced += stream.answer(done)
            urb, _, began = sent
            now = time.monotonic_ns()
            counters[urb.endpoint].count(now - began, done.status, done.actual_length)
            if done.actual_length:
                self.active_at = now
            if self.capture:
                self.capture.complete(urb, done, self.kind(urb))

    def flush(self) -> None:
        """A client that does not take its answers is not read from meanwhile."""
        if self.log is not None:
            made, self.produced = self.produced, deque()
            self.outgoing += self.log.outputs(self, made)
        self.push()

    def push(self) -> None:
        outgoing = self.outgoing
        while outgoing and not (self.running.lease is not None and self.running.is_fenced):
            try:
                if len(outgoing) == 1:
                    sent = self.client.send(outgoing[0])
                else:
                    sent = self.client.sendmsg(islice(outgoing, PIECES))
            except BlockingIOError:
                break
            except OSError:
                outgoing.clear()  # its hang-up comes by the loop
                break
            self.sent += sent
            forget(outgoing, sent)
        self.look()

    def look(self) -> None:
        """Wait for what can be done now."""
        if self.running.lease is not None and self.running.is_fenced:
            wanted = 0
        else:
            wanted = OUT if self.outgoing else 0 if self.paused else IN
        if wanted != self.wanted:
            self.wanted = wanted
            self.loop.want(self.client.fileno(), wanted)

    def idle_at(self) -> int | None:
        return self.active_at + self.idle_ns if self.idle_ns else None

    def release(self) -> None:
        raise Ended(f"idle for {self.idle_ns / 1e9:g} s")

    def kind(self, urb: Urb) -> TransferType:
        return self.running.device.transfer_type(urb.endpoint) or TransferType.BULK

    # Beside a backup

    def follow(self, log: OutputLog | None) -> None:
        """What is produced goes through this log; None: at once."""
        self.log = log
        if log is None:
            self.outgoing += self.produced if self.produced is not self.outgoing else ()
            self.produced = self.outgoing
        elif self.produced is self.outgoing:
            self.produced = deque()

    def let_go(self, pieces: Iterable[Piece]) -> None:
        """They may go out."""
        self.outgoing += pieces
        if self.outgoing:
            self.push()

    def pause(self, on: bool) -> None:
        """Do not read from the client meanwhile."""
        if self.paused != on:
            self.paused = on
            self.look()

    def acknowledged(self) -> int:
        """How many bytes the client's kernel has."""
        queued = ioctl(self.client.fileno(), SIOCOUTQ, bytes(4))
        return self.sent - int.from_bytes(queued, sys.byteorder)

    def snapshot(self) -> dict[str, Any]:
        return {
            "spec": self.spec.to_json(),
            "facts": self.facts,
            "stream": self.stream.snapshot(),
            "bytes_in": self.bytes_in,
            "sent": self.sent,
            "outgoing": [bytes(piece) for piece in self.outgoing],
        }

    # The carrier of the session

    def stats(self) -> dict[str, Any]:
        in_flight = Counter(urb.endpoint for urb, *_ in self.stream.pending.values())
        return {
            **self.telemetry.report(in_flight),
            "dropped": 0,
            "capture": self.capture.stats() if self.capture else None,
        }

    def record(self, fd: int) -> None:
        """See Relayed.record."""
        self.end_capture()
        self.capture = Capture(self.loop, fd, self.spec.devid, self.end_capture)

    def end_capture(self) -> None:
        if self.capture:
            self.capture.close()
        self.capture = None

    def freeze(self) -> SessionState:
        raise UsageError("a gadget's session cannot become newer code; it ends with the gadget's process")

    def sockets(self) -> tuple[socket.socket, ...]:
        return (self.client,)

    def close(self) -> None:
        self.running.detach()
        self.end_capture()
        self.guard.let_go()
        self.guard.close()


def forget(pieces: deque[bytes | memoryview], sent: int) -> None:
    """The first `sent` bytes are on their way."""
    while sent:
        first = pieces.popleft()
        if len(first) > sent:
            pieces.appendleft(memoryview(first)[sent:])
            return
        sent -= len(first)
