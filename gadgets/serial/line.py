"""What goes over a serial function besides data: line coding, lines, breaks, and the credit for data.

Data flows by credit both ways, so that whoever stands beside the function never has more of it than it can
hold: it answers `Received` with `Consumed`, and sends no more than `WINDOW` bytes ahead of `Sent`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

from appliance.errors import ProtocolError
from gadgets.usb.companion import Flow

WINDOW = 64 << 10
"""Bytes that may be under way each way between the function and who stands beside it."""


class StopBits(IntEnum):
    """bCharFormat. PSTN 1.2 table 17."""

    ONE = 0
    ONE_AND_A_HALF = 1
    TWO = 2


class Parity(IntEnum):
    """bParityType. PSTN 1.2 table 17."""

    NONE = 0
    ODD = 1
    EVEN = 2
    MARK = 3
    SPACE = 4


_CODING = struct.Struct("<IBBB")
_DATA_BITS = (5, 6, 7, 8, 16)


@dataclass(frozen=True, slots=True)
class LineCoding:
    """Event: the host set up the line so. What it says changes nothing of the data."""

    baud: int = 9600
    data_bits: int = 8
    parity: Parity = Parity.NONE
    stop_bits: StopBits = StopBits.ONE

    def emit(self) -> bytes:
        return _CODING.pack(self.baud, self.stop_bits, self.parity, self.data_bits)

    @classmethod
    def parse(cls, data: bytes) -> LineCoding:
        """Raises ProtocolError for what is not seven bytes, or has values that PSTN 1.2 does not know."""
        try:
            baud, stop_bits, parity, data_bits = _CODING.unpack(data)
            coding = cls(baud, data_bits, Parity(parity), StopBits(stop_bits))
        except (struct.error, ValueError) as error:
            raise ProtocolError(f"not a line coding: {data[:16].hex(' ')}: {error}") from None
        if data_bits not in _DATA_BITS:
            raise ProtocolError(f"a line coding with {data_bits} data bits")
        return coding


class SerialState(IntFlag):
    """The bits of a SERIAL_STATE notification. PSTN 1.2 table 31."""

    DCD = 0x01
    DSR = 0x02
    BREAK = 0x04
    RI = 0x08
    FRAMING = 0x10
    PARITY = 0x20
    OVERRUN = 0x40


# Events


@dataclass(frozen=True, slots=True)
class Received(Flow):
    """Event: data from the host."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Sent(Flow):
    """Event: so many bytes of what `Send` brought have left: to the host, or to nowhere when it went."""

    count: int


@dataclass(frozen=True, slots=True)
class Online:
    """Event: a host has configured the device, or no longer has."""

    online: bool


@dataclass(frozen=True, slots=True)
class ControlLines:
    """Event: what the host does to its lines. DTR usually means that somebody has opened the port."""

    dtr: bool
    rts: bool


@dataclass(frozen=True, slots=True)
class BreakSent:
    """Event: a break from the host; 0 ends one, 65535 lasts until then."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Command:
    """Event: SEND_ENCAPSULATED_COMMAND; `Respond` answers it."""

    data: bytes


# Inputs


@dataclass(frozen=True, slots=True)
class Send:
    """Input: data for the host, the text (UTF-8) first."""

    text: str = ""
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Consumed:
    """Input: so many bytes of what was `Received` are done with."""

    count: int


@dataclass(frozen=True, slots=True)
class SetLines:
    """Input: our lines, as the host sees them; None leaves one as it is."""

    dcd: bool | None = None
    dsr: bool | None = None
    ri: bool | None = None

    def over(self, state: SerialState) -> SerialState:
        for name in ("dcd", "dsr", "ri"):
            bit, on = SerialState[name.upper()], getattr(self, name)
            if on is not None:
                state = state | bit if on else state & ~bit
        return state


@dataclass(frozen=True, slots=True)
class Break:
    """Input: a break reaches the host, so many times."""

    times: int = 1


@dataclass(frozen=True, slots=True)
class LineErrors:
    """Input: the host is told that data was lost or damaged on the line."""

    overrun: bool = False
    framing: bool = False
    parity: bool = False


@dataclass(frozen=True, slots=True)
class Respond:
    """Input: the answer to a `Command`."""

    data: bytes


AnyInput = Send | Consumed | SetLines | Break | LineErrors | Respond
INPUTS: tuple[type[Any], ...] = (Send, Consumed, SetLines, Break, LineErrors, Respond)
