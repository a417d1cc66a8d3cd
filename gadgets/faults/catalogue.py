"""All faults there are, by the names that files and commands use, and the inputs that arm and disarm them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gadgets.faults.bus import Disconnect, Flapping, Give, Reenumeration
from gadgets.faults.classes import (
    BadResidue,
    BadSignature,
    BadStatus,
    BadTag,
    DtrDrop,
    MissingCsw,
    Overrun,
    StuckKey,
    WrongReportSize,
)
from gadgets.faults.control import LongDescriptor, Malformed, NoAnswer, ShortDescriptor, Stall, WrongLength
from gadgets.faults.data import Babble, Corrupt, Delay, Drop, Duplicate, Nak, Short, Throttle
from gadgets.usb.records import from_tagged

AnyFault = (
    Stall | NoAnswer | WrongLength | Malformed | ShortDescriptor | LongDescriptor
    | Nak | Delay | Throttle | Short | Babble | Corrupt | Drop | Duplicate
    | BadSignature | BadTag | BadStatus | BadResidue | MissingCsw
    | StuckKey | WrongReportSize | Overrun | DtrDrop
    | Disconnect | Flapping | Reenumeration | Give
)  # fmt: skip

FAULTS: Final[tuple[type[AnyFault], ...]] = AnyFault.__args__


@dataclass(frozen=True, slots=True)
class AddFault:
    """Input: from now on, this may go wrong."""

    fault: AnyFault


@dataclass(frozen=True, slots=True)
class RemoveFault:
    """Input: the fault of this name is over; "": all are."""

    name: str = ""


def fault_from_plain(given: object, where: str = "", base: Path | None = None) -> AnyFault:
    """{"corrupt": 2, "endpoint": 0x81, "chance": 0.01} as the fault. Raises UsageError."""
    return from_tagged(FAULTS, given, where, base)
