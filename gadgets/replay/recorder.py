"""`Recorder`: a device around a device that writes down all that goes in, and what comes out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final, Protocol

from appliance.errors import TwinhubError, describe
from gadgets.replay import format as f
from gadgets.usb.around import Around
from gadgets.usb.device import BusEvent, Device, To, Told
from gadgets.usb.inputs import plain_input
from gadgets.usb.urb import Completion, Urb

KEEP: Final = 4096
"""Bytes of an answer that are written down, to be shown if a replay differs; of the rest, the digest."""
LIMIT: Final = 4 << 30
CHUNK: Final = 64 << 10
"""What is gathered before it is written."""
BETWEEN_CHECKPOINTS: Final = 1000
"""Inputs; at each checkpoint all is flushed."""
REMEMBERED: Final = 4096
"""Large OUT data of which is known where it is."""


class Sink(Protocol):
    """A binary file; or what writes to one."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> object: ...


class Recorder(Around):
    """It begins where the device is now, and ends with `close`, at `limit` bytes, or when the
    sink fails: `ended` says why, and the device goes on as if nothing were."""

    def __init__(
        self,
        device: Device,
        sink: Sink,
        definition: Mapping[str, Any] | None = None,
        *,
        keep: int = KEEP,
        limit: int = LIMIT,
    ) -> None:
        super().__init__(device)
        self.inputs_recorded = 0
        self.ended = ""
        self._sink, self._keep, self._limit = sink, keep, limit
        self._written = 0
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._places: OrderedDict[bytes, int] = OrderedDict()
        self._digest = blake2b(digest_size=32)
        self._earlier = device.take_events()
        header = {"definition": definition, "keep": keep, "snapshot": device.snapshot()}
        self._put(f.preamble(header))
        self._write()

    # Facts

    @property
    def digest(self) -> str:
        """Of all output so far: equal for equal runs."""
        return self._digest.hexdigest()

    @property
    def size(self) -> int:
        """Bytes of the recording so far."""
        return self._written + self._pending_size

    def restore(self, state: Mapping[str, Any]) -> None:
        """Ends the recording: what was so far has no place in the new state's past."""
        self.close("the device was set to another state")
        self.device.restore(state)

    # Inputs

    def submit(self, urb: Urb) -> list[Completion]:
        self._took(f.SUBMITTED, self._submitted(urb))
        return self._gave(self.device.submit(urb))

    def unlink(self, number: int) -> bool:
        in_flight = self.device.unlink(number)
        self._took(f.UNLINKED, f.UNLINK.pack(number, in_flight))
        self._digest.update(b"\1" if in_flight else b"\0")
        return in_flight

    def bus(self, event: BusEvent) -> list[Completion]:
        self._took(f.ON_BUS, bytes((f.BUS_EVENTS.index(event),)))
        return self._gave(self.device.bus(event))

    def local(self, input: object) -> list[Completion]:
        inner = input.input if isinstance(input, To) else input
        if not isinstance(inner, self.device.inputs):
            return self.device.local(input)  # which refuses it
        self._took(f.LOCAL, f.to_json(plain_input(input)))
        try:
            completions = self.device.local(input)
        except TwinhubError as error:
            self._output(f.REFUSED, f.to_json(describe(error)))
            raise
        return self._gave(completions)

    def tick(self, now_ns: int) -> list[Completion]:
        self._took(f.TICKED, f.TICK.pack(now_ns))
        return self._gave(self.device.tick(now_ns))

    def take_events(self) -> list[Told]:
        events = self.device.take_events()
        if events and not self.ended:
            self._output(f.EVENTS, f.to_json(f.events(events, self._keep)))
        earlier, self._earlier = self._earlier, []
        return earlier + events

    # Writing

    def flush(self) -> None:
        """Have the file hold all that was recorded."""
        if not self.ended:
            self._checkpoint()
            self._write()

    def _write(self) -> None:
        data = b"".join(self._pending)
        self._written += len(data)
        self._pending, self._pending_size = [], 0
        try:
            self._sink.write(data)
            self._sink.flush()
        except OSError as error:
            self.ended = f"the recording cannot be written: {error.strerror or error}"

    def close(self, reason: str = "") -> None:
        """The last frame. Whoever opened the sink closes it."""
        if not self.ended:
            self._checkpoint()
            self._put(f.frame(f.END, f.to_json({"reason": reason})))
            self._write()
            self.ended = self.ended or reason or "closed"

    def _submitted(self, urb: Urb) -> bytes:
        """With the data, or with the place where it is in the file already."""
        if len(urb.data) < f.LARGE or self.ended:
            return f.submitted(urb, urb.data, 0)
        known = f.digest_of(urb.data)
        place = self._places.get(known)
        if place is not None:
            self._places.move_to_end(known)
            return f.submitted(urb, f.PLACE.pack(place), f.ELSEWHERE)
        payload = f.submitted(urb, urb.data, 0)
        self._places[known] = self.size + f.FRAME.size + len(payload) - len(urb.data)
        if len(self._places) > REMEMBERED:
            self._places.popitem(last=False)
        return payload

    def _took(self, kind: bytes, payload: bytes) -> None:
        if self.ended:
            return
        if self.size >= self._limit:
            self.close(f"the recording has reached its limit of {self._limit} bytes")
            return
        if self.inputs_recorded and self.inputs_recorded % BETWEEN_CHECKPOINTS == 0:
            self.flush()
        self.inputs_recorded += 1
        self._put(f.frame(kind, payload))

    def _gave(self, completions: list[Completion]) -> list[Completion]:
        if completions and not self.ended:
            self._output(f.ANSWERS, f.answers(completions, self._keep))
        return completions

    def _output(self, kind: bytes, payload: bytes) -> None:
        if not self.ended:
            self._digest.update(payload)
            self._put(f.frame(kind, payload))

    def _checkpoint(self) -> None:
        self._put(f.frame(f.AT_CHECKPOINT, f.CHECKPOINT.pack(self.inputs_recorded, self._digest.digest())))

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_size += len(data)
        if self._pending_size >= CHUNK:
            self._write()
