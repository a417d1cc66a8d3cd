"""`Target`: finds the unit and the command, and whether it may run now. SAM-5 §5, SPC-4 §5.14."""

from __future__ import annotations

from collections.abc import Sequence

from gadgets.storage.scsi import sense as senses
from gadgets.storage.scsi.command import Outcome
from gadgets.storage.scsi.inquiry import nobody
from gadgets.storage.scsi.primary import sense_of_nobody
from gadgets.storage.scsi.sense import CheckCondition, Sense
from gadgets.storage.scsi.tables import SERVICE_ACTIONS, TABLES
from gadgets.storage.scsi.unit import Unit

REQUEST_SENSE, INQUIRY = 0x03, 0x12


class BlockTooShort(Exception):
    """The command block has fewer bytes than its command."""


class Target:
    """Some units, numbered from 0."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = tuple(units)
        self._tables = [TABLES[unit.nature.cdrom] for unit in self.units]

    def begin(self, lun: int, block: bytes, size: int) -> Outcome:
        """A command block of 16 bytes, of which the host sent `size`. Raises CheckCondition, whose sense is
        kept by `keep`, or BlockTooShort."""
        opcode = block[0]
        if lun >= len(self.units):
            return self._begin_nowhere(block, size)
        unit = self.units[lun]
        if opcode != REQUEST_SENSE:
            unit.sense = senses.NO_SENSE
        has_action = opcode in SERVICE_ACTIONS
        key = opcode | (block[1] & 0x1F) << 8 if has_action else opcode
        command = self._tables[lun].get(key)
        if command is None:
            raise CheckCondition(senses.INVALID_FIELD.at(1) if has_action else senses.INVALID_OPCODE)
        if size < len(command.usage):
            raise BlockTooShort
        unit.admit(command.needs)
        return command.handler(unit, block)

    def _begin_nowhere(self, block: bytes, size: int) -> Outcome:
        """Only these two answer for a unit that is not there."""
        answers = {REQUEST_SENSE: sense_of_nobody, INQUIRY: nobody}
        answer = answers.get(block[0])
        if answer is None:
            raise CheckCondition(senses.NO_SUCH_LUN)
        if size < 6:
            raise BlockTooShort
        return answer(block)

    def keep(self, lun: int, sense: Sense) -> None:
        """For the REQUEST SENSE that follows."""
        if lun < len(self.units):
            self.units[lun].sense = sense
