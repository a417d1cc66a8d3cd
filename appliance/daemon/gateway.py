"""A group's address and its clients' connections, through the gate and the helper."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from appliance.errors import PeerError, TwinhubError, Unavailable
from appliance.kernel.client import Helper
from appliance.kernel.gate.client import RULES_SECONDS, GateLine, connection_of
from appliance.kernel.gate.messages import Freeze, Message, Open, Refuse
from appliance.kernel.tcp.state import Facts, rebuild_of
from appliance.pair.gadget_exports import Orphan

ADDRESS_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.001


class Gateway:
    """Implements `appliance.pair.gadget_exports.Gateway` for one address."""

    def __init__(self, address: str, gate: Path, helper: Helper) -> None:
        self.address, self.gate, self._helper = address, gate, helper
        self._line: GateLine | None = None

    async def guard(self, client: socket.socket) -> dict[str, Any] | None:
        """What a session on this new connection has to know (`appliance.sessions.guard`); None where the
        client came by another address than the group's."""
        if client.getsockname()[0].removeprefix("::ffff:") != self.address:
            return None
        facts = await self._helper.tcp_facts(client.fileno())
        return {"facts": facts.to_plain(), "gate": str(self.gate)}

    async def close(self) -> None:
        await self._ask(Freeze(self.address))

    async def open(self) -> None:
        await self._ask(Open(self.address))

    async def rebuild(self, orphans: Sequence[Orphan]) -> list[socket.socket | TwinhubError]:
        if not orphans:
            return []
        await self._address_is_here()
        now = time.time()
        wanted = []
        for each in orphans:
            facts = Facts.from_plain(each.facts)
            age = int((now - each.spec.started) * 1000)
            wanted.append((rebuild_of(facts, each.bytes_in, each.bytes_out, age), each.tail))
        return await self._helper.rebuild(wanted)

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
        """The gate answers within milliseconds, but for a change of the firewall's rules."""
        if self._line is None:
            self._line = GateLine(self.gate, RULES_SECONDS)
        try:
            await asyncio.to_thread(self._line.ask, message)
        except TwinhubError:
            self.hang_up()
            raise

    def hang_up(self) -> None:
        line, self._line = self._line, None
        if line:
            line.close()


def is_local(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.bind((address, 0))
        return True
    return False
