"""A client's session as the backup has it: all but the socket, and the end of what was sent to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from appliance.errors import PeerError, ProtocolError
from appliance.sessions.running import Running
from appliance.sessions.software import Piece, forget
from appliance.sessions.state import SessionSpec
from appliance.usbip.stream import Stream
from appliance.usbip.wire import Unlink
from gadgets.usb.urb import Completion, Urb

MAX_TAIL: Final = 128 << 20
"""More than a client's window and what it may have in flight."""


class Shadow:
    """The `Host` of a backup's device. `made` hears each input's outputs."""

    def __init__(
        self,
        spec: SessionSpec,
        facts: Mapping[str, Any],
        running: Running,
        made: Callable[[Iterable[Piece]], None],
    ) -> None:
        self.spec, self.facts, self.running, self.made = spec, facts, running, made
        self.stream = Stream(spec.devid, running.device.transfer_type)
        self.bytes_in = self.bytes_out = 0
        self.tail: deque[Piece] = deque()
        self.tail_size = 0
        self.passed = 0
        """The position up to which the tail was given to who rebuilds the connection"""
        self.produced: list[Piece] = []
        self.broken = ""
        """By the client; the master ends such a session"""

    @classmethod
    def restored(
        cls, state: Mapping[str, Any], running: Running, made: Callable[[Iterable[Piece]], None]
    ) -> Shadow:
        self = cls(SessionSpec.from_json(state["spec"]), state["facts"], running, made)
        self.stream.restore(state["stream"])
        self.bytes_in, self.bytes_out = state["bytes_in"], state["sent"]
        self.keep([*state["outgoing"], *state["held"]])
        return self

    def received(self, data: bytes) -> None:
        self.bytes_in += len(data)
        if self.broken:
            return
        try:
            self.running.take(self.stream.feed(data))
        except ProtocolError as error:
            self.broken = str(error)

    def seen(self, count: int) -> None:
        """The client has all up to this position."""
        begin = self.bytes_out - self.tail_size
        gone = min(max(count - begin, 0), self.tail_size)
        forget(self.tail, gone)
        self.tail_size -= gone

    def keep(self, pieces: Iterable[Piece]) -> None:
        pieces = list(pieces)
        size = sum(map(len, pieces))
        self.tail += pieces
        self.tail_size += size
        self.bytes_out += size
        if self.tail_size > MAX_TAIL:
            raise PeerError(f"the client has not acknowledged {self.tail_size} bytes: more than are kept")

    def give(self) -> bytes:
        """The tail, for who rebuilds the connection."""
        self.passed = self.bytes_out
        return b"".join(self.tail)

    def left(self, unsent: int) -> Iterable[Piece]:
        size = min(self.bytes_out - self.passed + unsent, self.tail_size)
        whole = b"".join(self.tail)
        return (whole[len(whole) - size :],) if size else ()

    # The host of the device

    def submitted(self, urb: Urb) -> None:
        """Nobody looks."""

    def unlinked(self, unlink: Unlink, cancelled: bool) -> None:
        if answer := self.stream.unlinked(unlink, cancelled):
            self.produced.append(answer)

    def complete(self, completions: Iterable[Completion]) -> None:
        for done in completions:
            self.produced += self.stream.answer(done)

    def flush(self) -> None:
        made, self.produced = self.produced, []
        self.made(made)
        self.keep(made)

    def idle_at(self) -> None:
        """The master judges that."""

    def release(self) -> None:
        """Never asked."""
