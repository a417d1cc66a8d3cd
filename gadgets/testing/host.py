"""`Host`: a USB host in this process, without a kernel: it plugs the gadget in, and does transfers with it.

Several threads may use it, as host software does that reads in the background. Time is real: a transfer waits
for its answer as long as its timeout says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import count
from threading import Condition

from appliance.errors import DeviceFailed, Timeout
from gadgets.testing.diary import Diary
from gadgets.usb.device import BusEvent, Device
from gadgets.usb.urb import ENDPOINT_IN, Completion, IsoPacket, SetupPacket, Status, Urb

SECOND = 1.0
"""The usual timeout."""
SET_CONFIGURATION = (0x00, 0x09)


class TransferFailed(DeviceFailed):
    """The device refused; `status` is a negative errno, Status.PIPE for a stall."""

    def __init__(self, what: str, status: int) -> None:
        known = {each.value: each.name for each in Status}
        super().__init__(f"{what} failed: {known.get(status, status)}")
        self.status = status


class Host:
    """`device` is attached to it from now on, and in its first configuration, as with any real host."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.diary = Diary()
        self._changed = Condition()
        self._numbers = count(1)
        self._done: dict[int, Completion] = {}
        with self._changed:
            self._note(device.bus(BusEvent.ATTACH))
        self.control(*SET_CONFIGURATION, value=device.configurations[0].value)

    # Transfers. `timeout` in seconds; None waits for ever. Raises TransferFailed or Timeout.

    def control(
        self,
        request_type: int,
        request: int,
        value: int = 0,
        index: int = 0,
        data: bytes = b"",
        length: int = 0,
        timeout: float | None = SECOND,
    ) -> bytes:
        """`data` goes out, or at most `length` bytes come in: `request_type` says which."""
        setup = SetupPacket(request_type, request, value, index, len(data) or length)
        direction = request_type & ENDPOINT_IN
        return self.transfer(direction, data, setup.length, setup=setup, timeout=timeout).data

    def read(self, endpoint: int, length: int, timeout: float | None = SECOND) -> bytes:
        """One bulk or interrupt transfer."""
        return self.transfer(endpoint | ENDPOINT_IN, b"", length, timeout=timeout).data

    def write(self, endpoint: int, data: bytes, timeout: float | None = SECOND) -> int:
        """One bulk or interrupt transfer; how many bytes the device took."""
        return self.transfer(endpoint, data, len(data), timeout=timeout).actual_length

    def transfer(
        self,
        endpoint: int,
        data: bytes,
        length: int,
        *,
        setup: SetupPacket | None = None,
        packets: tuple[IsoPacket, ...] = (),
        timeout: float | None = SECOND,
    ) -> Completion:
        """Any transfer, to its end."""
        urb = Urb(next(self._numbers), endpoint, length, data, setup, packets=packets)
        with self._changed:
            self.diary.submitted(urb)
            self._note(self.device.submit(urb))
            if not self._wait(lambda: urb.number in self._done, timeout):
                self.device.unlink(urb.number)
                self.diary.unlinked(urb.number)
                raise Timeout(f"{_name(urb)} was not answered within {timeout:g} s")
            completion = self._done.pop(urb.number)
        if completion.status != Status.OK:
            raise TransferFailed(_name(urb), completion.status)
        return completion

    def reset(self) -> None:
        """Of the port; then the first configuration, as a host sets it."""
        with self._changed:
            self._note(self.device.bus(BusEvent.RESET))
        self.control(*SET_CONFIGURATION, value=self.device.configurations[0].value)

    def detach(self) -> None:
        with self._changed:
            self._note(self.device.bus(BusEvent.DETACH))

    # What a rig needs

    def local(self, input: object) -> None:
        """A local input to the device."""
        with self._changed:
            self._note(self.device.local(input))

    def wait(self, done: Callable[[], bool], timeout: float) -> bool:
        """Let time pass until `done`, or False."""
        with self._changed:
            return self._wait(done, timeout)

    def _note(self, completions: Iterable[Completion]) -> None:
        completions = list(completions)
        self._done |= {done.number: done for done in completions}
        self.diary.completed(completions)
        self.diary.events += self.device.take_events()
        self._changed.notify_all()

    def _wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic_ns() + int(timeout * 1e9)
        while not done():
            now = time.monotonic_ns()
            due = self.device.wake_at
            if due is not None and due <= now:
                self._note(self.device.tick(now))
            elif deadline is not None and deadline <= now:
                return False
            else:
                moments = [moment for moment in (due, deadline) if moment is not None]
                self._changed.wait((min(moments) - now) / 1e9 if moments else None)
        return True


def _name(urb: Urb) -> str:
    return f"control request {urb.setup}" if urb.setup else f"a transfer of endpoint {urb.endpoint:02x}"
