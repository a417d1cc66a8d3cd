"""The relayed session: the relay's shell, between the client's socket and our end of the stub's pair."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from time import CLOCK_BOOTTIME, clock_gettime_ns, monotonic_ns
from typing import Any, Final

from appliance.errors import Busy, UsageError
from appliance.loop import IN, OUT, Ended, Loop
from appliance.sessions.capture import Capture
from appliance.sessions.guard import Guard
from appliance.sessions.half import Half
from appliance.sessions.relay import BATCH, Relay
from appliance.sessions.state import HalfState, SessionState
from appliance.sessions.tap import Tap

Piece = bytes | bytearray | memoryview
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
        self.came = self.went = 0
        """bytes received and sent, ever"""

    @property
    def reads(self) -> bool:
        return not self.stalled

    @property
    def waiting(self) -> int:
        """Bytes that have yet to be sent."""
        return self.half.ready

    def pull(self) -> None:
        """The source is readable or has hung up: receive, judge, send."""
        half = self.half
        if half.ready:
            raise Ended(self.eof)  # only a hang-up is told of a source that is not read
        if not (count := self.take(half.space())):
            return
        half.received(count, monotonic_ns())
        if self.tap:
            self.tap(half.outgoing())
        self.push()

    def take(self, space: memoryview) -> int:
        """Receive; 0: nothing is there. Raises Ended at a hang-up."""
        try:
            count = self.receive(space)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise Ended(f"{self.eof}: {error.strerror}") from None
        if not count:
            raise Ended(self.eof)
        self.came += count
        return count

    def give(self, data: Piece) -> int:
        """Send; returns how much of it. Raises Ended at a hang-up."""
        try:
            count = self.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise Ended(f"{self.lost}: {error.strerror}") from None
        self.went += count
        return count

    def push(self) -> None:
        """Send what may go."""
        half = self.half
        if half.ready and (count := self.give(half.outgoing())):
            half.sent(count)
        if half.ready or self.stalled:
            self.stalled = half.ready > 0
            self.on_stall()


class Relayed:
    """A session whose every URB passes through here."""

    def __init__(
        self,
        loop: Loop,
        state: SessionState,
        client: socket.socket,
        stub: socket.socket,
        guard: Guard | None = None,
    ) -> None:
        self.loop, self.client, self.stub = loop, client, stub
        self.relay = relay = Relay(state, monotonic_ns())
        self.upward = Flow(relay.up, client, stub, CLIENT_GONE, STUB_GONE, self.watch)
        self.downward = Flow(relay.down, stub, client, STUB_GONE, CLIENT_GONE, self.watch)
        self.upward.came, self.downward.went = state.consumed, state.produced
        self.facts, self.gate, self.guard = state.facts, state.gate, guard
        self.frozen = False
        self.lease: int | None = None
        """CLOCK_BOOTTIME, ns, until which a session that is alone may go on; None: no end is set"""
        self.commit: Callable[[int], None] | None = guard.commit if guard else None
        """hears how many of the client's bytes cannot be lost any more; None: nobody asks"""
        self.after: Callable[[], None] | None = None
        """called when something moved"""
        self.at_end: Callable[[], None] | None = None
        self.capture: Capture | None = None
        self.idle_ns: Final = int((state.spec.idle_seconds or 0) * 1e9)
        for sock, handler in ((client, self.on_client), (stub, self.on_stub)):
            sock.setblocking(False)
            loop.watch(sock.fileno(), IN, handler)
        self.watch()
        self.idle_at = relay.active_at + self.idle_ns
        self.look: tuple[int, Callable[[], None]] | None = None
        self.arm()

    def watch(self) -> None:
        """Read a source unless its sink is stalled; wait for a stalled sink."""
        up, down = self.upward, self.downward
        for sock, source, sink in ((self.client, up, down), (self.stub, down, up)):
            wanted = (IN if source.reads else 0) | (OUT if sink.stalled else 0)
            self.loop.want(sock.fileno(), 0 if self.frozen else wanted)

    def freeze_flows(self, on: bool) -> None:
        """Neither read nor write meanwhile; what the stub has said by now is heard first."""
        if on and not self.frozen and self.downward.reads:
            self.downward.pull()
        self.frozen = on
        self.watch()
        if not on:
            self.upward.push()
            self.downward.push()

    def is_late(self) -> bool:
        """Whether the lease has run out, by which bytes may move; then none do until there is another."""
        late = self.lease is not None and clock_gettime_ns(CLOCK_BOOTTIME) >= self.lease
        if late:
            self.frozen = True
            self.watch()
        return late

    def on_client(self, events: int) -> None:
        if self.lease is not None and self.is_late():
            return
        if events & ~OUT:
            self.upward.pull()
            if self.commit:
                self.commit(self.upward.came)
        if events & OUT:
            self.downward.push()
        if self.relay.answers:
            self.answer()
        if self.after:
            self.after()

    def on_stub(self, events: int) -> None:
        if self.lease is not None and self.is_late():
            return
        if events & ~OUT:
            self.downward.pull()
        if events & OUT:
            self.upward.push()
        if len(self.relay.down.done) >= BATCH:
            self.relay.settle()
        if self.relay.answers:
            self.answer()
        if self.after:
            self.after()

    def answer(self) -> None:
        """Our own answers go out as soon as no PDU is on its way to the client."""
        down = self.relay.down
        while self.relay.answers and not down.ready and not down.due:
            down.received(0, monotonic_ns())
            self.downward.push()

    def arm(self) -> None:
        """One alarm serves both: the client's idleness, and a look that was asked for."""
        due = ([self.idle_at] if self.idle_ns else []) + ([self.look[0]] if self.look else [])
        self.loop.at(min(due, default=0), self.on_time if due else None)

    def look_at(self, due: int, look: Callable[[], None]) -> None:
        self.look = due, look
        self.arm()

    def on_time(self) -> None:
        now = monotonic_ns()
        if self.idle_ns:
            self.relay.settle()
            self.idle_at = self.relay.active_at + self.idle_ns
            if now >= self.idle_at:
                raise Ended(f"idle for {self.idle_ns / 1e9:g} s")
        if self.look and now >= self.look[0]:
            (_, look), self.look = self.look, None
            look()
        self.arm()

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

    def state(self, produced: int) -> SessionState:
        """For a backup, at a moment when no PDU is under way to the client."""
        now = self.relay.freeze()
        return replace(now, down=HalfState(), facts=self.facts, consumed=self.upward.came, produced=produced)

    def freeze(self) -> SessionState:
        if self.at_end:
            raise Busy("a session with a backup does not become newer code; switch over instead")
        return replace(
            self.relay.freeze(),
            consumed=self.upward.came,
            produced=self.downward.went,
            facts=self.facts,
            gate=self.gate,
        )

    def sockets(self) -> tuple[socket.socket, ...]:
        return self.client, self.stub

    def close(self) -> None:
        if self.at_end:
            self.at_end()
        self.end_capture()
        if self.guard:
            self.guard.let_go()
            self.guard.close()
