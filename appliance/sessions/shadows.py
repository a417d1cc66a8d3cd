"""The shadows of the sibling's relayed sessions, for the daemon: a process each, until it is the session.

Their control sockets are `<runtime>/shadows/<session>.sock`; what is asked there is in shadow/process.py.
"""

from __future__ import annotations

import os
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from appliance.errors import NotFound
from appliance.sessions.control import Message
from appliance.sessions.link import SessionLink, TwinLink
from appliance.sessions.manager import Sessions, first_contact, listen
from appliance.sessions.shadow.plan import Found

RESUMING: Final = 20.0
"""Seconds for a device to hear what it must, and for both sides to take what waits."""


class ShadowLink(TwinLink):
    what = "shadow"


class Shadows:
    """By the ids of the sessions that they follow. `on_twin(session, state, reason)` hears of all."""

    def __init__(
        self, runtime_dir: Path, sessions: Sessions, on_twin: Callable[[str, str, str], None]
    ) -> None:
        self.directory, self.sessions, self.on_twin = runtime_dir / "shadows", sessions, on_twin
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._links: dict[str, ShadowLink] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._links)

    async def follow(self, session: str, master: socket.socket, epoch: int, keys: str = "") -> None:
        """What comes by `master`, a connection to the session's process, is followed from now on."""
        link = self._links.get(session) or await self._start(session)
        await link.ask("follow", (master.fileno(),), epoch=epoch, keys=keys)

    async def _start(self, session: str) -> ShadowLink:
        path = self.directory / f"{session}.sock"
        path.unlink(missing_ok=True)
        with listen(path) as listener:
            pid = await self.sessions.nursery.start("shadow", {}, (listener,))
        link = self._links[session] = await first_contact(ShadowLink, path, pid)
        link.on_twin = lambda state, reason: self.on_twin(session, state, reason)
        link.when_over(lambda over: self._over(session, over))
        return link

    def _over(self, session: str, link: ShadowLink) -> None:
        link.path.unlink(missing_ok=True)
        if self._links.get(session) is link:
            del self._links[session]

    async def promote(self, session: str, epoch: int, choice: str = "auto") -> tuple[Message, bytes]:
        """Where the session stands (`shadow.process.position`), and the end of what its client was sent."""
        file = os.memfd_create("tail")
        try:
            told = await self._link(session).ask("promote", (file,), epoch=epoch, choice=choice)
            return told, os.pread(file, told["tail"], 0)
        finally:
            os.close(file)

    async def resume(
        self, session: str, client: socket.socket, found: Found, unsent: int, gate: Path, choice: str = "auto"
    ) -> None:
        """The session goes on with the device that was found here, on its client's rebuilt socket, which is
        closed here in any case. Whatever this raises, the client must be reset."""
        link = self._link(session)
        path = self.sessions.directory / f"{session}.sock"
        ours, stub = socket.socketpair()
        with client, ours:
            with stub:
                await self.sessions.helper.hand_over(found.busid, stub.fileno())
            with listen(path) as listener:
                try:
                    await link.ask(
                        "resume",
                        (listener.fileno(), client.fileno(), ours.fileno()),
                        patience=RESUMING,
                        found=plain(found),
                        unsent=unsent,
                        gate=str(gate),
                        choice=choice,
                    )
                except BaseException:
                    path.unlink(missing_ok=True)
                    raise
        self.sessions.keep(await SessionLink.open(path))
        await link.over()
        self._over(session, link)

    async def drop(self, session: str, reason: str) -> None:
        if link := self._links.get(session):
            await link.end("stop", reason, reason)

    async def close(self, leave: bool) -> None:
        """The daemon ends. `leave`: the shadows go on, alone; they end when their masters' sessions do."""
        for session, link in list(self._links.items()):
            if leave:
                await link.close()
            else:
                await self.drop(session, "the daemon stops")
        self._links.clear()

    def _link(self, session: str) -> ShadowLink:
        try:
            return self._links[session]
        except KeyError:
            raise NotFound(f"no shadow of a session {session!r} is here") from None


def plain(found: Found) -> Message:
    return {
        "devid": found.devid,
        "busid": found.busid,
        "speed": int(found.speed),
        "descriptors": b64encode(found.descriptors).decode(),
        "serial": found.serial,
    }
