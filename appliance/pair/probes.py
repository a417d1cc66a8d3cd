"""Probes of a group's targets, by its own interface: a ping, or the opening of a TCP connection.

Needs no privilege: pings go by the kernel's ping sockets, which net.ipv4.ping_group_range grants to everyone
on a systemd machine.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from appliance.errors import NotPermitted
from appliance.pair.settings import Target

HEADER: Final = struct.Struct("!BBHHH")
"""Type, code, checksum, identifier, sequence number; the kernel fills in the two in the middle."""
REQUEST: Final = {4: 8, 6: 128}
REPLY: Final = {4: 0, 6: 129}
PROTOCOL: Final = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
TOKEN: Final = 8
"""Bytes that only the target has seen."""
LONGEST: Final = 1500
ANSWERS: Final = (errno.ECONNREFUSED, errno.ECONNRESET)
"""What a machine says that has nobody at this port."""


def request(version: int, number: int, token: bytes) -> bytes:
    """An echo request."""
    return HEADER.pack(REQUEST[version], 0, 0, 0, number % (1 << 16)) + token


def answers(version: int, data: bytes, number: int, token: bytes) -> bool:
    """Whether `data` is the echo of that request."""
    if len(data) != HEADER.size + len(token):
        return False
    kind, code, _, _, sequence = HEADER.unpack_from(data)
    return (kind, code, sequence) == (REPLY[version], 0, number % (1 << 16)) and data.endswith(token)


class Prober:
    """Asks all targets at once, as often as it is called; each question has `patience` seconds."""

    def __init__(self, targets: Sequence[Target], interface: str, patience: float) -> None:
        self._targets = targets
        self._interface = interface
        self._patience = patience
        self._number = 0

    async def round(self) -> dict[Target, bool]:
        """Who answered. NotPermitted where this process may not ping."""
        self._number += 1
        asked = [asyncio.create_task(self._ask(target)) for target in self._targets]
        try:
            return dict(zip(self._targets, await asyncio.gather(*asked), strict=True))
        finally:
            for task in asked:
                task.cancel()

    async def rounds(self) -> AsyncIterator[dict[Target, bool]]:
        """One every `patience` seconds."""
        loop = asyncio.get_running_loop()
        while True:
            following = loop.time() + self._patience
            yield await self.round()
            await asyncio.sleep(following - loop.time())

    async def _ask(self, target: Target) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                return await (self._knock(target, target.port) if target.port else self._ping(target))
        return False

    async def _ping(self, target: Target) -> bool:
        version = ip_address(target.host).version
        token, loop = os.urandom(TOKEN), asyncio.get_running_loop()
        try:
            probe = socket.socket(FAMILY[version], socket.SOCK_DGRAM, PROTOCOL[version])
        except PermissionError as error:
            raise NotPermitted(
                "may not ping: sysctl -w net.ipv4.ping_group_range='0 2147483647', or give targets a port"
            ) from error
        with probe:
            try:
                self._bind(probe)
                probe.connect((target.host, 0))
                probe.send(request(version, self._number, token))
                while not answers(version, await loop.sock_recv(probe, LONGEST), self._number, token):
                    pass
            except OSError:
                return False
        return True

    async def _knock(self, target: Target, port: int) -> bool:
        with socket.socket(FAMILY[ip_address(target.host).version], socket.SOCK_STREAM) as probe:
            try:
                self._bind(probe)
                await asyncio.get_running_loop().sock_connect(probe, (target.host, port))
            except OSError as error:
                return error.errno in ANSWERS
        return True

    def _bind(self, probe: socket.socket) -> None:
        probe.setblocking(False)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface.encode())
