"""What the daemon may ask a relayed session's process for, that it have a shadow on the sibling appliance.

| op | fields, and what is passed along | answer |
|---|---|---|
| replicate | epoch, keys (the pair's folder); the socket to the shadow | true; events tell how it goes |
| protect | | true, when what client and device have is at the shadow, too: from now on bytes wait for it |
| sole | until (CLOCK_BOOTTIME, ns) | true: everything flows, until then; a shadow that protects is let go |
| hold | | true: nothing is read or written; `sole`, `protect`, `thaw` end it |
| freeze | | true, when nothing moves and the shadow has everything; ended like `hold` |
| thaw | | true |

A session begins held.

Everybody is told `{"event": "twin", "state", "reason"}`: "syncing", "caught_up", "protected", "lost", or
"device_gone": a protected session whose stub hung up waits for the sibling to go on, or to be kicked.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from appliance.errors import Busy, Unavailable, describe
from appliance.loop import Loop
from appliance.security.tls import context_of
from appliance.sessions.control import Message
from appliance.sessions.conversation import Connection, Operation
from appliance.sessions.relayed import Relayed
from appliance.sessions.replication.wire import Clear, Tls, Wire
from appliance.sessions.shadow.master import Phase, RelayLog


class RelayTwin:
    """`tell` tells everybody."""

    def __init__(self, loop: Loop, relayed: Relayed, tell: Callable[[Message], None]) -> None:
        self.loop, self.relayed, self.tell = loop, relayed, tell
        self.log: RelayLog | None = None
        self.wire: Wire | None = None
        self.epoch = 0
        self.operations: dict[str, Operation] = {
            "replicate": self.replicate,
            "protect": self.protect,
            "sole": self.sole,
            "hold": self.hold,
            "freeze": self.freeze,
            "thaw": self.thaw,
        }

    def stats(self) -> Message | None:
        log = self.log
        return {"state": log.phase.value, "index": log.index, "acked": log.acked} if log else None

    def replicate(self, message: Message, connection: Connection) -> bool:
        (fd,) = connection.take_fds("the socket to the shadow")
        with socket.socket(fileno=fd) as sock:
            if self.log and self.log.holding:
                raise Busy("bytes wait for another shadow; only `sole` lets them go")
            self.epoch = newer(message, self.epoch)
            secured = channel(message, server_side=False)
            self.end()
            log = RelayLog(self.relayed, self.epoch, lambda data: wire.send(data), self.told)
            wire = Wire(self.loop, socket.socket(fileno=sock.detach()), log.feed, log.lose, secured)
        self.log, self.wire = log, wire
        self.told(Phase.SYNCING, "")
        log.start()
        return True

    def protect(self, message: Message, connection: Connection) -> None:
        if not self.log:
            raise Unavailable("there is no shadow; replicate first")
        self.log.protect(partial(answer, connection))
        self.thaw(message, connection)  # what waits for the backup needs no lease

    def sole(self, message: Message, connection: Connection) -> bool:
        if self.log and self.log.holding:
            self.end()
        self.thaw(message, connection)
        until = message.get("until")
        self.relayed.lease = None if until is None else int(until)
        return True

    def hold(self, message: Message, connection: Connection) -> bool:
        self.relayed.freeze_flows(True)
        return True

    def freeze(self, message: Message, connection: Connection) -> bool | None:
        self.relayed.freeze_flows(True)
        if not self.log:
            return True
        self.log.when_acked(partial(answer, connection))
        return None

    def thaw(self, message: Message, connection: Connection) -> bool:
        self.relayed.lease = None
        self.relayed.freeze_flows(False)
        return True

    def end(self) -> None:
        """Plain flows again, and no shadow."""
        if self.log and self.wire:
            self.log.sole()
            self.wire.close()
        self.log = self.wire = None

    def told(self, phase: Phase, reason: str) -> None:
        self.tell({"event": "twin", "state": phase.value, "reason": reason})


def answer(connection: Connection, reason: str) -> None:
    connection.tell(describe(Unavailable(reason)) if reason else {"ok": True})


def newer(message: Message, epoch: int) -> int:
    """The epoch told; an older one than the last is refused."""
    told = int(message.get("epoch", epoch))
    if told < epoch:
        raise Unavailable(f"epoch {told} is over; this process has heard of {epoch}")
    return told


def channel(message: Message, *, server_side: bool) -> Clear | Tls:
    """By the pair's own keys; in the clear where none are named."""
    keys = message.get("keys")
    return Tls(context_of(Path(str(keys)), server_side), server_side) if keys else Clear()
