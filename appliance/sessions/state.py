"""A session as a value: what it is (`SessionSpec`) and where it stands (`SessionState`), JSON both ways.

The same value serves a worker that execs newer code and, later, a sibling that takes the session over.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from appliance.errors import UsageError
from appliance.sessions.endpoints import Selection
from gadgets.usb.urb import Speed

VERSION: Final = 2
_ID = re.compile(r"[a-z0-9]{1,32}")

Kind = Literal["direct", "relayed", "gadget"]
KINDS: Final = ("direct", "relayed", "gadget")


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """What a session is; fixed from its start to its end."""

    id: str
    name: str
    """of the export"""
    kind: Kind
    peer: str
    """the client's address, for people"""
    started: float
    """seconds since 1970"""
    busid: str = ""
    """the kernel's; empty for gadgets"""
    devid: int = 0
    """what the stub insists on: busnum << 16 | devnum"""
    speed: Speed = Speed.HIGH
    configuration: int = 0
    """bConfigurationValue at the start; 0: none"""
    descriptors: bytes = b""
    """sysfs' `descriptors`; empty: nothing is known and every endpoint is taken to exist"""
    serial: str = ""
    """the device's serial number; empty: it tells none"""
    idle_seconds: float | None = None
    gadget: str = ""
    """the name of the software device (`software.GADGETS`)"""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise UsageError(f"session id {self.id!r}: use 1 to 32 lower-case letters and digits")
        if self.kind not in KINDS:
            raise UsageError(f"session kind {self.kind!r}: use one of {', '.join(KINDS)}")

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "descriptors": _text(self.descriptors)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SessionSpec:
        """Raises UsageError for what is none."""
        try:
            read = {"descriptors": b64decode(data["descriptors"]), "speed": Speed(data["speed"])}
            return cls(**{**data, **read, "started": float(data["started"])})
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"this describes no session: {error!r}") from None


@dataclass(frozen=True, slots=True)
class HalfState:
    """One byte direction: `held` was received and not yet sent, its first `ready` bytes may go out.

    Of the PDU under way, `due` bytes have yet to come and be forwarded, or `owed` to come and be swallowed.
    """

    held: bytes = b""
    ready: int = 0
    due: int = 0
    owed: int = 0


@dataclass(frozen=True, slots=True)
class PendingUrb:
    """A submitted URB without an answer. `type` is a TransferType; `began` is CLOCK_MONOTONIC in ns.

    `kept` is its PDU as it went to the stub, or what was kept of it: all, or the header, or (empty) only
    its transfer_flags.
    """

    seqnum: int
    address: int
    type: int
    length: int
    packets: int
    began: int
    flags: int = 0
    kept: bytes = b""


@dataclass(frozen=True, slots=True)
class SessionState:
    """Everything a worker must know to go on with a session whose sockets it was given."""

    spec: SessionSpec
    selection: Selection = field(default_factory=Selection)
    pending: tuple[PendingUrb, ...] = ()
    unlinks: Mapping[int, int] = field(default_factory=dict)
    """seqnum of a CMD_UNLINK without an answer → seqnum it unlinks"""
    undo: Mapping[int, Selection] = field(default_factory=dict)
    """seqnum of a pending SET_CONFIGURATION or SET_INTERFACE → what holds again should it fail"""
    up: HalfState = HalfState()
    down: HalfState = HalfState()
    answers: bytes = b""
    """our own answers that wait for the end of the PDU on its way to the client"""
    history: tuple[bytes, ...] = ()
    """`History.freeze`"""
    complete: bool = True
    """whether `history` is all that matters"""
    unsettled: tuple[int, ...] = ()
    """endpoint addresses on which the rest of a command of an earlier stub's may come, and fails"""
    consumed: int = 0
    """bytes that were received from the client since the session's beginning"""
    produced: int = 0
    """bytes that were sent to the client"""
    dropped: int = 0
    counters: Mapping[str, Any] = field(default_factory=dict)
    """`Telemetry.freeze`"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """of the client's connection at the session's beginning (appliance/kernel/tcp); empty: not read"""
    gate: str = ""
    """the socket of the gate that guards that connection; empty: none does"""

    @classmethod
    def begin(cls, spec: SessionSpec, facts: Mapping[str, Any] | None = None, gate: str = "") -> SessionState:
        return cls(spec, Selection(spec.configuration), facts=facts or {}, gate=gate)

    def to_json(self) -> str:
        return json.dumps(
            {
                "version": VERSION,
                **asdict(self),
                "spec": self.spec.to_json(),
                "up": _half_to_json(self.up),
                "down": _half_to_json(self.down),
                "answers": _text(self.answers),
                "pending": [{**asdict(urb), "kept": _text(urb.kept)} for urb in self.pending],
                "history": [_text(request) for request in self.history],
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> SessionState:
        """Raises UsageError for what is no state, or one that another version of this code wrote."""
        try:
            return cls._read(json.loads(text))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"not the state of a session: {error!r}") from None

    @classmethod
    def _read(cls, data: dict[str, Any]) -> SessionState:
        if (version := data.pop("version", None)) != VERSION:
            raise UsageError(f"session state has version {version}, this Twinhub reads version {VERSION}")
        return cls(
            **{
                **data,
                "spec": SessionSpec.from_json(data["spec"]),
                "selection": _selection(data["selection"]),
                "pending": tuple(
                    PendingUrb(**{**urb, "kept": b64decode(urb["kept"])}) for urb in data["pending"]
                ),
                "unlinks": {int(seqnum): target for seqnum, target in data["unlinks"].items()},
                "undo": {int(seqnum): _selection(old) for seqnum, old in data["undo"].items()},
                "up": _half_from_json(data["up"]),
                "down": _half_from_json(data["down"]),
                "answers": b64decode(data["answers"]),
                "history": tuple(b64decode(request) for request in data["history"]),
                "unsettled": tuple(data["unsettled"]),
            }
        )


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _selection(data: Mapping[str, Any]) -> Selection:
    return Selection(data["configuration"], tuple((i, a) for i, a in data["alternates"]))


def _half_to_json(half: HalfState) -> dict[str, Any]:
    return {**asdict(half), "held": _text(half.held)}


def _half_from_json(data: Mapping[str, Any]) -> HalfState:
    return HalfState(**{**data, "held": b64decode(data["held"])})
