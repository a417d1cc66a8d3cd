"""The data endpoints of a device: transfers that wait, data that waits for transfers, halts.

The rules, which hold for every gadget:
1. An IN transfer without data for it is parked, and completed first in, first out.
2. What a function sends is a queue of messages. A transfer gets bytes of one message only; a message longer
   than its transfer goes on in the next one. So a message ends like a real one: short, or with a ZLP.
3. An OUT transfer is offered to the function, which takes it or lets it wait (NAK) until it says `ready`.
4. A halt completes the parked transfers with PIPE and keeps queued data for after CLEAR_HALT.
5. An unlinked transfer is forgotten and never completes. A closed pipe completes what is parked, with
   the status it is told.
6. Isochronous transfers never wait: a packet without data is empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from appliance.errors import Unavailable
from gadgets.usb.descriptors import Endpoint
from gadgets.usb.urb import SHORT_NOT_OK, ZERO_PACKET, Completion, IsoPacket, Status, TransferType, Urb

MAX_PARKED = 4096
"""Transfers one endpoint lets wait; more fail with PROTO."""
OK, REMOTEIO, OVERFLOW = Status.OK, Status.REMOTEIO, Status.OVERFLOW
ISOCHRONOUS = TransferType.ISOCHRONOUS


class Owner(Protocol):
    """What stands behind an endpoint: see gadgets/usb/function.py."""

    def out(self, endpoint: int, data: bytes) -> bool: ...
    def fill(self, endpoint: int, length: int) -> bytes | None: ...


@dataclass(slots=True)
class Pipe:
    """One endpoint in use. `wedged`: halted until the function releases it, whatever the host clears."""

    address: int
    transfer_type: TransferType
    packet_size: int
    owner: Owner
    parked: deque[Urb] = field(default_factory=deque)
    queue: deque[bytes | memoryview] = field(default_factory=deque)
    halted: bool = False
    wedged: bool = False


class Pipes:
    """All endpoints of the current configuration and alternate settings, by address."""

    def __init__(self) -> None:
        self._open: dict[int, Pipe] = {}
        self._stirred: deque[Pipe] = deque()
        self._done: list[Completion] = []

    # What the device does

    def open(self, endpoint: Endpoint, owner: Owner) -> None:
        packet_size = max(endpoint.packet_size, 1)
        self._open[endpoint.address] = Pipe(endpoint.address, endpoint.transfer_type, packet_size, owner)

    def close(self, address: int, status: int) -> None:
        """The endpoint goes; its parked transfers complete with `status`, its queued data is lost."""
        pipe = self._open.pop(address, None)
        if pipe:
            self._fail(pipe, status)

    def close_all(self, status: int) -> None:
        for address in list(self._open):
            self.close(address, status)

    def forget_all(self) -> None:
        """Everything goes without a trace: there is nobody left to complete transfers to."""
        self._open.clear()
        self._done.clear()

    def submit(self, urb: Urb) -> list[Completion]:
        """What completes by it, in order: itself at once, as a rule, without ever being parked."""
        pipe = self._open.get(urb.endpoint)
        if pipe is None or pipe.halted:
            self._end(urb, Status.PIPE)
        elif pipe.transfer_type is ISOCHRONOUS:
            self._isochronous(pipe, urb)
        elif len(pipe.parked) >= MAX_PARKED:
            self._end(urb, Status.PROTO)
        elif pipe.parked:
            pipe.parked.append(urb)
            self._run(pipe)
        elif not self._move(pipe, urb):
            pipe.parked.append(urb)
        return self.take()

    def unlink(self, number: int) -> bool:
        """True if it was parked; then it is gone and never completes."""
        for pipe in self._open.values():
            for urb in pipe.parked:
                if urb.number == number:
                    pipe.parked.remove(urb)
                    return True
        return False

    def take(self) -> list[Completion]:
        """Let everything that can move move, and hand out what completed, in order."""
        while self._stirred:
            pipe = self._stirred.popleft()
            if pipe.parked:
                self._run(pipe)
        done, self._done = self._done, []
        return done

    def find(self, address: int) -> Pipe | None:
        return self._open.get(address)

    # What a function does

    def send(self, address: int, data: bytes) -> None:
        """Queue one message (b"" is a zero-length packet). Raises Unavailable on an endpoint not in use."""
        pipe = self._used(address)
        pipe.queue.append(data)
        self._stirred.append(pipe)

    def queued(self, address: int) -> int:
        """How many messages wait for IN transfers."""
        pipe = self._open.get(address)
        return len(pipe.queue) if pipe else 0

    def drop(self, address: int) -> None:
        """Throw away what is queued."""
        self._used(address).queue.clear()

    def ready(self, address: int) -> None:
        """Look again: an OUT transfer can be taken now, or `fill` has data now."""
        self._stirred.append(self._used(address))

    def halt(self, address: int, *, wedge: bool = False) -> None:
        """Stall until the host clears it; with `wedge`, until `release`."""
        pipe = self._used(address)
        pipe.halted = True
        pipe.wedged = pipe.wedged or wedge
        self._stirred.append(pipe)

    def clear_halt(self, address: int) -> None:
        """The host's CLEAR_FEATURE(ENDPOINT_HALT); a wedged endpoint stays halted."""
        pipe = self._used(address)
        pipe.halted = pipe.wedged

    def release(self, address: int) -> None:
        """End a halt, wedged or not."""
        pipe = self._used(address)
        pipe.halted = pipe.wedged = False

    # How transfers move

    def _used(self, address: int) -> Pipe:
        pipe = self._open.get(address)
        if pipe is None:
            raise Unavailable(f"endpoint {address:02x} is not in use: no host has configured this device")
        return pipe

    def _run(self, pipe: Pipe) -> None:
        while pipe.parked and not pipe.halted and self._move(pipe, pipe.parked[0]):
            pipe.parked.popleft()
        if pipe.halted:
            self._fail(pipe, Status.PIPE)

    def _move(self, pipe: Pipe, urb: Urb) -> bool:
        """The first transfer completes; or not: it has to wait."""
        if not pipe.address & 0x80:
            return self._move_out(pipe, urb)
        length, queue, status = urb.length, pipe.queue, OK
        if queue:
            data, status = next_part(pipe, length)
        else:
            filled = pipe.owner.fill(pipe.address, length)
            if filled is None:
                return False
            data = filled
            if queue or len(data) > length:
                queue.append(data)
                data, status = next_part(pipe, length)
        if urb.flags & SHORT_NOT_OK and status is OK and len(data) < length:
            status = REMOTEIO
        self._done.append(Completion(urb.number, status, len(data), data))
        return True

    def _move_out(self, pipe: Pipe, urb: Urb) -> bool:
        data = urb.data
        size = len(data)
        if not pipe.owner.out(pipe.address, data):
            return False
        if urb.flags & ZERO_PACKET and size and size % pipe.packet_size == 0:
            pipe.owner.out(pipe.address, b"")
        self._done.append(Completion(urb.number, OK, size))
        return True

    def _isochronous(self, pipe: Pipe, urb: Urb) -> None:
        """Every packet at once: IN takes a message each (or asks `fill`), OUT gives a call each."""
        if pipe.address & 0x80:
            parts = [self._packet(pipe, packet.length) for packet in urb.packets]
        else:
            parts = [(urb.data[p.offset : p.offset + p.length], Status.OK) for p in urb.packets]
            for data, _ in parts:
                pipe.owner.out(pipe.address, data)
        packets = tuple(
            IsoPacket(packet.offset, packet.length, len(data), status)
            for packet, (data, status) in zip(urb.packets, parts, strict=True)
        )
        joined = b"".join(data for data, _ in parts)
        self._done.append(
            Completion(
                urb.number,
                Status.OK,
                len(joined),
                joined if urb.is_in else b"",
                packets,
                urb.start_frame,
                sum(packet.status != Status.OK for packet in packets),
            )
        )

    def _packet(self, pipe: Pipe, length: int) -> tuple[bytes, Status]:
        data = pipe.queue.popleft() if pipe.queue else pipe.owner.fill(pipe.address, length) or b""
        return bytes(data[:length]), OVERFLOW if len(data) > length else OK

    def _fail(self, pipe: Pipe, status: int) -> None:
        while pipe.parked:
            self._end(pipe.parked.popleft(), status)

    def _end(self, urb: Urb, status: int) -> None:
        self._done.append(Completion(urb.number, status, packets=urb.packets, start_frame=urb.start_frame))

    # Written down

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """By address: what waits, both ways, and halts. Between inputs nothing else is there."""
        return {
            f"{address:02x}": {
                "halted": pipe.halted,
                "wedged": pipe.wedged,
                "queue": [bytes(message) for message in pipe.queue],
                "parked": [
                    [urb.number, urb.length, urb.data, urb.flags, urb.interval] for urb in pipe.parked
                ],
            }
            for address, pipe in self._open.items()
        }

    def restore(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Into pipes that are open already."""
        for address, saved in state.items():
            pipe = self._open[int(address, 16)]
            pipe.halted, pipe.wedged = saved["halted"], saved["wedged"]
            pipe.queue = deque(saved["queue"])
            pipe.parked = deque(parked_urbs(pipe.address, saved["parked"]))


def next_part(pipe: Pipe, length: int) -> tuple[bytes, Status]:
    """What a transfer of `length` bytes gets of the first message; the rest stays first in the queue.

    A transfer that ends within a packet gets what fits, the rest of that packet is lost: babble. The rest is
    a view, so that a long message is not copied for each of its transfers.
    """
    message = pipe.queue.popleft()
    if len(message) <= length:
        return bytes(message), OK
    whole, part = divmod(length, pipe.packet_size)
    rest = memoryview(message)[(whole + bool(part)) * pipe.packet_size :]
    if rest:
        pipe.queue.appendleft(rest)
    return bytes(message[:length]), OVERFLOW if part else OK


def parked_urbs(address: int, saved: list[list[Any]]) -> Iterator[Urb]:
    for number, length, data, flags, interval in saved:
        yield Urb(number, address, length, data, flags=flags, interval=interval)
