"""How both ends of an arbiter's line are written: a serial device, `unix:PATH` or `tcp:HOST:PORT`."""

from __future__ import annotations

import asyncio
import os
import socket
import termios
from ipaddress import ip_address
from typing import Final

from appliance.errors import Unavailable, UsageError
from appliance.pair.selector.spec import host_and_port

SPEED: Final = termios.B115200
PORT: Final = 3244


def open_serial(path: str) -> int:
    """A descriptor that does not block, of the line made raw: 115200 baud, 8N1. Raises Unavailable."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"cannot open {path}: {error.strerror}; is the arbiter plugged in?") from error
    try:
        *_, control = termios.tcgetattr(fd)
        control[termios.VMIN], control[termios.VTIME] = 1, 0
        flags = termios.CS8 | termios.CREAD | termios.CLOCAL
        termios.tcsetattr(fd, termios.TCSANOW, [0, 0, flags, 0, SPEED, SPEED, control])
        termios.tcflush(fd, termios.TCIOFLUSH)
    except termios.error as error:
        os.close(fd)
        raise Unavailable(f"{path} is not a serial line: {error.args[-1]}") from error
    return fd


def address_of(place: str) -> tuple[socket.AddressFamily, str | tuple[str, int]] | None:
    """The family and address of `unix:PATH` and `tcp:HOST:PORT`; None for a serial device."""
    kind, _, rest = place.partition(":")
    if kind == "unix":
        return socket.AF_UNIX, rest
    if kind == "tcp":
        host, port = host_and_port(rest, PORT)
        try:
            version = ip_address(host).version
        except ValueError as error:
            raise UsageError(f"{place!r}: {host} is no IP address") from error
        return socket.AF_INET if version == 4 else socket.AF_INET6, (host, port)
    return None


async def connect(place: str) -> int:
    """A descriptor that does not block, of the line to an arbiter. Raises Unavailable."""
    found = address_of(place)
    if found is None:
        return open_serial(place)
    family, address = found
    sock = socket.socket(family)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock.detach()
    except OSError as error:
        why = error.strerror or str(error)
        raise Unavailable(f"no arbiter answers at {place}: {why}; does it run?") from error
    finally:
        sock.close()


def listen(place: str) -> socket.socket | None:
    """The listening socket of a line that an appliance connects to; None for a serial device."""
    found = address_of(place)
    if found is None:
        return None
    family, address = found
    try:
        if isinstance(address, str) and os.path.exists(address):
            os.unlink(address)
        listener = socket.create_server(address, family=family)
    except OSError as error:
        raise Unavailable(f"cannot listen at {place}: {error.strerror or error}") from error
    listener.setblocking(False)
    return listener
