"""`Fault`: what goes wrong, when it does, and until when. Its kinds are in the files beside this one.

A fault is a frozen dataclass: its own fields say what happens, those here when. All conditions that are
given must hold. A transfer that fits them all is a hit; the hits are counted for `nth` and `every`.

    Corrupt(bits=2, endpoint=0x81, chance=0.01)     every hundredth answer or so has two wrong bits
    Stall(endpoint=0x02, nth=10, every=1, count=3)  the tenth transfer to 02 stalls, and the next two
    NoAnswer(request_type=0xA1, request=0xFE)       GET MAX LUN is never answered
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final, Protocol

from appliance.errors import UsageError
from gadgets.usb.configuration import Configuration
from gadgets.usb.device import Device
from gadgets.usb.records import Byte, Word
from gadgets.usb.urb import Completion, SetupPacket, Urb

FOREVER: Final = 1e9
"""Seconds, more than 30 years."""


class Until(Enum):
    """What ends a fault that has fired. RESET: the host resets the device, as far as a device behind USB/IP
    sees it (port reset, new configuration, Bulk-Only Reset). CLEAR: it clears a halt of the endpoint."""

    NEVER = "never"
    RESET = "reset"
    CLEAR = "clear"


class Stage(Enum):
    """Where a fault sits. DATA is where data passes: a request that goes out, an answer that comes in."""

    REQUEST = "request"
    ANSWER = "answer"
    DATA = "data"


class Hands(Protocol):
    """What a fault may do besides changing what passes. Times are nanoseconds from now."""

    def draw(self, below: int) -> int:
        """A random number, by the seed."""

    def hold(self, ns: int | None) -> None:
        """The endpoint NAKs so long, this transfer and all behind it; None: until it is unlinked."""

    def delay(self, ns: int) -> None:
        """This answer comes so much later."""

    def pace(self, ns: int) -> None:
        """This answer takes so long, after the one before it."""

    def again(self, urb: Urb) -> None:
        """Submit it once more: what it brought is lost."""

    def silence(self, urb: Urb) -> None:
        """It never completes."""

    def repeat(self, urb: Urb) -> None:
        """The device gets it a second time; the host does not know."""

    def halt(self, endpoint: int) -> None: ...

    def request(self, setup: SetupPacket) -> None:
        """The device gets a control request that no host sent."""

    def say(self, endpoint: int, data: bytes) -> None:
        """The host gets a message that no function sent."""

    def unplug(self, times: int, down_ns: int | None, up_ns: int, serial: str) -> None: ...

    def give(self, input: object) -> None:
        """A local input."""

    @property
    def configurations(self) -> tuple[Configuration, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """When and until when. Times are in seconds, and 0 (or "" or null) is: no such condition.

    name            unique in a device; without one, the kind's: stall, stall-2
    endpoint        its address; 0 is the control pipe
    request_type, request, value, index    of a control request; value and index under their masks
    prefix          the data begins with this: what goes out, or what comes in
    nth             only the n-th hit; with `every`, the first one of many
    every           every so many hits
    chance          of each, 0 to 1
    since, before   only so long after the host attached (or the fault was added, if that was later)
    after           only once the fault of this name has fired
    count           over after firing so often
    lasting         over so long after it fired first
    until           over when the host resets the device or clears the halt
    """

    name: str = ""
    endpoint: Byte | None = None
    request_type: Byte | None = None
    request: Byte | None = None
    value: Word | None = None
    value_mask: Word = 0xFFFF
    index: Word | None = None
    index_mask: Word = 0xFFFF
    prefix: bytes = b""
    nth: int = 0
    every: int = 0
    chance: float = 1.0
    since: float = 0.0
    before: float = 0.0
    after: str = ""
    count: int = 0
    lasting: float = 0.0
    until: Until = Until.NEVER

    stage: ClassVar[Stage]

    def __post_init__(self) -> None:
        for name in ("nth", "every", "count", "since", "before", "lasting"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it cannot be negative")
        if not 0 <= self.chance <= 1:
            raise UsageError(f"chance is {self.chance}; it is from 0 (never) to 1 (always)")
        if self.before and self.before <= self.since:
            raise UsageError(f"before ({self.before} s) must be later than since ({self.since} s)")

    def check(self, device: Device) -> None:
        """Raises UsageError where this device cannot have the fault."""

    def matches(self, urb: Urb, data: bytes) -> bool:
        """Is it a transfer of the kind meant? `data` is what passes now."""
        if (
            self.endpoint is not None
            and urb.endpoint != self.endpoint
            and (self.endpoint or urb.setup is None)
        ):
            return False
        return self._asked(urb.setup) and data.startswith(self.prefix)

    def _asked(self, setup: SetupPacket | None) -> bool:
        if setup is None:
            return self.request_type is self.request is self.value is self.index is None
        return (
            self.request_type in (None, setup.request_type)
            and self.request in (None, setup.request)
            and (self.value is None or not (self.value ^ setup.value) & self.value_mask)
            and (self.index is None or not (self.index ^ setup.index) & self.index_mask)
        )

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        """Is it one that this kind of fault can befall? `done` is there at the answer."""
        return True

    def on_request(self, urb: Urb, hands: Hands) -> Urb | Completion:
        """What the device gets; or, if it gets nothing, what the host gets at once."""
        return urb

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion | None:
        """What the host gets; None: nothing, the hands have it."""
        return done


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed(Fault):
    """A fault that needs no transfer: `at` fires it by itself, so many seconds after the host attached, or it
    was added, or the fault that it comes `after` fired. Without `at`, a transfer does."""

    at: float | None = None

    stage = Stage.REQUEST

    def matches(self, urb: Urb, data: bytes) -> bool:
        return self.at is None and Fault.matches(self, urb, data)

    def do(self, hands: Hands) -> None:
        raise NotImplementedError

    def on_request(self, urb: Urb, hands: Hands) -> Urb | Completion:
        self.do(hands)
        return urb


def nanoseconds(seconds: float) -> int:
    """Not negative; forever at most."""
    return round(min(max(seconds, 0), FOREVER) * 1e9)


def is_standard_in(setup: SetupPacket | None, request: int) -> bool:
    return setup is not None and setup.request_type & 0xE0 == 0x80 and setup.request == request
