"""Answers acknowledge all but the last byte received: a lost request is then not all that is missing.

A client with one small segment outstanding repeats it after 200 ms, and nothing makes it do so earlier. One
with two can be made to do it at once (`appliance.kernel.tcp.nudge`): hence the byte. What carries no data is
left alone; a client that misses its byte for 200 ms repeats it (RFC 8985 §7) and so gets all acknowledged.

It happens in the kernel, where packets leave (tc), and to registered connections only. Where the kernel
cannot do it a takeover is as slow as the client's timer, and nothing else is different.
"""

from __future__ import annotations

import ipaddress
import json
import struct
import subprocess
from contextlib import suppress
from time import monotonic
from typing import Any

from appliance.errors import TwinhubError, Unavailable
from appliance.kernel.gate import bpf
from appliance.kernel.gate.book import MAX_CONNECTIONS
from appliance.kernel.gate.bpf import R0, R1, R2, R3, R4, R5, R6, R7, R8, R10
from appliance.kernel.gate.judge import Connection
from appliance.kernel.gate.rules import USBIP_PORT
from appliance.kernel.tcp.segment import ACK, FIN, RST, SYN, TCP

ETHERNET = 14
KEY = struct.Struct("=5I")
KEY_AT, NEW_AT = -20, -24
"""On the program's stack."""
CALM = 1.0
"""Seconds: a client that has just lost segments may send one at a time, and must not wait for its end."""
FOREVER = float("inf")
GO_ON = -1
"""TC_ACT_UNSPEC."""


def key_of(connection: Connection) -> bytes:
    """The client's address and port, in words, as the program has them."""
    _, (address, port) = connection
    words = struct.unpack(">4I", ipaddress.ip_address(address).packed.rjust(16, b"\0"))
    return KEY.pack(*words, port)


def program(address: str, connections: int) -> bytes:
    """For Ethernet frames that leave from `address`; `connections` is a map with a key for each that lags."""
    ours = ipaddress.ip_address(address)
    six = ours.version == 6
    source, words, tcp = ETHERNET + (8 if six else 12), len(ours.packed) // 4, ETHERNET + (40 if six else 20)
    target = source + 4 * words
    return bpf.linked([
        bpf.copy(R6, R1),
        *(bpf.load(1, ETHERNET), bpf.mask(R0, 0xF0 if six else 0xFF), bpf.unless(R0, 0x60 if six else 0x45)),
        *(bpf.load(1, ETHERNET + (6 if six else 9)), bpf.unless(R0, TCP)),
        *(
            part
            for number, word in enumerate(struct.unpack(f">{words}I", ours.packed))
            for part in (bpf.load(4, source + 4 * number), bpf.unless(R0, word))
        ),
        *(bpf.load(2, tcp), bpf.unless(R0, USBIP_PORT)),
        *(bpf.load(1, tcp + 13), bpf.mask(R0, SYN | FIN | RST | ACK), bpf.unless(R0, ACK)),
        # Has it a payload? The length in the IP header less the TCP header's.
        *(bpf.load(2, ETHERNET + (4 if six else 2)), bpf.copy(R7, R0), bpf.add(R7, 0 if six else -20)),
        *(bpf.load(1, tcp + 12), bpf.mask(R0, 0xF0), bpf.shift_right(R0, 2), bpf.subtract(R7, R0)),
        bpf.unless_any(R7),
        # Is the connection in the map?
        *(bpf.put(R0, 0), *(bpf.store(KEY_AT + 4 * number, R0) for number in range(4 - words))),
        *(
            part
            for number in range(words)
            for part in (bpf.load(4, target + 4 * number), bpf.store(-4 - 4 * (words - number), R0))
        ),
        *(bpf.load(2, tcp + 2), bpf.store(-4, R0)),
        *(bpf.map_into(R1, connections), bpf.copy(R2, R10), bpf.add(R2, KEY_AT), bpf.call(bpf.LOOK_UP)),
        bpf.unless_any(R0),
        # One less, in the checksum and in the header.
        *(bpf.load(4, tcp + 8), bpf.copy(R7, R0), bpf.copy(R8, R0), bpf.add(R8, -1)),
        *(bpf.big_endian(R7, 32), bpf.big_endian(R8, 32), bpf.store(NEW_AT, R8)),
        *(bpf.copy(R1, R6), bpf.put(R2, tcp + 16), bpf.copy(R3, R7), bpf.copy(R4, R8), bpf.put(R5, 4)),
        bpf.call(bpf.REPLACE_CHECKSUM),
        *(bpf.copy(R1, R6), bpf.put(R2, tcp + 8), bpf.copy(R3, R10), bpf.add(R3, NEW_AT)),
        *(bpf.put(R4, 4), bpf.put(R5, 0), bpf.call(bpf.STORE_BYTES)),
        *(bpf.put(R0, GO_ON), bpf.EXIT),
    ])  # fmt: skip


def interfaces_of(address: str) -> list[str]:
    """Those that have the address, or will have it: by which one reaches it now."""
    having = [each["ifname"] for each in _ip("address", "show", "to", address) if each.get("addr_info")]
    return having or [each["dev"] for each in _ip("route", "get", address) if each.get("dev")]


def _ip(*words: str) -> list[dict[str, Any]]:
    shown = subprocess.run(["ip", "-j", *words], capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(shown.stdout or "[]")
    return found


class Lag:
    """The connections whose answers lag, and the addresses they are at."""

    def __init__(self) -> None:
        self._map: int | None = None
        self._at: dict[str, list[str]] = {}
        self._since: dict[Connection, float] = {}
        with suppress(TwinhubError):
            self._map = bpf.new_map(KEY.size, 4, MAX_CONNECTIONS)

    def begin(self, address: str) -> None:
        """Before there is traffic: a new tc hook loses packets. Unavailable where the kernel cannot do it."""
        if self._map is None:
            raise Unavailable("the kernel makes no eBPF maps; clients will repeat when their timers say so")
        interfaces = interfaces_of(address)
        if interfaces == self._at.get(address):
            return
        loaded = bpf.load_classifier(program(address, self._map))
        for interface in interfaces:
            bpf.attach(interface, loaded)
        bpf.close(loaded)
        self._at[address] = interfaces

    def end(self, address: str) -> None:
        for interface in self._at.pop(address, []):
            with suppress(TwinhubError, OSError):
                bpf.detach(interface)

    def committed(self, connection: Connection) -> None:
        """Its traffic flows: from its calm beginning on it lags."""
        now = monotonic()
        since = self._since.setdefault(connection, now)
        if self._map is not None and now >= since + CALM:
            self._since[connection] = FOREVER
            with suppress(TwinhubError):
                bpf.update(self._map, key_of(connection), bytes(4))

    def remove(self, connection: Connection) -> None:
        self._since.pop(connection, None)
        if self._map is not None:
            with suppress(TwinhubError):
                bpf.delete(self._map, key_of(connection))
