"""`Disk`: a mass storage interface, 08/06/50. Mass Storage Class Specification Overview 1.4, BOT 1.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from appliance.errors import Busy, NotFound, Unavailable, UsageError
from gadgets.storage.bot import MAX_LUNS, BulkOnly
from gadgets.storage.lun import (
    Eject,
    Insert,
    Lun,
    MendBlocks,
    NotReady,
    SpoilBlocks,
    WriteProtect,
    nature_of,
)
from gadgets.storage.media.medium import open_medium
from gadgets.storage.scsi import sense as senses
from gadgets.storage.scsi.target import Target
from gadgets.storage.scsi.unit import MAX_SPOILED, MediumEvent, OpenMedium, Unit
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.function import Answer, Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.urb import SetupPacket

MASS_STORAGE = (0x08, 0x06, 0x50)
"""Class; SCSI transparent command set; Bulk-Only Transport."""
RESET, GET_MAX_LUN = (0x21, 0xFF), (0xA1, 0xFE)

Input = Insert | Eject | WriteProtect | SpoilBlocks | MendBlocks | NotReady


class Disk(Function):
    """One or several disks or CD-ROM drives behind one interface, one for each of `luns`.

    Events: Ejected, Prevented, Stopped, Flushed (gadgets/storage/events.py).
    """

    inputs = (Insert, Eject, WriteProtect, SpoilBlocks, MendBlocks, NotReady)

    def __init__(
        self, open_medium: OpenMedium = open_medium, /, *, luns: tuple[Lun, ...] = (Lun(),), name: str = ""
    ) -> None:
        if not 0 < len(luns) <= MAX_LUNS:
            raise UsageError(f"a disk has 1 to {MAX_LUNS} luns, not {len(luns)}")
        natures = [nature_of(lun, index, len(luns)) for index, lun in enumerate(luns)]
        self.name, self.luns = name, luns
        self.units = [Unit(nature, open_medium, self.tell) for nature in natures]
        self._transport = BulkOnly(Target(self.units), self)
        try:
            for unit, lun in zip(self.units, luns, strict=True):
                if lun.medium:
                    unit.load(lun.medium, lun.read_only)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the media back, with all that was written to them durable."""
        for unit in self.units:
            unit.unload()

    # Function

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        bulk_in, bulk_out = take.bulk_in(), take.bulk_out()
        self._in, self._out = bulk_in.address, bulk_out.address
        self._transport.packet_size = bulk_out.packet_size
        interface = take.interface()
        return [
            AlternateSetting(
                interface, 0, *MASS_STORAGE, take.string(self.name), endpoints=(bulk_in, bulk_out)
            )
        ]

    def coming(self, endpoint: int) -> int:
        return self._transport.coming

    def setup(self, setup: SetupPacket, data: bytes) -> Answer:
        request = (setup.request_type, setup.request)
        if request == GET_MAX_LUN and setup.value == 0 and setup.length == 1:
            return bytes((len(self.units) - 1,))
        if request == RESET and setup.value == 0 and setup.length == 0:
            self._reset()
            for endpoint in (self._in, self._out):
                self.release(endpoint)
                self.ready(endpoint)
            self.drop(self._in)
            return b""
        return None

    def out(self, endpoint: int, data: bytes) -> bool:
        return self._transport.out(data)

    def fill(self, endpoint: int, length: int) -> bytes | None:
        return self._transport.fill(length)

    def on_reset(self) -> None:
        self._reset()

    def on_alternate(self, interface: int, alternate: int) -> None:
        self._reset()

    def _reset(self) -> None:
        self._transport.reset()
        for unit in self.units:
            unit.reset()

    # The endpoints, for the transport

    def look_in(self) -> None:
        self.ready(self._in)

    def look_out(self) -> None:
        self.ready(self._out)

    def halt_in(self) -> None:
        self.halt(self._in)

    def halt_both(self, *, wedge: bool) -> None:
        self.halt(self._in, wedge=wedge)
        self.halt(self._out, wedge=wedge)

    # Local inputs

    def local(self, input: Input) -> None:
        if not 0 <= input.lun < len(self.units):
            raise NotFound(f"there is no lun {input.lun}; the last one is {len(self.units) - 1}")
        unit = self.units[input.lun]
        match input:
            case Insert():
                self._insert(unit, input)
            case Eject():
                self._eject(unit, input.force)
            case WriteProtect():
                if unit.protected != input.on:
                    unit.protected = input.on
                    unit.attend(senses.MODE_CHANGED)
            case SpoilBlocks():
                self._spoil(unit, input)
            case MendBlocks():
                unit.spoiled = ()
            case NotReady():
                unit.not_ready = input.on

    def _insert(self, unit: Unit, input: Insert) -> None:
        if unit.medium is not None:
            raise Busy(f"lun {input.lun} has a medium, {unit.medium_spec}; eject it first")
        unit.load(input.medium, input.read_only)
        unit.attend(senses.MEDIUM_CHANGED)

    def _eject(self, unit: Unit, force: bool) -> None:
        lun = unit.nature.index
        if not unit.nature.removable:
            raise UsageError(f"lun {lun} is not removable; make it so in the gadget's definition")
        if unit.medium is None:
            raise Unavailable(f"lun {lun} is empty already")
        if not unit.prevented or force:
            unit.unload()
        elif unit.nature.cdrom:
            unit.medium_event = MediumEvent.EJECT_REQUEST
        else:
            raise Busy(f"the host has locked lun {lun}; let it unmount the disk, or eject by force")

    def _spoil(self, unit: Unit, input: SpoilBlocks) -> None:
        if not 0 <= input.first <= input.last:
            raise UsageError(f"blocks {input.first} to {input.last} are no range; the first comes first")
        if len(unit.spoiled) >= MAX_SPOILED:
            raise UsageError(f"{MAX_SPOILED} ranges of blocks fail already; mend them first")
        unit.spoiled += ((input.first, input.last),)

    # Written down

    def snapshot(self) -> dict[str, Any]:
        return {
            "transport": self._transport.snapshot(),
            "units": [unit.snapshot() for unit in self.units],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        units = list(zip(self.units, state["units"], strict=True))
        for unit, saved in units:
            unit.give_up(saved)
        for unit, saved in units:
            unit.restore(saved)
        self._transport.restore(state["transport"])
