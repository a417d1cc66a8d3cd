"""A USB/IP client that is a program: URBs on an imported device, each answered once and in its turn."""

from __future__ import annotations

import socket
import time
from collections import deque
from itertools import count
from typing import NamedTuple

from appliance.usbip.client import import_export
from appliance.usbip.wire import HEADER_SIZE, REPLY, Command, DeviceRecord, Submit
from gadgets.usb.urb import ENDPOINT_IN, TransferType
from tests.namespaces.world import Node

GET_CONFIGURATION = bytes.fromhex("8006000200000002")
"""GET_DESCRIPTOR of the first configuration, 512 bytes of it."""
ENDPOINT_DESCRIPTOR = 5


class Wrong(AssertionError):
    """What a client must never see."""


class Answer(NamedTuple):
    seqnum: int
    endpoint: int
    status: int
    data: bytes


class Pulse:
    """The longest time between two completions since `restart`, which counts as one itself."""

    def __init__(self) -> None:
        self.count = 0
        self.restart()

    def restart(self) -> None:
        self.longest, self.last = 0.0, time.monotonic()

    def beat(self) -> None:
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now
        self.count += 1


class Imported:
    """A device that `node` has imported. Its endpoints answer first in, first out, and so it is judged."""

    def __init__(self, node: Node, host: str, name: str) -> None:
        self.name, self.pulse = name, Pulse()
        self.record, self.sock = imported(node, host, name)
        self._numbers = count(1)
        self._waiting: dict[int, deque[int]] = {}
        configuration = self.control(GET_CONFIGURATION)
        self.pipes = pipes_of(configuration)
        self.control(bytes((0, 9, configuration[5], 0, 0, 0, 0, 0)))

    def bulk(self) -> tuple[int, int]:
        """The addresses of the first bulk endpoints, IN and OUT."""
        return self.pipes[TransferType.BULK, ENDPOINT_IN], self.pipes[TransferType.BULK, 0]

    def submit(self, endpoint: int, data: bytes = b"", length: int = 0, setup: bytes = b"") -> int:
        """Send `data`, or ask for `length` bytes, at the endpoint with this address; the URB's number."""
        number, inbound = next(self._numbers), endpoint >> 7
        self._waiting.setdefault(endpoint, deque()).append(number)
        asked = length or len(data)
        submit = Submit(number, self.record.devid, inbound, endpoint & 15, 0, asked, 0, 0, 0, setup)
        self.sock.sendall(submit.pack() + data)
        return number

    def answer(self) -> Answer:
        """The next one, whoever's it is. Wrong if nobody waits for it; ConnectionError at a hang-up."""
        command, number, *_, status, actual, _, _, _ = REPLY.unpack(self._receive(HEADER_SIZE))
        endpoint = next((each for each, waiting in self._waiting.items() if number in waiting), None)
        if command != Command.RET_SUBMIT or endpoint is None:
            raise Wrong(f"{self.name}: answer {number} is nobody's, or comes for the second time")
        if (first := self._waiting[endpoint].popleft()) != number:
            raise Wrong(f"{self.name}: URB {number} of endpoint {endpoint:02x} was answered before {first}")
        data = self._receive(actual) if endpoint & ENDPOINT_IN else b""
        self.pulse.beat()
        return Answer(number, endpoint, status, data)

    def control(self, setup: bytes, data: bytes = b"") -> bytes:
        """A control request, while nothing else is under way."""
        length = int.from_bytes(setup[6:], "little")
        return self.transfer(setup[0] & ENDPOINT_IN, data, length, setup)

    def transfer(self, endpoint: int, data: bytes = b"", length: int = 0, setup: bytes = b"") -> bytes:
        """One URB to its end, while nothing else is under way."""
        self.submit(endpoint, data, length, setup)
        return self.good(self.answer()).data

    def good(self, answer: Answer) -> Answer:
        if answer.status:
            raise Wrong(f"{self.name}: URB {answer.seqnum} ended with {answer.status}")
        return answer

    def hang_up(self) -> None:
        """Whoever waits for an answer gets ConnectionError."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    @property
    def in_flight(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _receive(self, length: int) -> bytes:
        data = self.sock.recv(length, socket.MSG_WAITALL) if length else b""
        if len(data) < length:
            raise ConnectionError(f"{self.name}: the server hung up, {self.in_flight} URBs in flight")
        return data


def imported(node: Node, host: str, name: str) -> tuple[DeviceRecord, socket.socket]:
    with node.inside():
        return import_export(host, 3240, name)


def pipes_of(configuration: bytes) -> dict[tuple[int, int], int]:
    """The first endpoint of each transfer type and direction: its address."""
    found: dict[tuple[int, int], int] = {}
    while len(configuration) > 1 and configuration[0]:
        if configuration[1] == ENDPOINT_DESCRIPTOR:
            address, attributes = configuration[2:4]
            found.setdefault((attributes & 3, address & ENDPOINT_IN), address)
        configuration = configuration[configuration[0] :]
    return found
