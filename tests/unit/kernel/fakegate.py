"""A gate that notes what it is told, judges nothing, and can die and be there again."""

from __future__ import annotations

import queue
import select
import socket
import threading
from pathlib import Path

from appliance.kernel.gate.messages import DONE, MAX_MESSAGE, Commit, Message, parse

SECONDS = 30.0


class FakeGate:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: queue.Queue[Message] = queue.Queue()
        self.start()

    def start(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)
        self._thread.start()

    def die(self) -> None:
        """All lines to it hang up when this returns."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(SECONDS)
        self.path.unlink()

    def next(self) -> Message:
        return self.told.get(timeout=SECONDS)

    def _run(self) -> None:
        lines = [self._listener]
        while self._listener in lines:
            for ready in select.select(lines, [], [])[0]:
                self._hear(ready, lines)
        for line in lines:
            line.close()

    def _hear(self, ready: socket.socket, lines: list[socket.socket]) -> None:
        try:
            if ready is self._listener:
                lines.append(ready.accept()[0])
                return
            data = ready.recv(MAX_MESSAGE)
        except OSError:
            data = b""
        if not data:
            lines.remove(ready)
            ready.close()
            return
        message = parse(data)
        self.told.put(message)
        if not isinstance(message, Commit):
            ready.send(DONE)
