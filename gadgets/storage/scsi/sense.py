"""Why a command failed: sense keys, codes and data. SPC-4 §4.5."""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass, replace
from enum import IntEnum
from typing import Any


class Key(IntEnum):
    NO_SENSE = 0
    RECOVERED_ERROR = 1
    NOT_READY = 2
    MEDIUM_ERROR = 3
    HARDWARE_ERROR = 4
    ILLEGAL_REQUEST = 5
    UNIT_ATTENTION = 6
    DATA_PROTECT = 7
    MISCOMPARE = 14


_FIXED = struct.Struct(">BxBIB4xBBxBH")
_INFORMATION = struct.Struct(">BBBxQ")
_FIELD = struct.Struct(">BB2xBHx")


@dataclass(frozen=True, slots=True)
class Sense:
    """`information`: the block it is about. `field`: the byte of the command that is wrong, or with
    `in_data` that of the parameter list. `deferred`: of a command that was answered before."""

    key: int
    asc: int
    ascq: int
    information: int | None = None
    field: int | None = None
    in_data: bool = False
    deferred: bool = False

    def at(self, field: int) -> Sense:
        return replace(self, field=field)

    def about(self, block: int) -> Sense:
        return replace(self, information=block)

    def later(self) -> Sense:
        """The same, told with a later command."""
        return replace(self, deferred=True)

    def fixed(self) -> bytes:
        """18 bytes. A block that does not fit into 32 bits is left out."""
        block = self.information
        valid = block is not None and block < 1 << 32
        return _FIXED.pack(
            valid << 7 | 0x70 | self.deferred,
            self.key,
            block if block is not None and valid else 0,
            10,
            self.asc,
            self.ascq,
            self._where,
            self.field or 0,
        )

    def descriptors(self) -> bytes:
        """The format that holds 64 bits of information."""
        parts = b""
        if self.information is not None:
            parts += _INFORMATION.pack(0x00, 10, 0x80, self.information)
        if self.field is not None:
            parts += _FIELD.pack(0x02, 6, self._where, self.field)
        return bytes((0x72 | self.deferred, self.key, self.asc, self.ascq, 0, 0, 0, len(parts))) + parts

    @property
    def _where(self) -> int:
        """SKSV, and whether the field is in the command. SPC-4 §4.5.2.4.2."""
        return 0 if self.field is None else 0x80 if self.in_data else 0xC0

    def snapshot(self) -> list[Any]:
        return list(astuple(self))


NO_SENSE = Sense(Key.NO_SENSE, 0x00, 0x00)
BECOMING_READY = Sense(Key.NOT_READY, 0x04, 0x01)
STOPPED = Sense(Key.NOT_READY, 0x04, 0x02)
WRITE_ERROR = Sense(Key.MEDIUM_ERROR, 0x0C, 0x00)
READ_ERROR = Sense(Key.MEDIUM_ERROR, 0x11, 0x00)
PARAMETER_LIST_LENGTH = Sense(Key.ILLEGAL_REQUEST, 0x1A, 0x00)
MISCOMPARE = Sense(Key.MISCOMPARE, 0x1D, 0x00)
INVALID_OPCODE = Sense(Key.ILLEGAL_REQUEST, 0x20, 0x00, field=0)
OUT_OF_RANGE = Sense(Key.ILLEGAL_REQUEST, 0x21, 0x00)
INVALID_FIELD = Sense(Key.ILLEGAL_REQUEST, 0x24, 0x00)
NO_SUCH_LUN = Sense(Key.ILLEGAL_REQUEST, 0x25, 0x00)
INVALID_PARAMETER = Sense(Key.ILLEGAL_REQUEST, 0x26, 0x00, in_data=True)
WRITE_PROTECTED = Sense(Key.DATA_PROTECT, 0x27, 0x00)
MEDIUM_CHANGED = Sense(Key.UNIT_ATTENTION, 0x28, 0x00)
RESET = Sense(Key.UNIT_ATTENTION, 0x29, 0x00)
MODE_CHANGED = Sense(Key.UNIT_ATTENTION, 0x2A, 0x01)
NOT_SAVED = Sense(Key.ILLEGAL_REQUEST, 0x39, 0x00)
NO_MEDIUM = Sense(Key.NOT_READY, 0x3A, 0x00)
REMOVAL_PREVENTED = Sense(Key.ILLEGAL_REQUEST, 0x53, 0x02)


class CheckCondition(Exception):
    """The command fails; the host may ask why."""

    def __init__(self, sense: Sense) -> None:
        super().__init__(sense)
        self.sense = sense
