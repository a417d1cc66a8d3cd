"""Does a device do again what was recorded of it? `replay` tells, and where it first does not."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from appliance.errors import ProtocolError, TwinhubError, UsageError, describe
from gadgets.replay import format as f
from gadgets.replay.difference import Difference, compare_answers, described
from gadgets.replay.recording import Checkpoint, End, Given, Recording, Step, Ticked, Took, Unlinked
from gadgets.usb.device import BusEvent, Device
from gadgets.usb.inputs import read_input
from gadgets.usb.urb import Completion, Urb


@dataclass(frozen=True, slots=True)
class Report:
    """As far as it went: to the end, or to the first difference. `complete`: the recording was closed, not
    torn off; `torn`: bytes at its end that say nothing. `digest`: of all output, equal for equal runs."""

    inputs: int
    difference: Difference | None
    digest: str
    complete: bool
    torn: int

    @property
    def identical(self) -> bool:
        return self.difference is None

    def __str__(self) -> str:
        if self.difference:
            return f"differs at input {self.difference.input}: {self.difference}"
        end = "" if self.complete else f"\nthe recording was torn off; its last {self.torn} bytes are lost"
        return f"{self.inputs} inputs, byte-identical ({self.digest[:16]}){end}"


def replay(recording: Recording, device: Device) -> Report:
    """Put `device`, of the recording's definition, through it, to the first difference. Raises UsageError for
    a device of another definition, ProtocolError for a damaged recording."""
    try:
        device.restore(recording.snapshot)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, struct.error) as error:
        raise ProtocolError(f"the recording's snapshot is not of such a device: {error!r}") from None
    digest, inputs, complete = blake2b(digest_size=32), 0, False
    difference = None
    for step in recording.steps():
        match step.entry:
            case Took(events):
                difference = _take(device, events, recording.keep, inputs, digest)
            case Checkpoint():
                _check(step.entry, inputs, digest)
            case End():
                complete = True
            case _:
                inputs += 1
                difference = _play(device, step, recording.keep, inputs, digest)
        if difference:
            break
    return Report(inputs, difference, digest.hexdigest(), complete, 0 if difference else recording.torn)


def _play(device: Device, step: Step, keep: int, number: int, digest: Any) -> Difference | None:
    entry = step.entry
    if isinstance(entry, Unlinked):
        in_flight = device.unlink(entry.number)
        digest.update(b"\1" if in_flight else b"\0")
        if in_flight == entry.in_flight:
            return None
        words = {True: "it was in flight", False: "it was not in flight"}
        return Difference(number, described(entry), words[entry.in_flight], words[in_flight])
    local = _local(device, entry.plain) if isinstance(entry, Given) else None
    refused = None
    answers = b""
    try:
        answers = f.answers(_do(device, entry, local), keep)
    except TwinhubError as error:
        refused = f.from_json(f.to_json(describe(error)))
        digest.update(f.to_json(refused))
    digest.update(answers)
    if refused != step.refused:
        return Difference(number, described(entry), _said(step.refused), _said(refused))
    return None if answers == step.answers else compare_answers(number, entry, step.answers, answers, keep)


def _local(device: Device, plain: dict[str, Any]) -> object:
    try:
        return read_input(device.inputs, plain)
    except UsageError as error:
        raise ProtocolError(f"the recording has an input that this device does not know: {error}") from None


def _do(device: Device, entry: object, local: object) -> list[Completion]:
    match entry:
        case Urb():
            return device.submit(entry)
        case BusEvent():
            return device.bus(entry)
        case Ticked(now_ns):
            return device.tick(now_ns)
        case _:
            return device.local(local)


def _said(refused: dict[str, Any] | None) -> str:
    return f"refused: {refused.get('message')}" if refused else "accepted"


def _take(
    device: Device, recorded: list[list[Any]], keep: int, number: int, digest: Any
) -> Difference | None:
    text = f.to_json(f.events(device.take_events(), keep))
    digest.update(text)
    now = f.from_json(text)
    if now == recorded:
        return None
    for before, after in zip([*recorded, None], [*now, None], strict=False):
        if before != after:
            return Difference(number, "the events since then", _event(before), _event(after))
    return None


def _event(event: list[Any] | None) -> str:
    return "none" if event is None else f.to_json(event).decode()


def _check(checkpoint: Checkpoint, inputs: int, digest: Any) -> None:
    """All output so far was the same, so this can only be the file's fault."""
    if (checkpoint.inputs, checkpoint.digest) != (inputs, digest.digest()):
        raise ProtocolError(
            f"the recording's checkpoint after {checkpoint.inputs} inputs is not of these inputs"
        )
