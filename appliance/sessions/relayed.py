"""The relayed session: the relay's shell, between the client's socket and our end of the stub's pair."""

from __future__ import annotations

import socket
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, Final

from appliance.errors import UsageError
from appliance.loop import IN, OUT, Ended, Loop
from appliance.sessions.capture import Capture
from appliance.sessions.half import Half
from appliance.sessions.relay import BATCH, Relay
from appliance.sessions.state import SessionState
from appliance.sessions.tap import Tap

CLIENT_GONE, STUB_GONE = "the client hung up", "the device is gone"


class Flow:
    """One byte direction between two non-blocking sockets; a slow sink stops the reading of its source."""

    def __init__(
        self,
        half: Half,
        source: socket.socket,
        sink: socket.socket,
        eof: str,
        lost: str,
        on_stall: Callable[[], None],
    ) -> None:
        self.half, self.receive, self.send = half, source.recv_into, sink.send
        self.eof, self.lost = eof, lost
        self.stalled = half.ready > 0
        self.on_stall = on_stall
        self.tap: Callable[[memoryview], None] | None = None

    def pull(self) -> None:
        """The source is readable or has hung up: receive, judge, send."""
        half = self.half
        if half.ready:
            raise Ended(self.eof)  # only a hang-up is told of a source that is not read
        try:
            count = self.receive(half.space())
        except BlockingIOError:
            return
        except OSError as error:
            raise Ended(f"{self.eof}: {error.strerror}") from None
        if not count:
            raise Ended(self.eof)
        half.received(count, monotonic_ns())
        if self.tap:
            self.tap(half.outgoing())
        self.push()

    def push(self) -> None:
        """Send what may go."""
        half = self.half
        if half.ready:
            try:
                half.sent(self.send(half.outgoing()))
            except BlockingIOError:
                pass
            except OSError as error:
                raise Ended(f"{self.lost}: {error.strerror}") from None
        if half.ready or self.stalled:
            self.stalled = half.ready > 0
            self.on_stall()


class Relayed:
    """A session whose every URB passes through here."""

    def __init__(self, loop: Loop, state: SessionState, client: socket.socket, stub: socket.socket) -> None:
        self.loop, self.client, self.stub = loop, client, stub
        self.relay = relay = Relay(state, monotonic_ns())
        self.upward = Flow(relay.up, client, stub, CLIENT_GONE, STUB_GONE, self.watch)
        self.downward = Flow(relay.down, stub, client, STUB_GONE, CLIENT_GONE, self.watch)
        self.capture: Capture | None = None
        self.idle_ns: Final = int((state.spec.idle_seconds or 0) * 1e9)
        for sock, handler in ((client, self.on_client), (stub, self.on_stub)):
            sock.setblocking(False)
            loop.watch(sock.fileno(), IN, handler)
        self.watch()
        if self.idle_ns:
            loop.at(relay.active_at + self.idle_ns, self.on_idle)

    def watch(self) -> None:
        """Read a source unless its sink is stalled; wait for a stalled sink."""
        up, down = self.upward.stalled, self.downward.stalled
        self.loop.want(self.client.fileno(), (0 if up else IN) | (OUT if down else 0))
        self.loop.want(self.stub.fileno(), (0 if down else IN) | (OUT if up else 0))

    def on_client(self, events: int) -> None:
        if events & ~OUT:
            self.upward.pull()
        if events & OUT:
            self.downward.push()
        if self.relay.answers:
            self.answer()

    def on_stub(self, events: int) -> None:
        if events & ~OUT:
            self.downward.pull()
        if events & OUT:
            self.upward.push()
        if len(self.relay.down.done) >= BATCH:
            self.relay.settle()
        if self.relay.answers:
            self.answer()

    def answer(self) -> None:
        """Our own answers go out as soon as no PDU is on its way to the client."""
        down = self.relay.down
        while self.relay.answers and not down.ready and not down.due:
            down.received(0, monotonic_ns())
            self.downward.push()

    def on_idle(self) -> None:
        self.relay.settle()
        due = self.relay.active_at + self.idle_ns
        if monotonic_ns() >= due:
            raise Ended(f"idle for {self.idle_ns / 1e9:g} s")
        self.loop.at(due, self.on_idle)

    def stats(self) -> dict[str, Any]:
        return {**self.relay.stats(), "capture": self.capture.stats() if self.capture else None}

    def record(self, fd: int) -> None:
        """Write a pcapng capture to `fd`, which is ours now, until it hangs up or the session ends."""
        self.end_capture()
        relay = self.relay
        self.capture = Capture(self.loop, fd, relay.spec.devid, self.end_capture)
        tap = Tap(self.capture, relay.find, relay.pending, relay.unlinks, relay.up.due, relay.down.due)
        self.upward.tap, self.downward.tap = tap.to_stub, tap.to_client

    def end_capture(self) -> None:
        if self.capture:
            self.capture.close()
        self.capture = self.upward.tap = self.downward.tap = None

    def local(self, given: dict[str, Any]) -> None:
        raise UsageError("a real device takes no local input; only software gadgets do")

    def freeze(self) -> SessionState:
        return self.relay.freeze()

    def sockets(self) -> tuple[socket.socket, ...]:
        return self.client, self.stub

    def close(self) -> None:
        self.end_capture()
