"""The direct session: the stub has the client's socket; here it is only seen to hang up, and ended."""

from __future__ import annotations

import socket
from typing import Any

from appliance.errors import UsageError
from appliance.loop import HANGUP, Ended, Loop
from appliance.sessions.state import SessionState


class Direct:
    """Holds a duplicate of the client's socket and never reads it."""

    def __init__(self, loop: Loop, state: SessionState, client: socket.socket) -> None:
        self.state, self.client = state, client
        loop.watch(client.fileno(), HANGUP, self.on_hangup)

    def on_hangup(self, events: int) -> None:
        raise Ended("the client hung up or the device is gone")

    def stats(self) -> dict[str, Any]:
        return {}

    def record(self, fd: int) -> None:
        raise UsageError(
            "a direct session cannot be captured: its URBs pass the kernel only; share it relayed"
        )

    def local(self, given: dict[str, Any]) -> None:
        raise UsageError("a real device takes no local input; only software gadgets do")

    def freeze(self) -> SessionState:
        return self.state

    def sockets(self) -> tuple[socket.socket, ...]:
        return (self.client,)

    def close(self) -> None:
        """Ends the connection for every holder of the socket, the stub too."""
        try:
            self.client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was the other side that ended it
