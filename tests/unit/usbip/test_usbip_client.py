"""The blocking client against our server, and against servers that mean harm."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from appliance.errors import Busy, PeerError, ProtocolError, Timeout, Unavailable
from appliance.usbip.client import import_export, list_exports
from appliance.usbip.handshake import import_reply, list_reply
from tests.unit.usbip.doubles import KEYBOARD, Shelf, serving


@contextmanager
def answering(behave: Callable[[socket.socket], None], family: int = socket.AF_INET) -> Iterator[int]:
    """The port of a server that treats its one client like this."""
    with socket.create_server(("127.0.0.1", 0), family=family) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def saying(reply: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(40)
        connection.sendall(reply)

    return behave


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_list_of_our_server(host: str) -> None:
    async with serving(Shelf(), host=host) as (_, port):
        assert await asyncio.to_thread(list_exports, host, port) == [KEYBOARD]


async def test_an_import_gives_the_device_and_a_socket_that_vhci_can_own() -> None:
    shelf = Shelf()
    async with serving(shelf) as (host, port):
        record, sock = await asyncio.to_thread(import_export, host, port, "keyboard")
        with closing(sock), closing(await shelf.sessions.get()) as session:
            assert record == replace(KEYBOARD, interfaces=())
            assert os.get_blocking(sock.fileno())
            # drivers/usb/usbip/vhci_rx.c takes a receive timeout for a dead connection.
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            session.sendall(b"an answer")
            assert sock.recv(100) == b"an answer"


async def test_a_failed_import_raises_what_the_server_says() -> None:
    async with serving(Shelf(failure=Busy("in use"))) as (host, port):
        with pytest.raises(Busy, match="'keyboard' is in use by another client"):
            await asyncio.to_thread(import_export, host, port, "keyboard")


def test_no_server_there_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="Is a USB/IP server running there"):
            list_exports("127.0.0.1", unused.getsockname()[1])


def test_an_unknown_host_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"no host .no\.\.such"):
        list_exports("no..such..host")


def test_a_name_with_an_ipv6_address_that_is_dead_falls_back_to_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def both(host: str, *rest: object, **options: object) -> object:
        if host != "appliance.test":
            return real(host, *rest, **options)  # type: ignore[arg-type]
        return real("::1", *rest, **options) + real("127.0.0.1", *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with answering(saying(list_reply([KEYBOARD]))) as port:
        assert list_exports("appliance.test", port) == [KEYBOARD]


@pytest.mark.parametrize(
    ("reply", "error", "complaint"),
    [
        (b"", PeerError, "closed the connection"),
        (list_reply([KEYBOARD])[:-1], PeerError, "closed the connection"),
        (bytes.fromhex("0111 0005 00000000 ffffffff"), ProtocolError, "claims to share"),
        (import_reply(KEYBOARD), ProtocolError, "operation 0x0003"),
    ],
    ids=["silence", "half an answer", "too much", "something else"],
)
def test_a_hostile_server_is_an_error_of_its_own_making(
    reply: bytes, error: type[PeerError], complaint: str
) -> None:
    with answering(saying(reply)) as port, pytest.raises(error, match=complaint):
        list_exports("127.0.0.1", port)


def test_a_server_that_drips_its_answer_has_the_same_time_as_others() -> None:
    def drip(connection: socket.socket) -> None:
        for byte in list_reply([KEYBOARD]):
            connection.settimeout(0.02)
            try:
                connection.sendall(bytes([byte]))
                if connection.recv(8) == b"":
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return

    with answering(drip) as port, pytest.raises(Timeout, match=r"within 0\.2 s"):
        list_exports("127.0.0.1", port, timeout=0.2)
