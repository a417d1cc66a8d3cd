"""The asyncio server on loopback, with friendly and with hostile clients."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import struct
from contextlib import ExitStack, closing
from ipaddress import ip_address

import pytest

from appliance.errors import Refused, TwinhubError, Unavailable
from appliance.usbip import server
from appliance.usbip.handshake import (
    Devlist,
    Import,
    failure,
    import_reply,
    import_request,
    list_reply,
    list_request,
)
from appliance.usbip.server import Limits, Server, listen
from tests.unit.usbip.doubles import KEYBOARD, Shelf, ask, connect, read_to_end, serving

IMPORT = import_request("keyboard")
QUICK = Limits(request_seconds=0.2, answer_seconds=0.2, connections_per_peer=4)


async def is_well(at: tuple[str, int]) -> bool:
    return await ask(at, list_request()) == list_reply([KEYBOARD])


async def test_a_list_is_answered_and_the_connection_closed() -> None:
    async with serving(Shelf()) as at:
        assert await ask(at, list_request()) == list_reply([KEYBOARD])


async def test_an_imported_devices_socket_is_handed_on_blocking_with_every_byte_behind_the_request() -> None:
    shelf = Shelf()
    async with serving(shelf) as at:
        with closing(await connect(at)) as client:
            await asyncio.get_running_loop().sock_sendall(client, IMPORT + b"the first URB")
            with closing(await shelf.sessions.get()) as session:
                assert os.get_blocking(session.fileno())
                assert session.gettimeout() is None
                assert session.recv(100) == b"the first URB"
                session.sendall(b"its answer")
            assert await read_to_end(client) == import_reply(KEYBOARD) + b"its answer"


async def test_a_request_may_come_byte_by_byte() -> None:
    shelf, loop = Shelf(), asyncio.get_running_loop()
    async with serving(shelf) as at:
        with closing(await connect(at)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in IMPORT:
                await loop.sock_sendall(client, bytes([byte]))
            (await shelf.sessions.get()).close()
            assert await read_to_end(client) == import_reply(KEYBOARD)


async def test_ipv6_is_served_too() -> None:
    shelf = Shelf()
    async with serving(shelf, host="::1") as at:
        assert await is_well(at)
    assert shelf.peers == [ip_address("::1")]


async def test_an_ipv4_client_of_a_dual_stack_socket_is_its_ipv4_address() -> None:
    shelf = Shelf()
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    running = asyncio.create_task(Server(shelf).serve_on([listener]))
    assert await is_well(("127.0.0.1", listener.getsockname()[1]))
    assert shelf.peers == [ip_address("127.0.0.1")]
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes.fromhex("0111 8004 00000000"),
        bytes.fromhex("0100 8005 00000000"),
        bytes(2**20),
    ],
    ids=["another protocol", "unknown operation", "another version", "a flood of zeros"],
)
async def test_what_is_no_request_is_closed_without_a_reply(data: bytes) -> None:
    async with serving(Shelf()) as at:
        with closing(await connect(at)) as client:
            try:
                await asyncio.get_running_loop().sock_sendall(client, data)
            except ConnectionError:
                pass
            assert await read_to_end(client) == b""
        assert await is_well(at)


async def test_a_peer_that_is_not_admitted_is_closed_unheard() -> None:
    async with serving(Shelf(admits=False)) as at:
        assert await ask(at, b"") == b""


async def test_a_refused_list_is_told_by_its_status() -> None:
    async with serving(Shelf(failure=Refused("not for you"))) as at:
        assert await ask(at, list_request()) == failure(Devlist(), Refused(""))


async def test_a_flood_of_half_open_connections_is_bounded_and_passes() -> None:
    async with serving(Shelf(), QUICK) as at:
        with ExitStack() as opened:
            silent = [opened.enter_context(closing(await connect(at))) for _ in range(4)]
            assert await ask(at, b"") == b""
            assert await asyncio.gather(*map(read_to_end, silent)) == [b""] * 4
        assert await is_well(at)


async def test_connections_of_all_peers_together_are_bounded() -> None:
    async with serving(Shelf(), Limits(connections=1)) as at:
        with closing(await connect(at)) as silent:
            assert await ask(at, b"") == b""
            await asyncio.get_running_loop().sock_sendall(silent, list_request())
            assert await read_to_end(silent) == list_reply([KEYBOARD])
        assert await is_well(at)


async def test_a_client_that_drips_its_request_has_no_more_time_than_others() -> None:
    loop = asyncio.get_running_loop()
    async with serving(Shelf(), QUICK) as at:
        with closing(await connect(at)) as loris:
            for byte in IMPORT:
                try:
                    await loop.sock_sendall(loris, bytes([byte]))
                    assert await asyncio.wait_for(loop.sock_recv(loris, 1), 0.05) == b""
                    break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            else:
                pytest.fail("the request was heard to its end")
        assert await is_well(at)


async def test_a_client_that_does_not_read_a_long_list_is_left() -> None:
    shelf = Shelf(records=(KEYBOARD,) * 30_000)
    async with serving(shelf, QUICK) as at:
        with closing(await connect(at)) as client:
            await asyncio.get_running_loop().sock_sendall(client, list_request())
            shelf.records = (KEYBOARD,)
            with ExitStack() as opened:
                for _ in range(QUICK.connections_per_peer - 1):
                    opened.enter_context(closing(await connect(at)))
                assert await ask(at, b"") == b""
            assert len(await read_to_end(client)) < len(list_reply([KEYBOARD])) * 30_000
        assert await is_well(at)


async def test_an_export_that_does_not_open_in_time_is_unavailable() -> None:
    async with serving(Shelf(opening=asyncio.Event()), QUICK) as at:
        assert await ask(at, IMPORT) == failure(Import("keyboard"), Unavailable(""))


async def test_a_client_that_leaves_before_its_answer_does_not_keep_the_device() -> None:
    shelf = Shelf(opening=asyncio.Event())
    async with serving(shelf) as at:
        client = await connect(at)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await asyncio.get_running_loop().sock_sendall(client, IMPORT)
        assert await is_well(at)
        client.close()
        assert shelf.opening
        shelf.opening.set()
        await shelf.cancelled.wait()
        assert await is_well(at)


async def test_a_session_that_does_not_start_hangs_up() -> None:
    async with serving(Shelf(start_failure=Unavailable("no worker"))) as at:
        assert await ask(at, IMPORT) == import_reply(KEYBOARD)


async def test_a_bug_behind_a_request_is_told_logged_and_ends_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf = Shelf(failure=RuntimeError("a bug"))
    async with serving(shelf) as at:
        assert await ask(at, IMPORT) == failure(Import("keyboard"), TwinhubError())
        shelf.failure = None
        assert await is_well(at)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_running_out_of_descriptors_pauses_the_service_and_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, iter([errno.EMFILE, errno.ECONNABORTED])

    async def flaky(listener: socket.socket) -> tuple[socket.socket, object]:
        for number in failures:
            raise OSError(number, os.strerror(number))
        return await accept(listener)

    monkeypatch.setattr(loop, "sock_accept", flaky)
    monkeypatch.setattr(server, "ACCEPT_PAUSE", 0)
    async with serving(Shelf()) as at:
        assert await is_well(at)


async def test_stopping_closes_whatever_is_in_its_handshake() -> None:
    shelf = Shelf(opening=asyncio.Event())
    with ExitStack() as opened:
        async with serving(shelf) as at:
            silent = opened.enter_context(closing(await connect(at)))
            waiting = opened.enter_context(closing(await connect(at)))
            await asyncio.get_running_loop().sock_sendall(waiting, IMPORT)
            assert await is_well(at)
        assert await read_to_end(silent) == await read_to_end(waiting) == b""
        with pytest.raises(ConnectionRefusedError):
            await connect(at)


async def test_sixty_four_clients_at_once_are_all_answered() -> None:
    async with serving(Shelf(), Limits(connections_per_peer=64)) as at:
        assert all(await asyncio.gather(*(is_well(at) for _ in range(64))))


def test_a_port_in_use_is_said_to_be_with_a_hint() -> None:
    with closing(listen("127.0.0.1", 0)[0]) as taken, pytest.raises(Unavailable, match="usbipd"):
        listen("127.0.0.1", taken.getsockname()[1])
