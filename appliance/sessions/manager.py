"""All sessions, for the daemon: started through the nursery, found again after a restart, asked and ended.

Nothing here is needed for a session to go on: a daemon that dies leaves them as they are. Their control
sockets, `<runtime>/sessions/<id>.sock`, are the list of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from appliance.errors import NotFound, PeerError, Timeout, TwinhubError, Unavailable, UsageError
from appliance.kernel.client import Helper
from appliance.sessions.link import GADGETS, PATIENCE, GadgetLink, Link, SessionLink
from appliance.sessions.nursery_client import Nursery
from appliance.sessions.state import SessionSpec

REEXEC_PATIENCE: Final = 15.0
"""Seconds in which newer code must have started, on a slow machine."""
BACKLOG: Final = 8
LONGEST_SOCKET_PATH: Final = 107
"""sun_path less its NUL (include/uapi/linux/un.h)."""
CHUNK: Final = 64 << 10

AnyLink = TypeVar("AnyLink", bound=Link)
OnEnd = Callable[[SessionSpec, str], None]


class Sessions:
    """`on_end(spec, reason)` is called for each session that ends while the daemon looks on."""

    def __init__(self, runtime_dir: Path, helper: Helper, on_end: OnEnd) -> None:
        self.runtime_dir = runtime_dir
        self.directory = runtime_dir / "sessions"
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.helper = helper
        self.on_end = on_end
        self.nursery = Nursery()
        self._links: dict[str, SessionLink] = {}
        self._endings: set[asyncio.Task[None]] = set()

    def all(self) -> list[SessionSpec]:
        """Those that run, oldest first."""
        return sorted((link.spec for link in self._links.values()), key=lambda spec: spec.started)

    async def start(
        self, spec: SessionSpec, client: socket.socket, guard: Mapping[str, Any] | None = None
    ) -> None:
        """The session begins on the client's connected socket, which is then closed here, and not if this
        raises. `guard`: how its connection is guarded (appliance/sessions/guard.py)."""
        path = self.directory / f"{spec.id}.sock"
        with ExitStack() as ours:
            listener = ours.enter_context(listen(path))
            try:
                if spec.kind == "gadget":
                    await self._serve(spec, listener, client, guard)
                    self.keep(await SessionLink.open(path))
                else:
                    sockets = await self._hand_over(spec, client, ours)
                    told = {**spec.to_json(), **({"guard": guard} if guard else {})}
                    pid = await self.nursery.start("session", told, (listener, *sockets))
                    self.keep(await first_contact(SessionLink, path, pid))
            except BaseException:
                path.unlink(missing_ok=True)
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)  # a worker that runs after all has a copy: it ends
                if spec.kind == "direct":
                    await self.helper.end(spec.busid)
                raise
        client.close()

    async def _hand_over(
        self, spec: SessionSpec, client: socket.socket, ours: ExitStack
    ) -> tuple[socket.socket, ...]:
        """Gives the stub its end of the session; returns the worker's sockets."""
        if spec.kind == "relayed":
            here, stub = (ours.enter_context(end) for end in socket.socketpair())
            await self.helper.hand_over(spec.busid, stub.fileno())
            return client, here
        if spec.kind == "direct":
            await self.helper.hand_over(spec.busid, client.fileno())
        return (client,)

    async def _serve(
        self,
        spec: SessionSpec,
        listener: socket.socket,
        client: socket.socket,
        guard: Mapping[str, Any] | None,
    ) -> None:
        """Has the gadget's process run the session."""
        told = {"spec": spec.to_json(), **({"guard": guard} if guard else {})}
        await self._gadget(spec, "serve", (listener.fileno(), client.fileno()), **told)

    async def _gadget(self, spec: SessionSpec, op: str, fds: tuple[int, ...], /, **fields: Any) -> None:
        try:
            gadget = await GadgetLink.open(self.runtime_dir / GADGETS / f"{spec.gadget}.sock")
        except OSError:
            raise Unavailable(f"gadget {spec.gadget} does not run at the moment; try again") from None
        try:
            await gadget.ask(op, fds, **fields)
        finally:
            await gadget.close()

    async def resume(
        self, spec: SessionSpec, client: socket.socket, gate: Path, ask: Callable[..., Awaitable[Any]]
    ) -> None:
        """A gadget's session that began on the sibling goes on here, on its client's rebuilt socket, which is
        closed here in any case. `ask` asks the gadget's process: on a connection that there is already."""
        path = self.directory / f"{spec.id}.sock"
        with client, listen(path) as listener:
            try:
                await ask("resume", (listener.fileno(), client.fileno()), gate=str(gate))
                self.keep(await SessionLink.open(path))
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    async def adopt(self) -> list[SessionSpec]:
        """The sessions that an earlier daemon left running are ours from now on."""
        self.nursery.open()
        for path in sorted(self.directory.glob("*.sock")):
            try:
                self.keep(await SessionLink.open(path))
            except (OSError, PeerError) as error:
                # One that hangs is left alone: it may still serve its client, and its file names it.
                if not isinstance(error, Timeout):
                    path.unlink(missing_ok=True)
        return self.all()

    async def kick(self, session: str, reason: str) -> None:
        """Ends it, and returns when it has ended and `on_end` was told."""
        link = self.link(session)
        await link.kick(reason)
        await self._endings_told()

    async def stats(self, session: str) -> dict[str, Any]:
        return dict(await self.link(session).ask("stats"))

    async def local(self, session: str, given: dict[str, Any]) -> None:
        """A local input to a software device, e.g. {"type_text": "hello"}."""
        await self.link(session).ask("local", input=given)

    def version(self, session: str) -> str:
        """Of the code that its worker runs."""
        return self.link(session).version

    async def upgrade(self, session: str) -> str:
        """The worker becomes the code that is installed now; returns its version."""
        link = self.link(session)
        link.version = await link.ask("reexec", patience=REEXEC_PATIENCE)
        return link.version

    @asynccontextmanager
    async def capture(self, session: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The session's URBs from now on as the chunks of a pcapng file, until the session ends."""
        link = self.link(session)
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            with theirs:
                await link.ask("capture", (theirs.fileno(),))
            yield chunks(ours)

    async def close(self, leave: bool) -> None:
        """The daemon ends. `leave`: the sessions go on and wait for the next one; else they end."""
        if not leave:
            links = list(self._links.values())
            await asyncio.gather(*(link.kick("the daemon stops") for link in links))
            await self._endings_told()
        for link in self._links.values():
            await link.close()
        self._links.clear()
        await self.nursery.close()

    def link(self, session: str) -> SessionLink:
        """Its process, as the daemon sees it."""
        try:
            return self._links[session]
        except KeyError:
            raise NotFound(f"no session {session!r}; `twinhub sessions` lists them") from None

    def keep(self, link: SessionLink) -> None:
        """A session that runs is one of ours."""
        self._links[link.spec.id] = link
        link.when_over(self._over)

    def _over(self, link: SessionLink) -> None:
        del self._links[link.spec.id]
        task = asyncio.create_task(self._end(link), name=f"end of session {link.spec.id}")
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _end(self, link: SessionLink) -> None:
        """A dead worker's socket file is left behind; a direct session outlives it in the kernel."""
        link.path.unlink(missing_ok=True)
        reason = link.reason
        if link.spec.kind == "direct":
            try:
                await self.helper.end(link.spec.busid)
            except TwinhubError as error:
                reason = f"{reason}; {error}"
        self.on_end(link.spec, reason)

    async def _endings_told(self) -> None:
        if self._endings:
            await asyncio.wait(self._endings)


def listen(path: Path) -> socket.socket:
    """A listening Unix socket that only its owner may use, from its first moment on."""
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise UsageError(f"{path} is too long for a socket: a shorter name, or a shorter [paths] runtime")
    sock = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(str(path))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


async def first_contact(kind: type[AnyLink], path: Path, pid: int, patience: float = PATIENCE) -> AnyLink:
    """With a worker that was just started; one that cannot be talked to is killed."""
    try:
        return await kind.open(path, patience)
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        raise


async def chunks(sock: socket.socket) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    while chunk := await loop.sock_recv(sock, CHUNK):
        yield chunk
