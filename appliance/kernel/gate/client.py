"""The gate as workers and the daemon see it."""

from __future__ import annotations

import socket
from pathlib import Path

from appliance.errors import TwinhubError, Unavailable
from appliance.kernel.gate import messages
from appliance.kernel.gate.judge import Connection
from appliance.kernel.gate.messages import DONE, GATE_SOCKET, MAX_MESSAGE, Commit, LetGo, Message, Register
from appliance.kernel.tcp.state import Facts

ANSWER_SECONDS = 5.0
RULES_SECONDS = 30.0
"""For who has rules changed, which may load modules first."""


class GateLine:
    """A connection to the gate, blocking; it answers within a millisecond, but for rules that change."""

    def __init__(self, path: Path = GATE_SOCKET, patience: float = ANSWER_SECONDS) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(patience)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"no gate answers at {path}; start twinhub-gate.service") from error

    def ask(self, message: Message) -> None:
        """Returns when it is done; a TwinhubError says why it is not."""
        self.tell(message)
        try:
            answer = self._socket.recv(MAX_MESSAGE)
        except OSError:
            answer = b""
        if not answer:
            raise Unavailable("the gate hung up; `journalctl -u twinhub-gate` may say why")
        if answer != DONE:
            raise TwinhubError(answer.decode(errors="replace"))

    def tell(self, message: Message) -> None:
        try:
            self._socket.send(messages.encode(message), socket.MSG_NOSIGNAL)
        except OSError as error:
            raise Unavailable("the gate is gone; nothing leaves a protected address without it") from error

    def fileno(self) -> int:
        """Readable when the gate died: the connections that it guarded must be registered with the next."""
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


class Passage:
    """One client's connection at the gate. Closed without `let_go` it stays guarded: no farewell leaves."""

    def __init__(self, facts: Facts, position: int = 0, path: Path = GATE_SOCKET) -> None:
        """`position`: how many bytes since the facts were read are committed already."""
        self._line = GateLine(path)
        try:
            self._line.ask(Register(connection_of(facts), facts.seq_in, position))
        except TwinhubError:
            self._line.close()
            raise

    def commit(self, position: int) -> None:
        """The client may be told that this many bytes since the facts have arrived. Waits for nothing."""
        self._line.tell(Commit(position))

    def let_go(self) -> None:
        """Before the socket is closed on purpose."""
        self._line.ask(LetGo())

    def fileno(self) -> int:
        return self._line.fileno()

    def close(self) -> None:
        self._line.close()


def connection_of(facts: Facts) -> Connection:
    return facts.local, facts.remote
