"""A serial port: CDC-ACM. CDC 1.2, PSTN 1.2; drivers/usb/class/cdc-acm.c is who mostly listens."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from appliance.errors import ProtocolError, Unavailable, UsageError
from gadgets.serial.companions import ConnectText, companion_for
from gadgets.serial.line import (
    INPUTS,
    WINDOW,
    AnyInput,
    Break,
    BreakSent,
    Command,
    Consumed,
    ControlLines,
    LineCoding,
    LineErrors,
    Online,
    Received,
    Respond,
    Send,
    Sent,
    SerialState,
    SetLines,
)
from gadgets.usb.class_descriptors import (
    CDC_ACM,
    CDC_CALL_MANAGEMENT,
    CDC_HEADER,
    CDC_UNION,
    CdcAcm,
    CdcCallManagement,
    CdcHeader,
    CdcUnion,
)
from gadgets.usb.companion import Companion
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.descriptors import Association
from gadgets.usb.function import Answer, Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.strings import Text
from gadgets.usb.urb import SetupPacket

COMMUNICATION, DATA = 0x02, 0x0A
ACM, AT_COMMANDS = 0x02, 0x01
LINE_AND_BREAK = 0x06
"""bmCapabilities: line coding, control lines and serial state; and breaks. PSTN 1.2 table 4."""

RESPONSE_AVAILABLE, SERIAL_STATE = 0x01, 0x20
MAX_NOTICES = 64
"""Breaks, errors and responses that the host has yet to hear of."""
MAX_RECEIVED = 64
"""`Received` events that wait to be consumed."""
_NOTICE = struct.Struct("<BBHHH")


class Serial(Function):
    """Interfaces 02/02/01 and 0A/00/00. `connect` says where its other end is:

    "pty" (a path in the statistics), "pty:LINK" (a symlink to it at LINK), "tcp:HOST:PORT" (connects to it),
    "listen:PORT" (accepts there, on loopback), "script:FILE" (answers from a table of regular expressions, as
    gadgets/serial/companions/script.py shows), "" (local inputs only).
    """

    inputs = INPUTS

    def __init__(self, *, connect: ConnectText = "", name: Text = "Serial port") -> None:
        self._companion = companion_for(connect)
        self._name = name
        self._state = SerialState(0) if self._companion else SerialState.DCD | SerialState.DSR
        self._unconsumed: deque[bytes | memoryview] = deque()
        """what was `Received` and is not yet `Consumed`"""
        self._forget()

    def _forget(self) -> None:
        self.coding = LineCoding()
        self.lines = ControlLines(dtr=False, rts=False)
        self.online = False
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._fetched = 0
        """bytes fetched since the last `Sent`"""
        self._told = SerialState(0)
        """what the host last heard of the state"""
        self._passing: deque[SerialState] = deque()
        """breaks and errors it has yet to hear of"""
        self._responses: deque[bytes] = deque()
        self._announce = 0
        """responses it has yet to hear of"""

    @property
    def companions(self) -> Sequence[Companion]:
        return (self._companion,) if self._companion else ()

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        control, data = take.interface(), take.interface()
        notify = take.interrupt_in(16, 16)
        source, sink = take.bulk_in(), take.bulk_out()
        self._control, self._notify = control, notify.address
        self._source, self._sink = source.address, sink.address
        name = take.string(self._name)
        functional = (
            CDC_HEADER.emit(CdcHeader()),
            CDC_CALL_MANAGEMENT.emit(CdcCallManagement(0, data)),
            CDC_ACM.emit(CdcAcm(LINE_AND_BREAK)),
            CDC_UNION.emit(CdcUnion(control, bytes((data,)))),
        )
        return [
            AlternateSetting(
                control, 0, COMMUNICATION, ACM, AT_COMMANDS, name, functional, (notify,),
                Association(control, 2, COMMUNICATION, ACM, AT_COMMANDS, name),
            ),
            AlternateSetting(data, 0, DATA, endpoints=(source, sink)),
        ]  # fmt: skip

    def on_configured(self) -> None:
        self.online = True
        self.tell(Online(True))
        self.ready(self._notify)

    def on_reset(self) -> None:
        unsent, lines, online = self._fetched + self._queued, self.lines, self.online
        self._forget()
        if unsent:
            self.tell(Sent(unsent))
        if lines.dtr or lines.rts:
            self.tell(self.lines)
        if online:
            self.tell(Online(False))

    # Data

    def out(self, endpoint: int, data: bytes) -> bool:
        """Without a companion nobody consumes, and everything is."""
        if not data:
            return True
        if self._companion:
            outstanding = self._outstanding
            if outstanding and (outstanding + len(data) > WINDOW or len(self._unconsumed) == MAX_RECEIVED):
                return False
            self._unconsumed.append(data)
        self.tell(Received(data))
        return True

    def fill(self, endpoint: int, length: int) -> bytes | None:
        if endpoint == self._notify:
            return self._notice()
        if not self._queue:
            return None
        data = self._queue.popleft()
        if len(data) > length > 0:
            self._queue.appendleft(data[length:])
            data = data[:length]
        self._queued -= len(data)
        self._fetched += len(data)
        if not self._queued or self._fetched >= WINDOW // 4:
            self.tell(Sent(self._fetched))
            self._fetched = 0
        return data

    def local(self, input: AnyInput) -> None:
        _INPUTS[type(input)](self, input)

    def _send(self, input: Send) -> None:
        data = encoded(input.text) + input.data
        if not self.online:
            raise Unavailable("no host has configured this device yet; attach it first")
        if self._queued + self._fetched + len(data) > WINDOW:
            raise UsageError(
                f"{self._queued} bytes wait for the host already, of at most {WINDOW}; "
                "send less at once, or wait until it has fetched them"
            )
        if data:
            self._queue.append(data)
            self._queued += len(data)
            self.ready(self._source)

    def _consumed(self, input: Consumed) -> None:
        count, outstanding = input.count, self._outstanding
        if not 0 <= count <= outstanding:
            raise UsageError(f"{count} bytes cannot be consumed; {outstanding} are outstanding")
        while count and count >= len(self._unconsumed[0]):
            count -= len(self._unconsumed.popleft())
        if count:
            self._unconsumed[0] = memoryview(self._unconsumed[0])[count:]
        if self.online:
            self.ready(self._sink)

    @property
    def _outstanding(self) -> int:
        return sum(map(len, self._unconsumed))

    def so_far(self) -> Sequence[object]:
        """`Sent` less than nothing: so much is on its way to the host already."""
        events = [Received(bytes(data)) for data in self._unconsumed]
        if not self.online:
            return events
        return [self.coding, self.lines, Sent(-self._queued - self._fetched), *events, Online(True)]

    # Notifications

    def _notice(self) -> bytes | None:
        """The next for the host: a response, a break or error with the lines' state, or their new state."""
        if self._announce:
            self._announce -= 1
            return _NOTICE.pack(0xA1, RESPONSE_AVAILABLE, 0, self._control, 0)
        if not self._passing and self._state == self._told:
            return None
        state = self._state | (self._passing.popleft() if self._passing else SerialState(0))
        self._told = self._state
        return _NOTICE.pack(0xA1, SERIAL_STATE, 0, self._control, 2) + int(state).to_bytes(2, "little")

    def _set_lines(self, input: SetLines) -> None:
        self._state = input.over(self._state)
        if self.online:
            self.ready(self._notify)

    def _break(self, input: Break) -> None:
        self._pass([SerialState.BREAK] * max(min(input.times, MAX_NOTICES + 1), 0))

    def _errors(self, input: LineErrors) -> None:
        bits = SerialState(0)
        for name in ("overrun", "framing", "parity"):
            bits |= SerialState[name.upper()] if getattr(input, name) else SerialState(0)
        self._pass([bits] if bits else [])

    def _pass(self, notices: list[SerialState]) -> None:
        self._check_room(len(self._passing) + len(notices))
        self._passing.extend(notices)
        self.ready(self._notify)

    def _respond(self, input: Respond) -> None:
        self._check_room(len(self._responses) + 1)
        if len(input.data) > WINDOW:
            raise UsageError(f"a response has at most {WINDOW} bytes")
        self._responses.append(input.data)
        self._announce += 1
        self.ready(self._notify)

    def _check_room(self, notices: int) -> None:
        if not self.online:
            raise Unavailable("no host has configured this device yet; attach it first")
        if notices > MAX_NOTICES:
            raise UsageError(f"at most {MAX_NOTICES} breaks, errors or responses may wait for the host")

    # Requests

    def setup(self, setup: SetupPacket, data: bytes) -> Answer:
        handler = _REQUESTS.get((setup.request_type, setup.request))
        return handler(self, setup, data) if handler and setup.index == self._control else None

    def _command(self, setup: SetupPacket, data: bytes) -> Answer:
        self.tell(Command(data))
        return b""

    def _response(self, setup: SetupPacket, data: bytes) -> Answer:
        return self._responses.popleft() if self._responses else b""

    def _set_coding(self, setup: SetupPacket, data: bytes) -> Answer:
        try:
            self.coding = LineCoding.parse(data)
        except ProtocolError:
            return None
        self.tell(self.coding)
        return b""

    def _get_coding(self, setup: SetupPacket, data: bytes) -> Answer:
        return self.coding.emit()

    def _set_control_lines(self, setup: SetupPacket, data: bytes) -> Answer:
        lines = ControlLines(dtr=bool(setup.value & 1), rts=bool(setup.value & 2))
        if lines != self.lines:
            self.lines = lines
            self.tell(lines)
        return b""

    def _send_break(self, setup: SetupPacket, data: bytes) -> Answer:
        self.tell(BreakSent(setup.value))
        return b""

    # Written down

    def snapshot(self) -> dict[str, Any]:
        return {
            "online": self.online,
            "coding": self.coding.emit(),
            "lines": [self.lines.dtr, self.lines.rts],
            "queue": list(self._queue),
            "fetched": self._fetched,
            "unconsumed": [bytes(data) for data in self._unconsumed],
            "state": int(self._state),
            "told": int(self._told),
            "passing": [int(bits) for bits in self._passing],
            "responses": list(self._responses),
            "announce": self._announce,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.online, self.coding = state["online"], LineCoding.parse(state["coding"])
        self.lines = ControlLines(*state["lines"])
        self._queue, self._fetched = deque(state["queue"]), state["fetched"]
        self._queued = sum(map(len, self._queue))
        self._unconsumed = deque(state["unconsumed"])
        self._state, self._told = SerialState(state["state"]), SerialState(state["told"])
        self._passing = deque(map(SerialState, state["passing"]))
        self._responses, self._announce = deque(state["responses"]), state["announce"]


def encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UsageError("the text has half a surrogate pair, which is no character; send `data`") from None


_INPUTS: dict[type, Callable[[Serial, Any], None]] = {
    Send: Serial._send,
    Consumed: Serial._consumed,
    SetLines: Serial._set_lines,
    Break: Serial._break,
    LineErrors: Serial._errors,
    Respond: Serial._respond,
}

_REQUESTS: dict[tuple[int, int], Callable[[Serial, SetupPacket, bytes], Answer]] = {
    (0x21, 0x00): Serial._command,
    (0xA1, 0x01): Serial._response,
    (0x21, 0x20): Serial._set_coding,
    (0xA1, 0x21): Serial._get_coding,
    (0x21, 0x22): Serial._set_control_lines,
    (0x21, 0x23): Serial._send_break,
}
"""PSTN 1.2 table 13."""
