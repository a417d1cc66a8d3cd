"""What a row of a command table is. The tables are in gadgets/storage/scsi/tables.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gadgets.storage.scsi.task import Collect, DataIn, DataOut, Reply
from gadgets.storage.scsi.unit import Needs, Unit

Outcome = DataIn | DataOut | None
"""What a command comes to: a data stage, or None: it is done."""
Handler = Callable[[Unit, bytes], Outcome]
"""Unit, command block (16 bytes, of which the command has its own size). Raises CheckCondition."""


@dataclass(frozen=True, slots=True)
class Command:
    """`usage`: the bits of each byte of the block that mean something, the first one being the opcode, as
    REPORT SUPPORTED OPERATION CODES tells them; its length is the command's. `action`: the service action
    in byte 1, where the opcode has such."""

    name: str
    usage: bytes
    handler: Handler
    needs: Needs = Needs.CALM
    action: int | None = None

    @property
    def key(self) -> int:
        return self.usage[0] | (self.action or 0) << 8


def reply(data: bytes, allocation: int) -> Outcome:
    """IN data, as much as the host has room for."""
    data = data[:allocation]
    return Reply(data, len(data)) if data else None


def collect(unit: Unit, command: str, block: bytes, length: int) -> Outcome:
    """A parameter list, on which `command` will act; an empty one is no error and does nothing."""
    return Collect(unit, unit.medium_number, command, block, length) if length else None
