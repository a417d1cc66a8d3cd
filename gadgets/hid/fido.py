"""A FIDO authenticator that answers from a script: no keys, no cryptography. CTAP 2.1 §11.2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from appliance.errors import Unavailable, UsageError
from gadgets.hid.ctaphid import LARGEST, Channels, Command, Error, Message
from gadgets.hid.descriptor_text import to_bytes
from gadgets.hid.function import HidFunction
from gadgets.hid.items import ReportKind
from gadgets.hid.timer import Timer
from gadgets.usb.records import Range

MS = 1_000_000
PACKET_TIMEOUT_NS = 500 * MS
"""From one packet of a message to the next. §11.2.5.2"""
KEEPALIVE_NS = 100 * MS
"""§11.2.9.1.7"""
_IDENTITY = bytes((2, 1, 0, 0, 0x05))
"""Behind the channel in an answer to INIT: CTAPHID version, device version, can WINK and CBOR."""
PROCESSING, USER_PRESENCE_NEEDED = 1, 2
LONGEST_DELAY_MS = 600_000
MAX_BEHIND = 256
"""Packets that may wait for the host; until it has fetched them nothing is taken from it."""

Protocol = Literal["cbor", "msg"]
_PROTOCOLS: Mapping[int, Protocol] = {Command.CBOR: "cbor", Command.MSG: "msg"}
_CANCELLED = b"\x2d"
"""CTAP2_ERR_KEEPALIVE_CANCEL"""
_UNKNOWN: Mapping[str, bytes] = {"cbor": b"\x01", "msg": b"\x6d\x00"}
"""CTAP1_ERR_INVALID_COMMAND; SW_INS_NOT_SUPPORTED."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a request that begins with `request` is answered: CTAP2 status and CBOR, or (`protocol` "msg") a
    U2F response with its status word; after `delay_ms`, or with `touch` when the user touches.
    """

    request: bytes
    answer: bytes
    protocol: Protocol = "cbor"
    delay_ms: Annotated[int, Range(0, LONGEST_DELAY_MS)] = 0
    touch: bool = False

    @property
    def comes_at_once(self) -> bool:
        return not self.touch and self.delay_ms <= 0


DEFAULT_REPLIES = (
    # authenticatorGetInfo: {1: ["U2F_V2", "FIDO_2_0"], 3: an AAGUID of zeros, 4: {"rk": false, "up": true}}
    Reply(
        b"\x04",
        bytes.fromhex("00 a3 01 82 66") + b"U2F_V2" + b"\x68FIDO_2_0"
        b"\x03\x50" + bytes(16) + b"\x04\xa2\x62rk\xf4\x62up\xf5",
    ),
    Reply(b"\x00\x03\x00\x00", b"U2F_V2\x90\x00", "msg"),
)
"""Used where none of the given fits: what every host asks first."""


@dataclass(frozen=True, slots=True)
class Touch:
    """Input: the user touches the authenticator."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Input: the answer to the request that waits for one (`FidoRequest.waits`)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FidoRequest:
    """Event: what the host asked. `waits`: no reply fits; an `Answer` is due."""

    data: bytes
    protocol: Protocol
    channel: int
    waits: bool


@dataclass(frozen=True, slots=True)
class Wink:
    """Event: the host wants the user to see which authenticator it means."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Event: the host no longer wants the answer."""


class Fido(HidFunction):
    """A security key without keys, interface 03/00/00: CTAPHID whole, scripted replies.

    A request gets the first of `replies` that fits it, else one of the usual (authenticatorGetInfo, U2F
    version), else an error; with `ask`, none but `replies` counts and all else waits for an `answer`.
    """

    inputs = (Touch, Answer)

    name = "FIDO"
    out_endpoint = True
    interval_ms = 5
    report_descriptor = to_bytes("""
        Usage Page (FIDO Alliance), Usage (U2F Authenticator Device), Collection (Application)
            Usage (Input Report Data), Logical Minimum (0), Logical Maximum (255)
            Report Size (8), Report Count (64), Input (Data, Variable, Absolute)
            Usage (Output Report Data), Logical Minimum (0), Logical Maximum (255)
            Report Size (8), Report Count (64), Output (Data, Variable, Absolute)
        End Collection
        """)
    """As the standard has it, §11.2.8.1: what reads it in the field does not know what carries over."""

    def __init__(self, *, replies: tuple[Reply, ...] = (), ask: bool = False) -> None:
        for reply in replies:
            if len(reply.answer) > LARGEST:
                raise UsageError(f"a reply of {len(reply.answer)} bytes is too long; {LARGEST} is the most")
        self.replies = tuple(replies) if ask else (*replies, *DEFAULT_REPLIES)
        self.ask = ask
        self._channels = Channels(_IDENTITY)
        super().__init__()

    def _forget(self) -> None:
        super()._forget()
        self._channels.reset()
        self._reply: Reply | None = None
        """What the request under way gets, as soon as it may."""
        self._packet_due, self._answer_due, self._keepalive_due = Timer(), Timer(), Timer()

    @property
    def _asking(self) -> bool:
        return self._channels.is_awaiting and self._reply is None

    # From the host

    def out(self, endpoint: int, data: bytes) -> bool:
        return self.waiting <= MAX_BEHIND and super().out(endpoint, data)

    def fill(self, endpoint: int, length: int) -> bytes | None:
        report = super().fill(endpoint, length)
        if self.waiting == MAX_BEHIND:
            self.ready(self.out_address)
        return report

    def on_report(self, kind: ReportKind, report: bytes) -> None:
        """A packet; lost, if it comes by SET_REPORT from a host that does not fetch its answers."""
        if self.waiting > MAX_BEHIND:
            return
        received = self._channels.received
        message = self._channels.receive(report)
        if message:
            self._handle(message)
        if self._channels.received != received:
            self._packet_due.start()
        self._settle()

    def _handle(self, message: Message) -> None:
        match message.command:
            case Command.CBOR | Command.MSG:
                self._ask(message, _PROTOCOLS[message.command])
            case Command.CANCEL:
                self.tell(Cancelled())
                self._channels.answer(_CANCELLED)
            case Command.WINK:
                self.tell(Wink())
                self._channels.answer(b"")
            case _:
                self._channels.fail(Error.INVALID_CMD)

    def _ask(self, message: Message, protocol: Protocol) -> None:
        if not message.data:
            self._channels.fail(Error.INVALID_LEN)
            return
        fitting = (r for r in self.replies if r.protocol == protocol and message.data.startswith(r.request))
        self._reply = next(fitting, None)
        self.tell(FidoRequest(message.data, protocol, message.channel, self.ask and self._reply is None))
        if self._reply is None and not self.ask:
            self._channels.answer(_UNKNOWN[protocol])
        elif self._reply and self._reply.comes_at_once:
            self._channels.answer(self._reply.answer)
        elif self._reply and not self._reply.touch:
            self._answer_due.start()
        self._keepalive_due.start()

    # From this side

    def local(self, input: Touch | Answer) -> None:
        match input:
            case Touch():
                if not (self._reply and self._reply.touch):
                    raise Unavailable("no request waits for a touch")
                self._channels.answer(self._reply.answer)
            case Answer():
                if not self._asking:
                    raise Unavailable(
                        "no request waits for an answer; that needs `ask`, and a host that asks"
                    )
                if len(input.data) > LARGEST:
                    raise UsageError(
                        f"an answer of {len(input.data)} bytes is too long; {LARGEST} is the most"
                    )
                self._channels.answer(input.data)
        self._settle()

    def tick(self, now_ns: int) -> None:
        super().tick(now_ns)
        if self._packet_due.over(now_ns, PACKET_TIMEOUT_NS):
            self._channels.fail(Error.MSG_TIMEOUT)
        if self._reply and self._answer_due.over(now_ns, self._reply.delay_ms * MS):
            self._channels.answer(self._reply.answer)
        if self._keepalive_due.every(now_ns, KEEPALIVE_NS) and self.waiting <= MAX_BEHIND:
            by_user = self._reply is not None and self._reply.touch
            self._channels.keep_alive(USER_PRESENCE_NEEDED if by_user else PROCESSING)
        self._settle()

    @property
    def wake_at(self) -> int | None:
        times = (super().wake_at, self._packet_due.at, self._answer_due.at, self._keepalive_due.at)
        return min((at for at in times if at is not None), default=None)

    def _settle(self) -> None:
        """Hand over what is to be sent; what is over needs no clock."""
        if self._channels.packets:
            self.queue(self._channels.packets)
            self._channels.packets.clear()
        if not self._channels.is_receiving:
            self._packet_due.stop()
        if not self._channels.is_awaiting:
            self._reply = None
            self._answer_due.stop()
            self._keepalive_due.stop()

    # Written down

    def snapshot(self) -> dict[str, Any]:
        return {
            **super().snapshot(),
            "channels": self._channels.snapshot(),
            "reply": self.replies.index(self._reply) if self._reply else None,
            "due": [self._packet_due.at, self._answer_due.at, self._keepalive_due.at],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._channels.restore(state["channels"])
        self._reply = None if state["reply"] is None else self.replies[state["reply"]]
        self._packet_due, self._answer_due, self._keepalive_due = map(Timer, state["due"])
