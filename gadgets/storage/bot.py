"""Bulk-Only Transport 1.0, the device's side, without I/O.

A command is three stages: the host's command block wrapper (CBW), data one way, the device's status wrapper
(CSW). What the host says in the CBW and what the command is meant to move may disagree in thirteen ways
(BOT §6.7); the rules here that cover them all, as Linux's f_mass_storage has them:

1. What both want moves. If the command has more than the host expects, or goes the other way (then nothing
   moves), the status is PHASE_ERROR.
2. IN data that the host expects and does not get: bulk IN halts right after what there is, and the CSW
   follows when the host has cleared the halt. So a failed data stage ends at once.
3. OUT data that nobody wants is swallowed. Bulk OUT never halts within a data stage.
4. The residue is what the host expected, less what the command took or gave.
5. Between CBW and CSW further OUT transfers wait (NAK).
6. A CBW that is none leaves both endpoints wedged until a reset (§6.6.1); one with impossible values halts
   both (§6.4).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Protocol

from gadgets.storage.scsi import task as tasks
from gadgets.storage.scsi.sense import CheckCondition
from gadgets.storage.scsi.target import BlockTooShort, Target
from gadgets.storage.scsi.task import DataIn, DataOut

CBW = struct.Struct("<4sIIBBB16s")
CSW = struct.Struct("<4sIIB")
IN_FLAG = 0x80
MAX_LUNS = 16


class Stage(IntEnum):
    """What the transport waits for. INVALID: for a reset."""

    COMMAND = 0
    DATA_IN = 1
    DATA_OUT = 2
    STATUS = 3
    INVALID = 4


class CswStatus(IntEnum):
    """bCSWStatus. BOT table 5.3."""

    PASSED = 0
    FAILED = 1
    PHASE_ERROR = 2


COMMAND, DATA_IN, DATA_OUT, STATUS, INVALID = Stage
PASSED, FAILED, PHASE_ERROR = CswStatus


class Endpoints(Protocol):
    """The two bulk endpoints, as the transport acts on them."""

    def look_in(self) -> None:
        """There is something to fetch now."""

    def look_out(self) -> None:
        """A CBW may come now."""

    def halt_in(self) -> None: ...

    def halt_both(self, *, wedge: bool) -> None: ...


class BulkOnly:
    """`packet_size` of bulk OUT: what ends within a packet ends the host's data."""

    def __init__(self, target: Target, endpoints: Endpoints, packet_size: int = 512) -> None:
        self._target = target
        self._endpoints = endpoints
        self.packet_size = packet_size
        self.reset()

    def reset(self) -> None:
        """Ready for a CBW; what was under way is forgotten. BOT §3.1."""
        self.stage = COMMAND
        self._tag = self._lun = self._residue = 0
        self._status = PASSED
        self._source: DataIn | None = None
        self._sink: DataOut | None = None
        self._wanted = 0
        self._coming = 0

    @property
    def coming(self) -> int:
        """What the host has yet to send in this data stage."""
        return self._coming if self.stage is DATA_OUT else 0

    def out(self, data: bytes) -> bool:
        """A transfer from the host; False: not now."""
        stage = self.stage
        if stage is COMMAND:
            self._command(data)
        elif stage is DATA_OUT:
            self._take(data)
        else:
            return stage is INVALID
        return True

    def fill(self, length: int) -> bytes | None:
        """What bulk IN has for a transfer of `length` bytes: data, or the CSW; None: nothing now."""
        stage = self.stage
        if stage is DATA_IN:
            return self._give(length) if length else b""
        if stage is not STATUS:
            return None
        self.stage = COMMAND
        self._source = self._sink = None
        self._endpoints.look_out()
        return CSW.pack(b"USBS", self._tag, self._residue, self._status)

    # The stages

    def _command(self, data: bytes) -> None:
        if len(data) != CBW.size or data[:4] != b"USBC":
            self.stage = INVALID
            self._endpoints.halt_both(wedge=True)
            return
        _, tag, expected, flags, lun, size, block = CBW.unpack(data)
        if flags & ~IN_FLAG or lun >= MAX_LUNS or not 0 < size <= 16:
            self._endpoints.halt_both(wedge=False)
            return
        self._tag, self._lun, self._residue, self._status = tag, lun, expected, PASSED
        try:
            task = self._target.begin(lun, block, size)
        except CheckCondition as check:
            self._fail(check)
            task = None
        except BlockTooShort:
            self._status = PHASE_ERROR
            task = None
        self._wanted = 0
        if task is not None:
            self._meet(task, expected, flags == IN_FLAG)
        if flags:
            self._begin_in(expected)
        else:
            self._begin_out(expected)

    def _meet(self, task: DataIn | DataOut, expected: int, host_is_in: bool) -> None:
        """What host and command both want to move."""
        length = task.length
        if isinstance(task, DataIn) != host_is_in:
            self._status = PHASE_ERROR
            return
        if length > expected:
            self._status, length = PHASE_ERROR, expected
        self._wanted = length
        self._hold(task)

    def _hold(self, task: DataIn | DataOut) -> None:
        if isinstance(task, DataIn):
            self._source = task
        else:
            self._sink = task

    def _begin_in(self, expected: int) -> None:
        if self._wanted:
            self.stage = DATA_IN
        else:
            self.stage = STATUS
            if expected:
                self._endpoints.halt_in()
        self._endpoints.look_in()

    def _begin_out(self, expected: int) -> None:
        self._coming = expected
        if expected:
            self.stage = DATA_OUT
        else:
            self._end()

    def _give(self, length: int) -> bytes | None:
        """Whole packets, even where the transfer ends within one: that is what a device sends."""
        assert self._source is not None
        length += -length % self.packet_size
        try:
            data = self._source.give(min(length, self._wanted))
        except CheckCondition as check:
            self._fail(check)
            self.stage = STATUS
            self._endpoints.halt_in()
            return None
        self._wanted -= len(data)
        self._residue -= len(data)
        if not self._wanted:
            self.stage = STATUS
            if self._residue:
                self._endpoints.halt_in()
        return data

    def _take(self, data: bytes) -> None:
        """All of it is taken off the wire; the command gets what it wants of it."""
        size, wanted = len(data), self._wanted
        if wanted and size:
            assert self._sink is not None
            part = data if size <= wanted else memoryview(data)[:wanted]
            try:
                self._sink.take(part)
            except CheckCondition as check:
                self._fail(check)
            else:
                self._wanted = wanted - len(part)
                self._residue -= len(part)
        self._coming -= size
        if self._coming <= 0 or size % self.packet_size or not size:
            self._end()

    def _end(self) -> None:
        """The host's data is through."""
        if self._sink is not None:
            try:
                self._sink.finish()
            except CheckCondition as check:
                self._fail(check)
        self.stage = STATUS
        self._endpoints.look_in()

    def _fail(self, check: CheckCondition) -> None:
        self._target.keep(self._lun, check.sense)
        self._status = max(self._status, FAILED)
        self._source = self._sink = None
        self._wanted = 0

    # Written down

    def snapshot(self) -> dict[str, Any]:
        task = self._source or self._sink
        return {
            "stage": int(self.stage),
            "tag": self._tag,
            "lun": self._lun,
            "residue": self._residue,
            "status": int(self._status),
            "wanted": self._wanted,
            "coming": self._coming,
            "task": tasks.snapshot(task) if task else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The target's units are as they were."""
        self.reset()
        self.stage, self._status = Stage(state["stage"]), CswStatus(state["status"])
        self._tag, self._lun, self._residue = state["tag"], state["lun"], state["residue"]
        self._wanted, self._coming = state["wanted"], state["coming"]
        if state["task"]:
            units = self._target.units
            task = tasks.restore(units[self._lun] if self._lun < len(units) else None, state["task"])
            self._hold(task)
