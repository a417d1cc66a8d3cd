"""The gadget session: a software device and its USB/IP stream on the client's socket."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from appliance.errors import UsageError
from appliance.loop import IN, OUT, Ended, Loop
from appliance.sessions.capture import Capture
from appliance.sessions.state import SessionState
from appliance.sessions.telemetry import Telemetry
from appliance.usbip.stream import Stream
from appliance.usbip.wire import Unlink
from gadgets.hid.keyboard import Press, Release, TypeText, keyboard
from gadgets.usb.device import BusEvent, Device
from gadgets.usb.urb import Completion, Status, TransferType, Urb

CHUNK: Final = 64 << 10

GADGETS: Final[Mapping[str, Callable[[], Device]]] = {"keyboard": keyboard}
"""Software devices by the name in the configuration's `[gadgets]` and in `SessionSpec.gadget`."""


def _type_text(text: str, layout: str = "us") -> TypeText:
    return TypeText(text, layout)


INPUTS: Final[Mapping[str, Callable[..., object]]] = {
    "type_text": _type_text,
    "press": lambda keys: Press(tuple(keys)),
    "release": lambda keys: Release(tuple(keys)),
}
"""Local inputs by the key that names them: its value, and the keys beside it, are what makes the input."""


def local_input(given: Mapping[str, Any]) -> object:
    """`{"type_text": "hello", "layout": "de"}` as the gadget's input. Raises UsageError."""
    named = [name for name in INPUTS if name in given]
    if len(named) != 1:
        raise UsageError(f"an input needs exactly one of the keys {', '.join(INPUTS)}")
    options = {key: value for key, value in given.items() if key != named[0]}
    try:
        return INPUTS[named[0]](given[named[0]], **options)
    except TypeError as error:
        raise UsageError(f"input {named[0]}: {error}") from None


class Software:
    """Drives the device: its URBs from the client, local inputs, its own timer. Nothing is polled."""

    def __init__(self, loop: Loop, state: SessionState, client: socket.socket) -> None:
        spec = state.spec
        if spec.gadget not in GADGETS:
            raise UsageError(f"there is no gadget {spec.gadget!r}; there are {', '.join(GADGETS)}")
        self.loop, self.spec, self.client = loop, spec, client
        self.device = GADGETS[spec.gadget]()
        self.stream = Stream(spec.devid, self.device.transfer_type)
        self.telemetry = Telemetry()
        self.began: dict[int, tuple[Urb, int]] = {}
        self.outgoing = bytearray()
        self.capture: Capture | None = None
        self.active_at = time.monotonic_ns()
        self.idle_ns: Final = int((spec.idle_seconds or 0) * 1e9)
        client.setblocking(False)
        loop.watch(client.fileno(), IN, self.on_client)
        self.finish(self.device.bus(BusEvent.ATTACH))

    def on_client(self, events: int) -> None:
        if events & ~OUT:
            self.receive()
        self.flush()

    def receive(self) -> None:
        try:
            data = self.client.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            raise Ended(f"the client hung up: {error.strerror}") from None
        if not data:
            raise Ended("the client hung up")
        for event in self.stream.feed(data):
            if isinstance(event, Unlink):
                self.unlink(event)
            else:
                self.submit(event)
        self.arm()

    def submit(self, urb: Urb) -> None:
        self.began[urb.number] = urb, time.monotonic_ns()
        if self.capture:
            self.capture.submit(urb, self.kind(urb))
        self.complete(self.device.submit(urb))

    def unlink(self, event: Unlink) -> None:
        cancelled = self.device.unlink(event.number)
        if cancelled and event.number in self.began:
            urb, _ = self.began.pop(event.number)
            self.telemetry.of(urb.endpoint).unlinked += 1
            self.tell_capture(urb, Completion(urb.number, Status.CONNRESET))
        self.outgoing += self.stream.unlinked(event, cancelled)

    def complete(self, completions: Iterable[Completion]) -> None:
        for done in completions:
            self.outgoing += self.stream.completion(done)
            if done.number not in self.began:
                continue
            urb, began = self.began.pop(done.number)
            now = time.monotonic_ns()
            self.telemetry.of(urb.endpoint).count(now - began, done.status, done.actual_length)
            self.tell_capture(urb, done)
            if done.actual_length:
                self.active_at = now

    def tell_capture(self, urb: Urb, done: Completion) -> None:
        if self.capture:
            self.capture.complete(urb, done, self.kind(urb))

    def kind(self, urb: Urb) -> TransferType:
        return self.device.transfer_type(urb.endpoint) or TransferType.BULK

    def flush(self) -> None:
        """A client that does not take its answers is not read from meanwhile."""
        if self.outgoing:
            try:
                del self.outgoing[: self.client.send(self.outgoing)]
            except BlockingIOError:
                pass
            except OSError as error:
                raise Ended(f"the client hung up: {error.strerror}") from None
        self.loop.want(self.client.fileno(), OUT if self.outgoing else IN)

    def finish(self, completions: Iterable[Completion]) -> None:
        """After an input that did not come from the client."""
        self.complete(completions)
        self.flush()
        self.arm()

    def arm(self) -> None:
        """The one timer serves the device's ticks and the idle release."""
        wake, idle = self.device.wake_at, self.active_at + self.idle_ns if self.idle_ns else None
        due = min((at for at in (wake, idle) if at is not None), default=None)
        self.loop.at(due or 0, None if due is None else self.on_time)

    def on_time(self) -> None:
        now = time.monotonic_ns()
        if self.idle_ns and now >= self.active_at + self.idle_ns:
            raise Ended(f"idle for {self.idle_ns / 1e9:g} s")
        self.finish(self.device.tick(now))

    def local(self, given: dict[str, Any]) -> None:
        self.finish(self.device.local(local_input(given)))

    def stats(self) -> dict[str, Any]:
        in_flight = Counter(urb.endpoint for urb, _ in self.began.values())
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
        raise UsageError("a gadget's session cannot become newer code; it ends with its process")

    def sockets(self) -> tuple[socket.socket, ...]:
        return (self.client,)

    def close(self) -> None:
        self.device.bus(BusEvent.DETACH)
        self.end_capture()
