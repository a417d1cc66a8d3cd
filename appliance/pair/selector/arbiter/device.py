"""The arbiter's side of its protocol: one register, one switch, two lines. What a microcontroller has to do.

Without I/O: bytes and the time go in, bytes come out; memory and switch are a Board's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from appliance.errors import ProtocolError, TwinhubError
from appliance.pair.model import Standing
from appliance.pair.selector.arbiter.frames import (
    MOST_MS,
    NONCE,
    Answer,
    Frame,
    Kind,
    Position,
    Result,
    Splitter,
    encode,
    read_request,
    session_key,
    write_answer,
)
from appliance.pair.selector.register import FREE, Op, Refused, Register, Request, apply

SIDES: Final = (Position.A, Position.B)
BREAK: Final = 0.1
"""Seconds for which the hub is at nobody between two owners: at least 0.05, so that both hosts see it go."""
RETRY: Final = 1.0
"""Seconds until a switch that did not obey is told again."""


class Board(Protocol):
    """What the machine has besides its lines."""

    def save(self, standing: Standing, side: Position) -> None:
        """Kept through a loss of power when this returns. Raises a TwinhubError."""

    def switch(self, position: Position, standing: Standing) -> Position:
        """Turns the switch, for who owns in `standing`, and reads it back."""
        ...

    def nonce(self) -> bytes:
        """NONCE bytes that never come twice."""
        ...


@dataclass(slots=True)
class Line:
    """To one appliance."""

    splitter: Splitter = field(default_factory=Splitter)
    key: bytes | None = None
    """of the session"""
    sequence: int = 0
    """of the latest request"""
    answer: bytes = b""
    """to that; said again when it is asked again"""
    heard: float | None = None


class Arbiter:
    """Made at power-up, of what the board saved: opens the switch, then gives the hub back to its owner."""

    def __init__(
        self,
        key: bytes,
        board: Board,
        now: float,
        lease: float,
        standing: Standing = FREE,
        side: Position = Position.NONE,
    ) -> None:
        self._key, self._board, self._lease = key, board, lease
        self._lines = (Line(), Line())
        self._register = Register(standing).restarted(now, lease)
        self._side = side
        """where the owner is"""
        self._position = board.switch(Position.NONE, standing)
        self._opened = True
        """since the latest tick: the break begins after the switch has obeyed"""
        self._make_at: float | None = None

    def received(self, line: int, data: bytes, now: float) -> bytes:
        """What to send back on that line (0 or 1)."""
        return b"".join(self._replies(line, data, now))

    def hung_up(self, line: int) -> None:
        """Somebody else may be at the other end from now on."""
        self._lines[line].splitter, self._lines[line].key = Splitter(), None

    @property
    def wake_at(self) -> float | None:
        return 0.0 if self._opened else self._make_at

    def tick(self, now: float) -> None:
        """After everything received, and at `wake_at`: closes the switch when the break is over."""
        if self._opened:
            self._opened, self._make_at = False, now + BREAK
        if self._make_at is None or now < self._make_at:
            return
        self._position = self._board.switch(self._side, self._register.standing)
        self._make_at = None if self._position is self._side else now + RETRY

    def _replies(self, line: int, data: bytes, now: float) -> list[bytes]:
        replies = []
        for frame in self._lines[line].splitter.feed(data):
            if frame.kind is Kind.HELLO and frame.is_by(self._key) and len(frame.payload) == NONCE:
                replies.append(self._welcome(line, frame, now))
            elif frame.kind is Kind.REQUEST:
                replies.append(self._requested(line, frame, now))
        return replies

    def _welcome(self, line: int, frame: Frame, now: float) -> bytes:
        ours = self._board.nonce()
        here = self._lines[line]
        here.key, here.sequence, here.heard = session_key(self._key, frame.payload, ours), 0, now
        return encode(Kind.WELCOME, frame.sequence, ours + frame.payload, self._key)

    def _requested(self, line: int, frame: Frame, now: float) -> bytes:
        here = self._lines[line]
        if here.key is None or not frame.is_by(here.key):
            return encode(Kind.LOST, frame.sequence, b"", self._key)
        here.heard = now
        if frame.sequence > here.sequence:
            answer = write_answer(self._answer(line, frame.payload, now))
            here.answer = encode(Kind.ANSWER, frame.sequence, answer, here.key)
            here.sequence = frame.sequence
        return here.answer if frame.sequence == here.sequence else b""

    def _answer(self, line: int, payload: bytes, now: float) -> Answer:
        try:
            self._do(SIDES[line], read_request(payload), now)
            result = Result.GRANTED
        except Refused:
            result = Result.REFUSED
        except ProtocolError:
            result = Result.MALFORMED
        except TwinhubError:
            result = Result.FAULT
        heard = self._lines[1 - line].heard
        silent = MOST_MS if heard is None else min(int((now - heard) * 1000), MOST_MS)
        return Answer(result, self._position, int(self._lease * 1000), silent, self._register.standing)

    def _do(self, side: Position, request: Request, now: float) -> None:
        """First the switch opens, then the register changes for good, and `tick` closes the switch."""
        after = apply(self._register, request, now, self._lease)
        moved = {Op.CLAIM: side, Op.RELEASE: Position.NONE}.get(request.op, self._side)
        if moved is not self._side:
            self._position = self._board.switch(Position.NONE, after.standing)
            self._opened = True
            if self._position is not Position.NONE:
                raise TwinhubError("the switch does not open")
        if after.standing != self._register.standing:
            self._board.save(after.standing, moved)
        self._register, self._side = after, moved
