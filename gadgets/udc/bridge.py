"""A device on one side, the endpoint files of FunctionFS on the other. Sans-IO.

The kernel answers chapter 9 itself and tells only what came of it, so the device is brought to where the
host believes it to be by control URBs of our own. The rest are the rules:
1. IN: a few URBs are always parked in the device; what completes is written, in order, and a written one
   makes room for the next. So at most `WINDOW` transfers wait in the kernel, and nothing is polled.
2. OUT: each read is one packet long, for only the function knows where a transfer ends; what it knows to be
   coming is read at once. It is read again when the device took it: a device that does not take (NAK) stops
   the host after `READS` reads.
3. A halt is passed on when nothing is queued before it; the device is then told CLEAR_HALT at once, and what
   it sends next waits in the kernel. For the controllers end a halt without telling us.
4. An IN endpoint that halts again at once is wedged; it is tried again after the host's next request or data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gadgets.usb.device import BusEvent, Device
from gadgets.usb.urb import ENDPOINT_IN, Completion, SetupPacket, Status, TransferType, Urb

WINDOW = 2
"""IN transfers of an endpoint that are parked or being written."""
READS = 4
"""OUT reads of an endpoint that the kernel may hold."""
BURST = 32
"""Packets of the longest of them."""
LONGEST = 16 << 10
"""Bytes of one bulk IN transfer; a multiple of every packet size."""

_MOVED = (Status.OK, Status.REMOTEIO, Status.OVERFLOW)
"""How a transfer ends that moved data."""
_SET_CONFIGURATION, _SET_INTERFACE = 9, 11
_CLEAR_FEATURE, _SET_FEATURE = 1, 3
_TO_ENDPOINT = 0x02


class Wire(Protocol):
    """What the kernel does for us, by the device's own endpoint addresses."""

    def write(self, endpoint: int, data: bytes) -> None:
        """One IN transfer; `Bridge.written` tells when the host has it."""

    def read(self, endpoint: int, length: int) -> None:
        """As much from the host, or less if a packet is short; `Bridge.received` brings it, in the order of
        the reads, or `Bridge.cancelled`."""

    def cancel(self, endpoint: int) -> None:
        """End the reads that wait."""

    def halt(self, endpoint: int) -> None: ...
    def clear_halt(self, endpoint: int) -> None: ...
    def answer(self, setup: SetupPacket, data: bytes | None) -> None:
        """To the request that `Bridge.request` brought: the data stage, or None to stall."""


@dataclass(slots=True)
class Endpoint:
    """`packet`: of the device; `link_packet`: at the link's speed. `moving`: transfers the kernel has.
    `reads`: their lengths, for OUT; `held`: what came of one packet of the device."""

    address: int
    transfer_type: TransferType
    packet: int
    link_packet: int
    parked: int = 0
    moving: int = 0
    reads: deque[int] = field(default_factory=deque)
    held: bytes = b""
    halting: bool = False
    wedged: bool = False

    @property
    def is_in(self) -> bool:
        return self.address & ENDPOINT_IN != 0

    @property
    def busy(self) -> int:
        return self.parked + self.moving

    @property
    def longest(self) -> int:
        return LONGEST if self.transfer_type is TransferType.BULK else self.packet


class Bridge:
    """Every method may be called whenever the kernel reports something; none calls back into its caller
    but through `wire`."""

    def __init__(self, device: Device, wire: Wire, coming: Callable[[int], int] = lambda endpoint: 0) -> None:
        """`coming`: see `GadgetDevice.coming`."""
        self.device = device
        self.wire = wire
        self.coming = coming
        self.enabled = False
        self._endpoints: dict[int, Endpoint] = {}
        self._number = 0
        self._urbs: dict[int, Endpoint] = {}
        self._asked: tuple[int, SetupPacket] | None = None

    # What the kernel tells

    def attach(self) -> None:
        self._stop()
        self.finish(self.device.bus(BusEvent.ATTACH))

    def detach(self) -> None:
        self._stop()
        self.finish(self.device.bus(BusEvent.DETACH))

    def enable(self, link_packets: Mapping[int, int]) -> None:
        """The host chose the configuration, or interface by interface its only setting; `link_packets` are
        the packet sizes of this link by endpoint."""
        again, configuration = self.enabled, self.device.configurations[0]
        self._stop()
        self._endpoints = {
            endpoint.address: Endpoint(
                endpoint.address, endpoint.transfer_type, endpoint.packet_size, link_packets[endpoint.address]
            )
            for setting in configuration.settings
            for endpoint in setting.endpoints
        }
        if again:
            for number in dict.fromkeys(setting.interface for setting in configuration.settings):
                self._own_request(SetupPacket(0x01, _SET_INTERFACE, 0, number))
        else:
            self._own_request(SetupPacket(0x00, _SET_CONFIGURATION, configuration.value))
        self.enabled = True
        for endpoint in self._endpoints.values():
            self._fill(endpoint)

    def disable(self) -> None:
        """A reset, or the host chose no configuration, or hung up."""
        self._stop()
        self.finish(self.device.bus(BusEvent.RESET))

    def suspend(self) -> None:
        self.finish(self.device.bus(BusEvent.SUSPEND))

    def resume(self) -> None:
        self.finish(self.device.bus(BusEvent.RESUME))

    def request(self, setup: SetupPacket, data: bytes = b"") -> None:
        """A request of the host that the kernel does not answer itself; one that still waits is given up."""
        self._asked = self._next(), setup
        self.finish(self._control(self._asked[0], setup, data))
        self._try_wedged()
        self._take_back_long_reads()

    def written(self, address: int) -> None:
        endpoint = self._endpoints[address]
        endpoint.moving -= 1
        self._go_on(endpoint)

    def received(self, address: int, data: bytes) -> None:
        endpoint = self._endpoints[address]
        endpoint.moving -= 1
        endpoint.reads.popleft()
        endpoint.held += data
        ends_within_a_packet = len(endpoint.held) % endpoint.packet and len(data) % endpoint.link_packet == 0
        if data and ends_within_a_packet and self._still_coming(endpoint) > 0:
            # The packets of this link are smaller than the device's, to which this would look short.
            self._go_on(endpoint)
            return
        data, endpoint.held = endpoint.held, b""
        self._submit(endpoint, Urb(self._next(), address, len(data), data))
        self._try_wedged()

    def cancelled(self, address: int) -> None:
        endpoint = self._endpoints[address]
        endpoint.moving -= 1
        endpoint.reads.popleft()
        self._go_on(endpoint)

    # What follows

    def finish(self, completions: Iterable[Completion]) -> None:
        """What an input completed, also a local one or a tick."""
        touched: dict[int, Endpoint] = {}
        for completion in completions:
            if self._asked and completion.number == self._asked[0]:
                self._answer(self._asked[1], completion)
            endpoint = self._urbs.pop(completion.number, None)
            if endpoint is None:
                continue
            endpoint.parked -= 1
            touched[endpoint.address] = endpoint
            if completion.status not in _MOVED:
                self._fail(endpoint)
            elif endpoint.is_in:
                endpoint.wedged = False
                self._write(endpoint, completion.data)
        for endpoint in touched.values():
            self._go_on(endpoint)

    def _go_on(self, endpoint: Endpoint) -> None:
        if endpoint.halting:
            self._halt(endpoint)
        elif not endpoint.wedged:
            self._fill(endpoint)

    def _fill(self, endpoint: Endpoint) -> None:
        """Make use of the window."""
        if endpoint.is_in:
            while endpoint.busy < WINDOW and not (endpoint.halting or endpoint.wedged):
                self._ask(endpoint)
            return
        while endpoint.busy < READS:
            length = self._length_of_read(endpoint)
            endpoint.moving += 1
            endpoint.reads.append(length)
            self.wire.read(endpoint.address, length)

    def _length_of_read(self, endpoint: Endpoint) -> int:
        """In whole packets; a short one ends it, too."""
        known = 0 if endpoint.parked else self._still_coming(endpoint) - sum(endpoint.reads)
        packets = min(max(-(-known // endpoint.link_packet), 1), BURST)
        return packets * endpoint.link_packet

    def _still_coming(self, endpoint: Endpoint) -> int:
        return self.coming(endpoint.address) - len(endpoint.held)

    def _take_back_long_reads(self) -> None:
        """A request may have ended what was coming (a Bulk-Only Reset): what comes now is something else."""
        for endpoint in self._endpoints.values():
            if any(length > endpoint.link_packet for length in endpoint.reads) and not endpoint.halting:
                self.wire.cancel(endpoint.address)

    def _ask(self, endpoint: Endpoint) -> None:
        self._submit(endpoint, Urb(self._next(), endpoint.address, endpoint.longest))

    def _write(self, endpoint: Endpoint, data: bytes) -> None:
        endpoint.moving += 1
        self.wire.write(endpoint.address, data)
        if len(data) % endpoint.packet and len(data) % endpoint.link_packet == 0:
            # Short for the device, but not in the smaller packets of this link.
            endpoint.moving += 1
            self.wire.write(endpoint.address, b"")

    def _fail(self, endpoint: Endpoint) -> None:
        """A bus error is a stall, too: no controller makes one on demand."""
        if endpoint.wedged or endpoint.halting:
            return
        endpoint.halting = True
        if not endpoint.is_in:
            self.wire.cancel(endpoint.address)

    def _halt(self, endpoint: Endpoint) -> None:
        """As soon as the kernel holds no transfers, for a controller does not halt before them."""
        if not endpoint.moving:
            self.wire.halt(endpoint.address)
            endpoint.halting = False
            self._retry(endpoint)

    def _retry(self, endpoint: Endpoint) -> None:
        """End the device's halt. An IN transfer that fails at once leaves the endpoint wedged."""
        self._own_request(SetupPacket(_TO_ENDPOINT, _CLEAR_FEATURE, 0, endpoint.address))
        if endpoint.is_in:
            endpoint.wedged = True
            self._ask(endpoint)
            endpoint.wedged = endpoint.wedged and not endpoint.parked
        self._go_on(endpoint)

    def _try_wedged(self) -> None:
        for endpoint in self._endpoints.values():
            if endpoint.wedged:
                self._retry(endpoint)
                if endpoint.wedged:
                    # The host may have ended the halt, of which the kernel does not tell.
                    self.wire.halt(endpoint.address)

    def _pass_on_feature(self, setup: SetupPacket) -> None:
        endpoint = self._endpoints.get(setup.index)
        if endpoint and setup.request == _SET_FEATURE:
            self.wire.halt(endpoint.address)
        elif endpoint and setup.request == _CLEAR_FEATURE:
            self.wire.clear_halt(endpoint.address)

    def _submit(self, endpoint: Endpoint, urb: Urb) -> None:
        self._urbs[urb.number] = endpoint
        endpoint.parked += 1
        self.finish(self.device.submit(urb))

    def _own_request(self, setup: SetupPacket) -> None:
        self.finish(self._control(self._next(), setup, b""))

    def _control(self, number: int, setup: SetupPacket, data: bytes) -> list[Completion]:
        direction = setup.request_type & ENDPOINT_IN
        return self.device.submit(Urb(number, direction, setup.length, data, setup))

    def _answer(self, setup: SetupPacket, completion: Completion) -> None:
        self._asked = None
        done = completion.status in _MOVED
        self.wire.answer(setup, completion.data if done else None)
        if done and setup.request_type == _TO_ENDPOINT:
            self._pass_on_feature(setup)

    def _stop(self) -> None:
        """The endpoints are gone in the kernel; what the device still completes has nowhere to go."""
        self.enabled = False
        self._urbs.clear()
        self._asked = None
        self._endpoints = {}

    def _next(self) -> int:
        self._number += 1
        return self._number
