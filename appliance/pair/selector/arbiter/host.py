"""The appliance's side of the arbiter's protocol: one request at a time. Sans-IO."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from appliance.errors import ProtocolError
from appliance.pair.selector.arbiter.frames import (
    NONCE,
    Answer,
    Frame,
    Kind,
    Splitter,
    encode,
    read_answer,
    session_key,
    write_request,
)
from appliance.pair.selector.register import Request


class Host:
    """`ask` and `again` tell what to send; `received` has the answer once it is there."""

    def __init__(self, key: bytes, nonce: Callable[[], bytes] = lambda: secrets.token_bytes(NONCE)) -> None:
        self._key, self._make_nonce = key, nonce
        self._splitter = Splitter()
        self._nonce = b""
        self._session: bytes | None = None
        self._sequence = 0
        self._request: Request | None = None

    def ask(self, request: Request) -> bytes:
        self._request = request
        self._sequence += 1
        return self.again()

    def again(self) -> bytes:
        """When nothing was heard for a while. The arbiter does once what it hears twice."""
        if self._request is None:
            return b""
        if self._session is None:
            self._nonce = self._make_nonce()
            return encode(Kind.HELLO, self._sequence, self._nonce, self._key)
        return encode(Kind.REQUEST, self._sequence, write_request(self._request), self._session)

    def received(self, data: bytes) -> tuple[bytes, Answer | None]:
        """What to send, and the answer to what was asked if it came."""
        send, answer = b"", None
        for frame in self._splitter.feed(data):
            if self._request is None or frame.sequence != self._sequence:
                continue
            if frame.kind is Kind.ANSWER:
                answer = self._answered(frame) or answer
            elif self._is_turn(frame):
                send += self.again()
        return send, answer

    def _is_turn(self, frame: Frame) -> bool:
        """Whether the frame begins a session, or ends one that the arbiter no longer knows."""
        if not frame.is_by(self._key):
            return False
        if frame.kind is Kind.LOST and self._session is not None:
            self._session = None
            return True
        welcome = frame.kind is Kind.WELCOME and self._session is None
        if welcome and len(frame.payload) == 2 * NONCE and frame.payload[NONCE:] == self._nonce:
            self._session = session_key(self._key, self._nonce, frame.payload[:NONCE])
            return True
        return False

    def _answered(self, frame: Frame) -> Answer | None:
        if self._session is None or not frame.is_by(self._session):
            return None
        try:
            answer = read_answer(frame.payload)
        except ProtocolError:
            return None
        self._request = None
        return answer
