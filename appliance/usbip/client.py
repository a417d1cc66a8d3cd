"""The client's side of a handshake over a blocking socket, with a deadline for the whole."""

from __future__ import annotations

import socket
import time

from appliance.errors import PeerError, Timeout, Unavailable
from appliance.usbip.handshake import complete, import_request, importing, list_request, listing
from appliance.usbip.tcp import prepare
from appliance.usbip.wire import PORT, DeviceRecord

PATIENCE = 10.0
"""Seconds for a whole handshake."""


def list_exports(host: str, port: int = PORT, timeout: float = PATIENCE) -> list[DeviceRecord]:
    """What the server shares. Raises Unavailable (no server there), Timeout, PeerError, ProtocolError."""
    with _Call(host, port, timeout) as call:
        call.send(list_request())
        return complete(listing(), call.receive)


def import_export(
    host: str, port: int, name: str, timeout: float = PATIENCE
) -> tuple[DeviceRecord, socket.socket]:
    """The device and its connection, ready for vhci_hcd: blocking, and without a receive timeout of its own.

    Raises what `list_exports` does, and Busy, NotFound, Refused, DeviceFailed as the server says.
    """
    asking = import_request(name)
    with _Call(host, port, timeout) as call:
        call.send(asking)
        record = complete(importing(name), call.receive)
        return record, call.detach()


class _Call:
    """A connection whose every step counts against one deadline."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._peer = f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._sock = self._connect(host, port)
        prepare(self._sock)

    def __enter__(self) -> _Call:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def send(self, data: bytes) -> None:
        self._sock.settimeout(self._left())
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise self._broken(error) from error

    def receive(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        parts = bytearray()
        while len(parts) < count:
            self._sock.settimeout(self._left())
            try:
                part = self._sock.recv(count - len(parts))
            except OSError as error:
                raise self._broken(error) from error
            if not part:
                raise PeerError(f"{self._peer} closed the connection in the middle of its answer")
            parts += part
        return bytes(parts)

    def detach(self) -> socket.socket:
        """The bare socket, from now on the caller's."""
        self._sock.settimeout(None)
        return socket.socket(fileno=self._sock.detach())

    def _connect(self, host: str, port: int) -> socket.socket:
        """To the first of the host's addresses that answers; each gets its share of the time."""
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"there is no host {host!r} to be found: {error}") from error
        failure = OSError("it has no address")
        for tried, (*_, address) in enumerate(addresses):
            share = self._left() / (len(addresses) - tried)
            try:
                return socket.create_connection((str(address[0]), port), share)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise self._broken(failure) from failure
        raise Unavailable(
            f"cannot reach {self._peer}: {failure.strerror or failure}. Is a USB/IP server running there?"
        ) from failure

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Timeout(f"{self._peer} did not answer within {self._timeout:g} s")
        return left

    def _broken(self, error: OSError) -> PeerError:
        if isinstance(error, TimeoutError):
            return Timeout(f"{self._peer} did not answer within {self._timeout:g} s")
        return PeerError(f"the connection to {self._peer} broke: {error.strerror or error}")
