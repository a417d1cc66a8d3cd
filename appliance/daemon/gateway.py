"""A group's address and its clients' connections, through the gate and the helper."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from appliance.errors import PeerError, TwinhubError, Unavailable, UsageError
from appliance.kernel.client import Helper
from appliance.kernel.gate.client import RULES_SECONDS, GateLine, connection_of
from appliance.kernel.gate.messages import Freeze, Message, Open, Refuse
from appliance.kernel.tcp.state import Facts, Rebuild, rebuild_of
from appliance.pair.gadget_exports import Orphan

ADDRESS_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.001
RETRY_SECONDS: Final = 0.1
"""Until a gate that died is looked for again."""


class Gateway:
    """Implements `appliance.pair.gadget_exports.Gateway` for one address."""

    def __init__(self, address: str, gate: Path, helper: Helper) -> None:
        self.address, self.gate, self._helper = address, gate, helper
        self._line: GateLine | None = None
        self._wanted: Message | None = None
        """Of the address: what the gate was told last"""
        self._turn = asyncio.Lock()

    async def watch(self) -> None:
        """Until cancelled: a gate that was restarted knows nothing, and is told again."""
        while True:
            with suppress(TwinhubError):
                await self._while_it_runs()
            await asyncio.sleep(RETRY_SECONDS)

    async def _while_it_runs(self) -> None:
        """On a line of its own, on which nothing is said, so that it is readable when the gate is gone."""
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        line = GateLine(self.gate)
        try:
            async with self._turn:
                self.hang_up()
                if self._wanted:
                    await self._put(self._wanted)
            loop.add_reader(line.fileno(), gone.set)
            await gone.wait()
        finally:
            loop.remove_reader(line.fileno())
            line.close()

    async def guard(self, client: socket.socket) -> dict[str, Any] | None:
        """What a session on this new connection has to know (`appliance.sessions.guard`); None where the
        client came by another address than the group's."""
        if client.getsockname()[0].removeprefix("::ffff:") != self.address:
            return None
        facts = await self._helper.tcp_facts(client.fileno())
        return {"facts": facts.to_plain(), "gate": str(self.gate)}

    async def close(self) -> None:
        self._wanted = Freeze(self.address)
        await self._ask(self._wanted)

    async def open(self) -> None:
        self._wanted = Open(self.address)
        await self._ask(self._wanted)

    async def rebuild(self, orphans: Sequence[Orphan]) -> list[socket.socket | TwinhubError]:
        if not orphans:
            return []
        await self._address_is_here()
        now = time.time()
        asked = [wanted(each, now) for each in orphans]
        found = iter(
            await self._helper.rebuild([each for each in asked if not isinstance(each, TwinhubError)])
        )
        return [each if isinstance(each, TwinhubError) else next(found) for each in asked]

    async def refuse(self, orphan: Orphan) -> None:
        if not orphan.facts:
            raise PeerError(f"nothing is known of the connection of session {orphan.spec.id}")
        await self._ask(Refuse(connection_of(Facts.from_plain(orphan.facts))))

    async def _address_is_here(self) -> None:
        """keepalived brings it, sometimes after the selector's grant. Unavailable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ADDRESS_SECONDS
        while not is_local(self.address):
            if loop.time() > deadline:
                raise Unavailable(f"{self.address} does not come to this appliance; is keepalived running?")
            await asyncio.sleep(POLL_SECONDS)

    async def _ask(self, message: Message) -> None:
        async with self._turn:
            await self._put(message)

    async def _put(self, message: Message) -> None:
        """The gate answers within milliseconds, but for a change of the firewall's rules."""
        if self._line is None:
            self._line = GateLine(self.gate, RULES_SECONDS)
        try:
            await asyncio.to_thread(self._line.ask, message)
        except BaseException:  # whoever asks next must not get this answer
            self.hang_up()
            raise

    def hang_up(self) -> None:
        line, self._line = self._line, None
        if line:
            line.close()


def wanted(orphan: Orphan, now: float) -> tuple[Rebuild, bytes] | TwinhubError:
    """What the helper needs for its connection, or why that cannot be known."""
    try:
        facts = Facts.from_plain(orphan.facts)
        age = int((now - orphan.spec.started) * 1000)
    except (UsageError, ValueError, OverflowError) as error:
        return PeerError(f"session {orphan.spec.id} cannot be found again: {error}")
    return rebuild_of(facts, orphan.bytes_in, orphan.bytes_out, age), orphan.tail


def is_local(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.bind((address, 0))
        return True
    return False
