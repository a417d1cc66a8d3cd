"""The log of a relayed session: the framing of a gadget's (replication/records.py), and two records more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from appliance.errors import ProtocolError, UsageError
from appliance.sessions.replication.records import Ack, End, Hello, Kinds, Left, Received, Seen
from appliance.sessions.state import SessionState

STATE_LIMIT: Final = 16 << 20
PDUS_LIMIT: Final = 20 << 20
"""The longest transfer, its descriptors, and what a buffer holds before it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where the session stands: the log goes on from here."""

    state: SessionState

    kind: ClassVar[int] = 64
    limit: ClassVar[int] = STATE_LIMIT

    def body(self) -> bytes:
        return self.state.to_json().encode()

    @classmethod
    def of(cls, body: bytes) -> Snapshot:
        try:
            return cls(SessionState.from_json(body))
        except UsageError as error:
            raise ProtocolError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes to the client: whole PDUs."""

    data: bytes | bytearray

    kind: ClassVar[int] = 65
    limit: ClassVar[int] = PDUS_LIMIT

    def body(self) -> bytes:
        return bytes(self.data)

    @classmethod
    def of(cls, body: bytes) -> Sent:
        return cls(body)


MASTERS: Final[Kinds] = {cls.kind: cls for cls in (Hello, Snapshot, Received, Sent, Seen, End)}
BACKUPS: Final[Kinds] = {cls.kind: cls for cls in (Ack, Left)}
