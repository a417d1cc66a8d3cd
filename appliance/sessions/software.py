"""The gadget session: the USB/IP stream of a client's socket, on a software device that runs."""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from appliance.errors import UsageError
from appliance.loop import IN, OUT, Ended
from appliance.sessions.capture import Capture
from appliance.sessions.running import Running
from appliance.sessions.state import SessionState
from appliance.sessions.telemetry import Telemetry
from appliance.usbip.stream import Stream
from appliance.usbip.wire import Unlink
from gadgets.usb.urb import Completion, Status, TransferType, Urb

PIECES: Final = 64
"""Sent at once."""


class Software:
    """The `Host` of a running device and the `Carrier` of a session; attached from now until `close`."""

    def __init__(self, state: SessionState, client: socket.socket, running: Running) -> None:
        spec = state.spec
        self.loop, self.spec, self.client, self.running = running.loop, spec, client, running
        self.local = running.local_plain
        self.stream = Stream(spec.devid, running.device.transfer_type)
        self.telemetry = Telemetry()
        self.outgoing: deque[bytes | memoryview] = deque()
        self.stalled = False
        self.capture: Capture | None = None
        self.active_at = time.monotonic_ns()
        self.idle_ns: Final = int((spec.idle_seconds or 0) * 1e9)
        client.setblocking(False)
        self.loop.watch(client.fileno(), IN, self.on_client)
        running.attach(self)

    def on_client(self, events: int) -> None:
        if events == OUT:
            self.flush()
            return
        try:
            count = self.client.recv_into(self.stream.space())
        except BlockingIOError:
            return
        except OSError as error:
            raise Ended(f"the client hung up: {error.strerror}") from None
        if not count:
            raise Ended("the client hung up")
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
            self.outgoing.append(answer)

    def complete(self, completions: Iterable[Completion]) -> None:
        stream, counters = self.stream, self.telemetry.by_address
        for done in completions:
            sent = stream.pending.get(done.number)
            if sent is None:
                continue
            self.outgoing += stream.answer(done)
            urb, _, began = sent
            now = time.monotonic_ns()
            counters[urb.endpoint].count(now - began, done.status, done.actual_length)
            if done.actual_length:
                self.active_at = now
            if self.capture:
                self.capture.complete(urb, done, self.kind(urb))

    def flush(self) -> None:
        """A client that does not take its answers is not read from meanwhile."""
        outgoing = self.outgoing
        while outgoing:
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
            forget(outgoing, sent)
        if self.stalled != bool(outgoing):
            self.stalled = bool(outgoing)
            self.loop.want(self.client.fileno(), OUT if outgoing else IN)

    def idle_at(self) -> int | None:
        return self.active_at + self.idle_ns if self.idle_ns else None

    def release(self) -> None:
        raise Ended(f"idle for {self.idle_ns / 1e9:g} s")

    def kind(self, urb: Urb) -> TransferType:
        return self.running.device.transfer_type(urb.endpoint) or TransferType.BULK

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


def forget(pieces: deque[bytes | memoryview], sent: int) -> None:
    """The first `sent` bytes are on their way."""
    while sent:
        first = pieces.popleft()
        if len(first) > sent:
            pieces.appendleft(memoryview(first)[sent:])
            return
        sent -= len(first)
