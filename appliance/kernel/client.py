"""How the unprivileged daemon gets done what only root may do."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, Protocol, TypeVar

from appliance.errors import NotFound, NotPermitted, Timeout, TwinhubError, Unavailable, revive
from appliance.kernel import modules, stub
from appliance.kernel.messages import (
    HELPER_SOCKET,
    MAX_MESSAGE,
    MAX_REBUILDS,
    Reply,
    Request,
    Result,
    encode_request,
    parse_reply,
)
from appliance.kernel.paths import Kernel
from appliance.kernel.stub import StubStatus
from appliance.kernel.tcp.repair import read_facts
from appliance.kernel.tcp.state import Facts, Rebuild
from appliance.kernel.tcp.takeover import rebuild_all

ANSWER_SECONDS = 20.0
"""Longer than any operation takes: loading a module, a driver that lets go of its device slowly."""
RESET_SECONDS = 5.0
"""How long the stub may take to end a session and reset the device."""
POLL_SECONDS = 0.02

P = ParamSpec("P")
T = TypeVar("T")


class Helper(Protocol):
    """The privileged operations; each raises a TwinhubError that says what failed and what to do."""

    async def bind(self, busid: str) -> None:
        """Gives the device to usbip-host; does nothing when it has it already."""

    async def unbind(self, busid: str) -> None:
        """Gives the device back to its own driver, ending a session on it."""

    async def hand_over(self, busid: str, fd: int) -> None:
        """Starts a session of the bound device on a connected stream socket; the caller keeps its `fd`."""

    async def end(self, busid: str) -> None:
        """Ends the device's session and waits until the device is free; does nothing when there is none."""

    async def status(self, busid: str) -> StubStatus:
        """NotFound when the device is not bound to usbip-host."""
        ...

    async def load_modules(self) -> None:
        """Loads what exporting needs (usbip-host); Unavailable names the package to install."""

    async def tcp_facts(self, fd: int) -> Facts:
        """Of the connected TCP socket, which nobody writes to meanwhile."""
        ...

    async def rebuild(self, wanted: Sequence[tuple[Rebuild, bytes]]) -> list[socket.socket | TwinhubError]:
        """The sibling's connections, built here, each with the last of what it sent: all it is not sure of.

        What clients lack is on its way when this returns, and they have been asked for what we lack.
        """
        ...


async def until_free(helper: Helper, busid: str, seconds: float = RESET_SECONDS) -> None:
    """Waits until no session uses the device, or it is gone; the stub resets it first. Timeout."""
    try:
        async with asyncio.timeout(seconds):
            while await helper.status(busid) is StubStatus.USED:  # noqa: ASYNC110 - sysfs tells nobody
                await asyncio.sleep(POLL_SECONDS)
    except NotFound:
        return
    except TimeoutError as error:
        raise Timeout(f"the session on {busid} did not end within {seconds:g} s") from error


class LocalHelper:
    """Does it in this process, which must be root's: in a thread, since sysfs blocks; one at a time."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._kernel = Kernel(root)
        self._lock = asyncio.Lock()

    async def bind(self, busid: str) -> None:
        await self._run(stub.bind, self._kernel, busid)

    async def unbind(self, busid: str) -> None:
        await self._run(stub.unbind, self._kernel, busid)

    async def hand_over(self, busid: str, fd: int) -> None:
        await self._run(stub.hand_over, self._kernel, busid, fd)

    async def end(self, busid: str) -> None:
        await self._run(stub.end, self._kernel, busid)
        await until_free(self, busid)

    async def status(self, busid: str) -> StubStatus:
        return await self._run(stub.status, self._kernel, busid)

    async def load_modules(self) -> None:
        await self._run(modules.load_all, self._kernel, modules.EXPORTING)

    async def tcp_facts(self, fd: int) -> Facts:
        with socket.socket(fileno=os.dup(fd)) as connection:
            return await self._run(read_facts, connection)

    async def rebuild(self, wanted: Sequence[tuple[Rebuild, bytes]]) -> list[socket.socket | TwinhubError]:
        return await self._run(rebuild_all, wanted)

    async def _run(self, operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._lock:
            return await asyncio.to_thread(operation, *args, **kwargs)


class RemoteHelper:
    """Has the helper process do it, over its socket; connects again when the helper was restarted.

    One request at a time, as the helper works; ids tell a late reply from the awaited one.
    """

    def __init__(self, path: Path = HELPER_SOCKET, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._path: Path | None = path
        self._answer_seconds = answer_seconds
        self._socket: socket.socket | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = asyncio.Lock()
        self._last_id = 0

    @classmethod
    def over(cls, connected: socket.socket, child: subprocess.Popen[bytes]) -> RemoteHelper:
        """To a helper that is our child; when it dies there is no other."""
        helper = cls()
        connected.setblocking(False)
        helper._path, helper._socket, helper._child = None, connected, child
        return helper

    async def bind(self, busid: str) -> None:
        await self._ask("bind", busid)

    async def unbind(self, busid: str) -> None:
        await self._ask("unbind", busid)

    async def hand_over(self, busid: str, fd: int) -> None:
        await self._ask("hand_over", busid, fd)

    async def end(self, busid: str) -> None:
        await self._ask("end", busid)
        await until_free(self, busid)

    async def status(self, busid: str) -> StubStatus:
        reply, _ = await self._ask("status", busid)
        return StubStatus(reply if isinstance(reply, int) else 0)

    async def load_modules(self) -> None:
        await self._ask("load_modules")

    async def tcp_facts(self, fd: int) -> Facts:
        reply, _ = await self._ask("tcp_facts", "", fd)
        return Facts.from_plain(reply if isinstance(reply, dict) else {})

    async def rebuild(self, wanted: Sequence[tuple[Rebuild, bytes]]) -> list[socket.socket | TwinhubError]:
        batches = [wanted[at : at + MAX_REBUILDS] for at in range(0, len(wanted), MAX_REBUILDS)]
        return [each for batch in batches for each in await self._rebuild(batch)]

    async def _rebuild(self, wanted: Sequence[tuple[Rebuild, bytes]]) -> list[socket.socket | TwinhubError]:
        with ExitStack() as stack:
            tails = [stack.enter_context(in_memory(tail)).fileno() for _, tail in wanted]
            details = tuple(rebuild.to_plain() for rebuild, _ in wanted)
            reply, fds = await self._ask("tcp_rebuild", "", *tails, details=details)
        results = reply if isinstance(reply, list) else []
        sockets = iter([socket.socket(fileno=fd) for fd in fds])
        return [next(sockets) if each is None else revive(each) for each in results]

    def close(self) -> None:
        """Leaves the helper; one that is our child ends by it and is waited for."""
        self._disconnect()
        if self._child:
            self._child.wait()

    async def _ask(
        self, op: str, busid: str = "", *fds: int, details: tuple[Mapping[str, Any], ...] = ()
    ) -> tuple[Result, list[int]]:
        """The result of the operation, and the descriptors that came with it."""
        async with self._lock:
            self._last_id += 1
            request = Request(self._last_id, op, busid, fds, details)
            try:
                async with asyncio.timeout(self._answer_seconds):
                    await self._send(request)
                    reply, beside = await self._reply_to(request)
            except TimeoutError as error:
                self._disconnect()
                raise Timeout(
                    f"the helper did not {op} {busid} within {self._answer_seconds:g} s; a driver may hang, "
                    "see `journalctl -u twinhub-helper` and `dmesg`"
                ) from error
        if reply.failure:
            raise reply.failure
        return reply.result, beside

    async def _send(self, request: Request) -> None:
        """Sends, once more on a new connection when the helper that had the old one is gone."""
        data = encode_request(request)
        if self._socket:
            try:
                socket.send_fds(self._socket, [data], request.fds)
                return
            except ConnectionError:
                self._disconnect()
        self._socket = self._connect()
        try:
            socket.send_fds(self._socket, [data], request.fds)
        except ConnectionError as error:
            raise self._gone(request) from error

    def _connect(self) -> socket.socket:
        if self._path is None:
            raise Unavailable("the helper died; restart `twinhub serve`")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setblocking(False)
        try:
            connection.connect(str(self._path))
        except PermissionError as error:
            connection.close()
            raise NotPermitted(f"the helper at {self._path} serves another user than this one") from error
        except OSError as error:
            connection.close()
            raise Unavailable(f"no helper answers at {self._path}; start twinhub-helper.service") from error
        return connection

    async def _reply_to(self, request: Request) -> tuple[Reply, list[int]]:
        assert self._socket
        while True:
            try:
                data, fds = await receive(self._socket)
            except ConnectionError:
                data, fds = b"", []
            if not data:
                raise self._gone(request)
            reply = parse_reply(data)
            if reply.id in (request.id, None):
                return reply, fds
            for fd in fds:
                os.close(fd)

    def _gone(self, request: Request) -> Unavailable:
        self._disconnect()
        return Unavailable(
            f"the helper hung up on {request.op} {request.busid}; `journalctl -u twinhub-helper` may say why"
        )

    def _disconnect(self) -> None:
        if self._socket:
            with suppress(OSError):
                # Processes that were forked from ours hold copies: closing ours would not tell the helper.
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        self._socket = None


async def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """The next message, with its descriptors, which asyncio does not know."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
    data, fds, _, _ = socket.recv_fds(connection, MAX_MESSAGE, MAX_REBUILDS, socket.MSG_CMSG_CLOEXEC)
    return data, fds


def in_memory(data: bytes) -> BinaryIO:
    file = open(os.memfd_create("tail"), "w+b")  # noqa: SIM115 - the caller closes it
    file.write(data)
    file.flush()
    return file


class NoHelper:
    """Stands in where no helper runs, so that gadgets can be served without root."""

    async def bind(self, busid: str) -> None:
        raise self._absent(f"bind {busid}")

    async def unbind(self, busid: str) -> None:
        raise self._absent(f"unbind {busid}")

    async def hand_over(self, busid: str, fd: int) -> None:
        raise self._absent(f"start a session on {busid}")

    async def end(self, busid: str) -> None:
        raise self._absent(f"end the session on {busid}")

    async def status(self, busid: str) -> StubStatus:
        raise self._absent(f"ask the state of {busid}")

    async def load_modules(self) -> None:
        raise self._absent("load kernel modules")

    async def tcp_facts(self, fd: int) -> Facts:
        raise self._absent("read what a TCP connection agreed on")

    async def rebuild(self, wanted: Sequence[tuple[Rebuild, bytes]]) -> list[socket.socket | TwinhubError]:
        raise self._absent("rebuild a TCP connection")

    @staticmethod
    def _absent(wish: str) -> NotPermitted:
        return NotPermitted(
            f"cannot {wish}: that needs root and no helper is running; "
            "start twinhub-helper.service, or run `twinhub serve` as root"
        )
