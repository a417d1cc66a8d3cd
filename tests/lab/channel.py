"""The host's end of the two conversations with a machine: its agent (JSON lines) and its QEMU (QMP)."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tests.lab.errors import DeadlinePassed, LabError, MachineDied, QmpError

Message = dict[str, Any]


class Channel:
    """JSON lines both ways; answers find their question by `id`, everything else goes to `on_event`.

    Thread-safe. When the other end closes, every open and later call raises MachineDied.
    """

    def __init__(self, sock: socket.socket, on_event: Callable[[Message], None], who: str) -> None:
        self._sock, self._on_event, self._who = sock, on_event, who
        self._waiting: dict[int, Future[Message]] = {}
        self._lock, self._last, self._closed = threading.Lock(), 0, False
        self._reader = threading.Thread(target=self._read, name=who, daemon=True)
        self._reader.start()

    def ask(self, message: Message, timeout: float, fds: tuple[int, ...] = ()) -> Message:
        """Send `message` with an id of its own (and file descriptors); the answer to it."""
        number, answer = self._send(message, fds)
        try:
            return answer.result(timeout)
        except TimeoutError:
            raise DeadlinePassed(f"{self._who} has not answered {message} in {timeout:.0f} s") from None
        finally:
            self._waiting.pop(number, None)

    def tell(self, message: Message) -> None:
        """Send it to one who may be frozen: it counts when that goes on, and what is answered is nobody's."""
        number, _ = self._send(message, ())
        self._waiting.pop(number, None)

    def _send(self, message: Message, fds: tuple[int, ...]) -> tuple[int, Future[Message]]:
        answer: Future[Message] = Future()
        with self._lock:
            if self._closed:
                raise MachineDied(f"{self._who} is gone")
            self._last += 1
            number = self._last
            self._waiting[number] = answer
            line = json.dumps(message | {"id": number}).encode() + b"\n"
            sent = socket.send_fds(self._sock, [line], fds)
            self._sock.sendall(line[sent:])
        return number, answer

    def close(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._reader.join()
        self._sock.close()

    def _read(self) -> None:
        with self._sock.makefile("rb") as lines:
            try:
                for line in lines:
                    self._handle(json.loads(line))
            except OSError:
                pass
        with self._lock:
            self._closed = True
            waiting = list(self._waiting.values())
        for answer in waiting:
            answer.set_exception(MachineDied(f"{self._who} died"))
        self._on_event({"event": "gone"})

    def _handle(self, message: Message) -> None:
        if "id" not in message:
            self._on_event(message)
        elif answer := self._waiting.get(message["id"]):
            answer.set_result(message)


class Agent(Channel):
    """The agent in the machine."""

    def call(self, op: str, timeout: float = 60, **fields: Any) -> Any:
        """Result of an operation (`agent.py` lists them); LabError with its sentence if it failed."""
        answer = self.ask({"op": op, **fields}, timeout)
        if "error" in answer:
            raise LabError(f"{self._who}: {op}: {answer['error']}")
        return answer["result"]


class Qmp(Channel):
    """QEMU's machine protocol."""

    def execute(self, command: str, fds: tuple[int, ...] = (), /, **arguments: Any) -> Any:
        """QMP's `return`; QmpError with QEMU's own words if it refused."""
        answer = self.ask({"execute": command, "arguments": arguments}, 30, fds)
        if "error" in answer:
            raise QmpError(f"{self._who}: {command} {arguments}: {answer['error']['desc']}")
        return answer["return"]
