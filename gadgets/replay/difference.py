"""The first thing that a replay did otherwise, for people."""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from itertools import zip_longest

from appliance.errors import ProtocolError
from gadgets.replay import format as f
from gadgets.replay.recording import Given, Ticked, Unlinked, answers_of
from gadgets.usb.device import BusEvent
from gadgets.usb.urb import Completion, Urb

ROWS = 8
"""of a hexdump that differ, at most, are shown"""


@dataclass(frozen=True, slots=True)
class Difference:
    """`input`: its number in the recording, from 1. `dump`: rows of both, where bytes differ."""

    input: int
    what: str
    recorded: str
    now: str
    dump: str = ""

    def __str__(self) -> str:
        lines = [self.what, f"  recorded: {self.recorded}", f"  now:      {self.now}"]
        return "\n".join([*lines, self.dump] if self.dump else lines)


def compare_answers(number: int, entry: object, recorded: bytes, now: bytes, keep: int) -> Difference:
    """Two outputs that are not the same. Raises ProtocolError for a recorded one that is none."""
    try:
        before = answers_of(recorded, keep)
    except (ValueError, struct.error):
        raise ProtocolError(f"the recording's answer to input {number} makes no sense") from None
    after = answers_of(now, keep)
    for nth, (old, new) in enumerate(zip_longest(before, after), 1):
        if old != new:
            what = f"{described(entry)}, completion {nth}"
            dump = hexdump(old.data, new.data) if old and new else ""
            return Difference(number, what, summary(old, new), summary(new, old), dump)
    what = f"{described(entry)}: data beyond the first {keep} bytes, which were not kept"
    return Difference(number, what, f.digest_of(recorded).hex(), f.digest_of(now).hex())


def summary(done: Completion | None, other: Completion | None) -> str:
    """Of a completion, the fields in which it is another."""
    if done is None:
        return "no completion"
    if other is None:
        return f"URB {done.number}, status {done.status}, {done.actual_length} bytes"
    shown = [
        f"{field.name} {_brief(getattr(done, field.name))}"
        for field in fields(done)
        if getattr(done, field.name) != getattr(other, field.name)
    ]
    return ", ".join(shown)


def _brief(value: object) -> str:
    if isinstance(value, bytes):
        return f"{value[:16].hex(' ')}{' …' if len(value) > 16 else ''}"
    return str(value)


def described(entry: object) -> str:
    match entry:
        case Urb(number=number, endpoint=endpoint, setup=setup, length=length):
            request = f" ({setup})" if setup else ""
            return f"URB {number} to endpoint {endpoint:02x}{request}, {length} bytes"
        case Unlinked(number=number):
            return f"unlink of URB {number}"
        case BusEvent():
            return f"bus {entry.value}"
        case Given(plain=plain):
            return f"local input {f.to_json(plain).decode()[:100]}"
        case Ticked(now_ns=now_ns):
            return f"tick at {now_ns} ns"
    raise TypeError(entry)


def hexdump(recorded: bytes, now: bytes) -> str:
    """The rows of 16 bytes in which the two differ: "-" as recorded, "+" as now."""
    if recorded == now:
        return ""
    rows = [
        (at, recorded[at : at + 16], now[at : at + 16]) for at in range(0, max(len(recorded), len(now)), 16)
    ]
    differing = [row for row in rows if row[1] != row[2]]
    lines = []
    for at, old, new in differing[:ROWS]:
        lines += [f"  - {at:06x}  {old.hex(' ')}", f"  + {at:06x}  {new.hex(' ')}"]
    more = len(differing) - ROWS
    return "\n".join([*lines, f"  and {more} more rows"] if more > 0 else lines)
