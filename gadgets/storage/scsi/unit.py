"""`Unit`: one logical unit, its medium and what it remembers between two commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from appliance.errors import MediumError
from gadgets.storage.media.medium import Medium
from gadgets.storage.scsi import sense as senses
from gadgets.storage.scsi.mode import WRITE_CACHE, WRITE_PROTECT, default_pages, is_set
from gadgets.storage.scsi.sense import CheckCondition, Sense

MAX_ATTENTIONS = 8
MAX_SPOILED = 1024
"""Ranges of blocks that may fail at once."""


class Needs(IntEnum):
    """What must be the case before a command is looked at; each includes those before."""

    NOTHING = 0
    """passes a unit attention. SPC-4 §5.14"""
    CALM = 1
    MEDIUM = 2
    WRITABLE = 3


NOTHING, CALM, _, WRITABLE = Needs


class MediumEvent(IntEnum):
    """What GET EVENT STATUS NOTIFICATION tells of the medium. MMC-6 §6.7.2.5."""

    NONE = 0
    EJECT_REQUEST = 1
    NEW_MEDIUM = 2
    REMOVED = 3


class OpenMedium(Protocol):
    def __call__(self, spec: str, /, *, read_only: bool, block_size: int) -> Medium: ...


@dataclass(frozen=True, slots=True)
class Nature:
    """What a unit is, for as long as it is. `index` is its number among `count` units."""

    cdrom: bool
    removable: bool
    block_size: int
    vendor: str
    product: str
    revision: str
    serial: str
    index: int = 0
    count: int = 1


class Unit:
    """It begins empty, with a unit attention. Offsets and lengths are in bytes, block numbers are LBAs."""

    def __init__(self, nature: Nature, open_medium: OpenMedium, tell: Callable[[object], None]) -> None:
        self.nature = nature
        self.tell = tell
        self.block_size = nature.block_size
        self.shift = nature.block_size.bit_length() - 1
        self._open_medium = open_medium
        self.medium: Medium | None = None
        self.medium_number = 0
        self.medium_spec = ""
        self.asked_read_only = False
        self.blocks = 0
        self.sense = senses.NO_SENSE
        self.deferred: Sense | None = None
        self.attentions: list[Sense] = []
        self.pages = default_pages(nature.cdrom)
        self.prevented = False
        self.stopped = False
        self.not_ready = False
        self.protected = False
        self.spoiled: tuple[tuple[int, int], ...] = ()
        self.medium_event = MediumEvent.NONE
        self.reset()

    # The medium

    def load(self, spec: str, read_only: bool) -> None:
        """Put a medium in. Raises the errors of `open_medium`."""
        medium = self._open_medium(spec, read_only=read_only, block_size=self.block_size)
        self.medium, self.medium_spec, self.asked_read_only = medium, spec, read_only
        self.medium_number += 1
        self.blocks = medium.size >> self.shift
        self.stopped = False
        self.medium_event = MediumEvent.NEW_MEDIUM

    def unload(self) -> None:
        """Take it out, durable as far as possible; a failure to make it so is told to the host later."""
        if self.medium is None:
            return
        try:
            self.medium.flush()
        except MediumError:
            self.deferred = senses.WRITE_ERROR.later()
        self.remove()

    def remove(self) -> None:
        """Take it out as it is."""
        if self.medium is not None:
            self.medium.close()
        self.medium_event = MediumEvent.REMOVED
        self.medium, self.medium_spec, self.asked_read_only = None, "", False
        self.medium_number += 1
        self.blocks, self.spoiled, self.prevented = 0, (), False

    @property
    def write_protected(self) -> bool:
        by_medium = self.medium is not None and self.medium.read_only
        return by_medium or self.protected or is_set(self.pages, WRITE_PROTECT)

    @property
    def write_through(self) -> bool:
        """The host has switched the write cache off: what is answered is durable. SBC-3 §6.5.5."""
        return not is_set(self.pages, WRITE_CACHE)

    def read(self, medium_number: int, at: int, length: int) -> bytes:
        """Short before a block that fails; raises CheckCondition if that is the first."""
        medium = self._current(medium_number)
        if self.spoiled:
            length = self._sound(at, length, senses.READ_ERROR)
        try:
            return medium.read(at, length)
        except MediumError:
            raise CheckCondition(senses.READ_ERROR.about(at >> self.shift)) from None

    def write(self, medium_number: int, at: int, data: bytes | memoryview) -> None:
        medium = self._current(medium_number)
        if self.write_protected:
            raise CheckCondition(senses.WRITE_PROTECTED)
        sound = self._sound(at, len(data), senses.WRITE_ERROR) if self.spoiled else len(data)
        try:
            medium.write(at, data if sound == len(data) else memoryview(data)[:sound])
        except MediumError:
            raise CheckCondition(senses.WRITE_ERROR.about(at >> self.shift)) from None
        if sound < len(data):
            raise CheckCondition(senses.WRITE_ERROR.about(at + sound >> self.shift))

    def discard(self, at: int, length: int) -> None:
        if self.write_protected:
            raise CheckCondition(senses.WRITE_PROTECTED)
        try:
            self._current(self.medium_number).discard(at, length)
        except MediumError:
            raise CheckCondition(senses.WRITE_ERROR.about(at >> self.shift)) from None

    def flush(self, medium_number: int) -> None:
        """Raises CheckCondition unless all that was written is durable now."""
        try:
            self._current(medium_number).flush()
        except MediumError:
            raise CheckCondition(senses.WRITE_ERROR) from None

    def settle(self) -> None:
        """Behind a change that is answered at once: durable first, if the write cache is off."""
        if self.write_through:
            self.flush(self.medium_number)

    def verify(self, at: int, length: int) -> None:
        """That none of these blocks fails."""
        sound = self._sound(at, length, senses.READ_ERROR)
        if sound < length:
            raise CheckCondition(senses.READ_ERROR.about(at + sound >> self.shift))

    def _current(self, medium_number: int) -> Medium:
        if self.medium is None or medium_number != self.medium_number:
            raise CheckCondition(senses.NO_MEDIUM)
        return self.medium

    def _sound(self, at: int, length: int, failure: Sense) -> int:
        """How many of these bytes come before the first block that fails; raises if none does."""
        first, end = at >> self.shift, at + length + self.block_size - 1 >> self.shift
        hits = [max(low, first) for low, high in self.spoiled if low < end and first <= high]
        if not hits:
            return length
        if min(hits) == first:
            raise CheckCondition(failure.about(first))
        return (min(hits) << self.shift) - at

    # What the host must hear of

    def attend(self, attention: Sense) -> None:
        """A unit attention: the next command fails with it, once."""
        if attention not in self.attentions:
            self.attentions = [*self.attentions, attention][-MAX_ATTENTIONS:]

    def reset(self) -> None:
        """As after a reset of the bus or the transport. SPC-4 §5.14, SAM-5 §6.3."""
        self.sense, self.deferred = senses.NO_SENSE, None
        self.attentions = [senses.RESET]
        self.prevented = self.stopped = False
        self.pages = default_pages(self.nature.cdrom)

    def admit(self, needs: Needs) -> None:
        """Raises CheckCondition for what stands in the way of a command, first things first."""
        if needs is NOTHING:
            return
        if self.attentions:
            raise CheckCondition(self.attentions.pop(0))
        if self.deferred:
            deferred, self.deferred = self.deferred, None
            raise CheckCondition(deferred)
        if needs is CALM:
            return
        if self.medium is None:
            raise CheckCondition(senses.NO_MEDIUM)
        if self.not_ready:
            raise CheckCondition(senses.BECOMING_READY)
        if self.stopped:
            raise CheckCondition(senses.STOPPED)
        if needs is WRITABLE and self.write_protected:
            raise CheckCondition(senses.WRITE_PROTECTED)

    # Written down

    def snapshot(self) -> dict[str, Any]:
        """All but what is on the medium."""
        return {
            "medium": self.medium_spec,
            "medium_number": self.medium_number,
            "asked_read_only": self.asked_read_only,
            "sense": self.sense.snapshot(),
            "deferred": self.deferred.snapshot() if self.deferred else None,
            "attentions": [attention.snapshot() for attention in self.attentions],
            "pages": {f"{code:02x}": page for code, page in self.pages.items()},
            "prevented": self.prevented,
            "stopped": self.stopped,
            "not_ready": self.not_ready,
            "protected": self.protected,
            "spoiled": [list(block_range) for block_range in self.spoiled],
            "medium_event": int(self.medium_event),
        }

    def give_up(self, state: Mapping[str, Any]) -> None:
        """Before `restore`, of all units that are: unload a medium that is not the one of the state."""
        if (self.medium_spec, self.asked_read_only) != (state["medium"], state["asked_read_only"]):
            self.unload()

    def restore(self, state: Mapping[str, Any]) -> None:
        """The medium is opened anew if it was given up. Raises the errors of `open_medium`."""
        if self.medium is None and state["medium"]:
            self.load(state["medium"], state["asked_read_only"])
        self.medium_number = state["medium_number"]
        self.sense = Sense(*state["sense"])
        self.deferred = Sense(*state["deferred"]) if state["deferred"] else None
        self.attentions = [Sense(*attention) for attention in state["attentions"]]
        self.pages = {int(code, 16): page for code, page in state["pages"].items()}
        self.prevented, self.stopped = state["prevented"], state["stopped"]
        self.not_ready, self.protected = state["not_ready"], state["protected"]
        self.spoiled = tuple((first, last) for first, last in state["spoiled"])
        self.medium_event = MediumEvent(state["medium_event"])
