"""What the daemon may ask a gadget's process for, that it have a twin on the sibling appliance.

| op | fields, and what is passed along | answer |
|---|---|---|
| replicate | epoch, keys (the pair's folder); the socket to the copy | true; events tell how it goes |
| follow | epoch, keys; the socket from the master | true; this is its copy now |
| protect | | true, when what any client has is at the copy, too: from now on outputs wait for it |
| sole | until (CLOCK_BOOTTIME, ns) | true: everything flows, until then; a protected copy is let go |
| hold | | true: nothing goes to the client and nothing is read from it; `sole`, `protect`, `thaw` end it |
| freeze | | true, when nothing moves at all and the copy has everything; ended like `hold` |
| thaw | | true |
| promote | epoch; a file for the tail | sessions: where each stands. The copy is the device now |
| resume | unsent, gate (its socket's path); the session's listening control socket, the rebuilt one | true |
| drop | | true: the session that could not be rebuilt has ended |

Everybody is told `{"event": "twin", "state", "reason"}`: of a master "syncing", "caught_up", "protected" or
"lost", of a copy "in_sync" or "lost".
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from appliance.errors import Busy, TwinhubError, Unavailable, describe
from appliance.loop import Loop
from appliance.security.tls import context_of
from appliance.sessions.control import Message
from appliance.sessions.conversation import Connection, Operation
from appliance.sessions.replication.follower import Follower
from appliance.sessions.replication.master import Master, Phase
from appliance.sessions.replication.shadow import Shadow
from appliance.sessions.replication.wire import Clear, Tls, Wire
from appliance.sessions.running import Running
from appliance.sessions.software import Software


class Twin:
    """`tell` tells everybody. `begin(shadow, listener, client, unsent, gate)` goes on with a session here."""

    def __init__(
        self,
        loop: Loop,
        running: Running,
        tell: Callable[[Message], None],
        begin: Callable[[Shadow, socket.socket, socket.socket, int, object], None],
    ) -> None:
        self.loop, self.running, self.tell, self.begin = loop, running, tell, begin
        self.wire: Wire | None = None
        self.master: Master | None = None
        self.follower: Follower | None = None
        self.epoch = 0
        self.operations: dict[str, Operation] = {
            "replicate": self.replicate,
            "follow": self.follow,
            "protect": self.protect,
            "sole": self.sole,
            "freeze": self.freeze,
            "hold": self.hold,
            "thaw": self.go_on,
            "promote": self.promote,
            "resume": self.resume,
            "drop": self.drop,
        }

    @property
    def orphan(self) -> Shadow | None:
        """The session without a client."""
        host = self.running.host
        return host if isinstance(host, Shadow) else None

    def stats(self) -> Message | None:
        if master := self.master:
            return {
                "role": "master",
                "state": master.phase.value,
                "index": master.index,
                "acked": master.acked,
                "pieces": master.pieces,
            }
        if follower := self.follower:
            return {"role": "backup", "state": follower.state_word, "index": follower.index}
        return None

    def state(self, state: str, reason: str) -> None:
        self.tell({"event": "twin", "state": state, "reason": reason})

    # The master's

    def replicate(self, message: Message, connection: Connection) -> bool:
        (fd,) = connection.take_fds("the socket to the sibling's process")
        sock = socket.socket(fileno=fd)
        if not self.running.live:
            sock.close()
            raise Unavailable("this is a copy itself; promote it first")
        if self.master and self.master.holding:
            sock.close()
            raise Busy("outputs wait for another copy; only `sole` lets them go")
        self.end_master()
        master = Master(
            self.running,
            self.newer(message),
            lambda data: wire.send(data),
            lambda phase, reason: self.state(phase.value, reason),
        )
        wire = Wire(self.loop, sock, master.feed, master.lose, channel(message, server_side=False))
        self.master, self.wire = master, wire
        self.state(Phase.SYNCING.value, "")
        master.start()
        return True

    def protect(self, message: Message, connection: Connection) -> None:
        if not self.master:
            raise Unavailable("there is no backup; replicate first")
        self.master.protect(partial(answer, connection))
        self.running.lease = None  # what waits for the backup needs none
        self.thaw()

    def sole(self, message: Message, connection: Connection) -> bool:
        until = message.get("until")
        self.running.lease = None if until is None else int(until)
        if self.master and self.master.holding:
            self.end_master()
        self.thaw()
        return True

    def end_master(self) -> None:
        master, self.master = self.master, None
        if master:
            master.sole()
            assert self.wire
            self.wire.close()

    def hold(self, message: Message, connection: Connection) -> bool:
        self.running.lease = 0
        if client := self.client:
            client.push()
        return True

    def go_on(self, message: Message, connection: Connection) -> bool:
        self.running.lease = None
        self.thaw()
        return True

    def freeze(self, message: Message, connection: Connection) -> bool | None:
        self.hold(message, connection)
        if self.running.live:
            self.running.freeze()
        if not self.master:
            return True
        self.master.when_acked(partial(answer, connection))
        return None

    def thaw(self) -> None:
        if not self.running.live and not self.follower:
            self.running.go_live()
        if client := self.client:
            client.push()

    @property
    def client(self) -> Software | None:
        host = self.running.host
        return host if isinstance(host, Software) else None

    # The copy's

    def follow(self, message: Message, connection: Connection) -> bool:
        (fd,) = connection.take_fds("the socket from the master's process")
        sock = socket.socket(fileno=fd)
        if self.running.live or self.client:
            sock.close()
            raise Busy("this is no copy: it runs here; stop it and start it as one")
        if self.wire:
            self.wire.close()
        follower = Follower(self.running, self.newer(message), lambda data: wire.send(data), self.state)
        wire = Wire(self.loop, sock, follower.feed, follower.lose, channel(message, server_side=True))
        self.follower, self.wire = follower, wire
        return True

    def promote(self, message: Message, connection: Connection) -> Message:
        """All that came from the master is executed first. Who asks has the group's grant."""
        (tail,) = connection.take_fds("a file for the tail")
        with open(tail, "wb") as file:
            return {"sessions": self.promoted(message, file)}

    def promoted(self, message: Message, file: BinaryIO) -> list[dict[str, Any]]:
        self.newer(message)
        if not self.follower or not self.wire:
            self.thaw()  # the device already, or the copy of nothing
            return []
        self.wire.drain()
        self.follower.promote()
        self.wire.close()
        self.wire = self.follower = None
        if not (shadow := self.orphan):
            return []
        file.write(shadow.give())
        return [position(shadow)]

    def resume(self, message: Message, connection: Connection) -> bool:
        fds = connection.take_fds("the session's listening control socket", "the client's socket")
        listener, client = (socket.socket(fileno=fd) for fd in fds)
        shadow = self.orphan
        try:
            if not shadow or not self.running.live:
                raise Unavailable("no session here lacks its client")
            self.begin(shadow, listener, client, int(message.get("unsent", 0)), message.get("gate"))
        except TwinhubError:
            listener.close()
            client.close()
            raise
        return True

    def drop(self, message: Message, connection: Connection) -> bool:
        self.abandon()
        return True

    def abandon(self) -> None:
        """The session without a client is over."""
        if self.orphan and self.running.live:
            self.running.detach()

    # Both

    def newer(self, message: Message) -> int:
        """The epoch told; an older one than the last is refused."""
        epoch = int(message.get("epoch", self.epoch))
        if epoch < self.epoch:
            raise Unavailable(f"epoch {epoch} is over; this process has heard of {self.epoch}")
        self.epoch = epoch
        return epoch

    def close(self) -> None:
        if self.wire:
            self.wire.close()


def answer(connection: Connection, reason: str) -> None:
    connection.tell(describe(Unavailable(reason)) if reason else {"ok": True})


def channel(message: Message, *, server_side: bool) -> Clear | Tls:
    """By the pair's own keys; in the clear where none are named."""
    keys = message.get("keys")
    return Tls(context_of(Path(str(keys)), server_side), server_side) if keys else Clear()


def position(shadow: Shadow) -> dict[str, Any]:
    """Of one session, for who rebuilds its connection: the tail ends at `bytes_out`."""
    return {
        "spec": shadow.spec.to_json(),
        "facts": shadow.facts,
        "bytes_in": shadow.bytes_in,
        "bytes_out": shadow.bytes_out,
        "tail": shadow.tail_size,
        "broken": shadow.broken,
    }
