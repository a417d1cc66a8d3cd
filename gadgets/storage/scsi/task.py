"""A command whose data stage is under way.

A task is made when the command is accepted. A `DataIn` is asked by `give` for pieces until `length` bytes
came. A `DataOut` gets pieces by `take` until `length` bytes went or the host sends no more, then `finish`.
All raise CheckCondition, and then the task is over. The fields are plain: it can be written down anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from gadgets.storage.scsi.sense import MISCOMPARE, NO_MEDIUM, PARAMETER_LIST_LENGTH, CheckCondition
from gadgets.storage.scsi.unit import Unit


@dataclass(slots=True)
class Reply:
    """IN: data that is there already."""

    data: bytes
    length: int

    def give(self, length: int) -> bytes:
        piece, self.data = self.data[:length], self.data[length:]
        return piece


@dataclass(slots=True)
class ReadBlocks:
    """IN: `length` bytes of the medium from byte `at` on. A piece is short before a block that fails."""

    unit: Unit
    medium_number: int
    at: int
    length: int

    def give(self, length: int) -> bytes:
        data = self.unit.read(self.medium_number, self.at, length)
        self.at += len(data)
        return data


@dataclass(slots=True)
class WriteBlocks:
    """OUT: to the medium from byte `at` on, whole blocks only; durable before the answer if `flush`."""

    unit: Unit
    medium_number: int
    at: int
    length: int
    flush: bool
    part: bytes = b""
    """what came of a block that is not whole yet"""

    def take(self, data: bytes | memoryview) -> None:
        if self.part:
            data = self.part + data
        extra = len(data) & self.unit.block_size - 1
        if extra:
            whole = memoryview(data)[:-extra]
            self.part = bytes(data[-extra:])
            data = whole
        elif self.part:
            self.part = b""
        if data:
            self.put(data)
            self.at += len(data)

    def put(self, data: bytes | memoryview) -> None:
        self.unit.write(self.medium_number, self.at, data)

    def finish(self) -> None:
        if self.flush:
            self.unit.flush(self.medium_number)


@dataclass(slots=True)
class CompareBlocks(WriteBlocks):
    """OUT: what is sent must be what is on the medium. SBC-3 §5.33, BYTCHK 01b."""

    def put(self, data: bytes | memoryview) -> None:
        found = self.unit.read(self.medium_number, self.at, len(data))
        if found != data[: len(found)]:
            differs = next(at for at, byte in enumerate(found) if byte != data[at])
            raise CheckCondition(MISCOMPARE.about(self.at + differs >> self.unit.shift))
        if len(found) < len(data):
            self.at += len(found)
            self.put(data[len(found) :])


@dataclass(slots=True)
class Collect:
    """OUT: a parameter list of at most 64 KiB, on which `command` acts if the medium is still the same."""

    unit: Unit
    medium_number: int
    command: str
    block: bytes
    length: int
    data: bytes = b""

    def take(self, data: bytes | memoryview) -> None:
        self.data += data

    def finish(self) -> None:
        if len(self.data) < self.length:
            raise CheckCondition(PARAMETER_LIST_LENGTH)
        if self.medium_number != self.unit.medium_number:
            raise CheckCondition(NO_MEDIUM)
        ACTIONS[self.command](self.unit, self.block, self.data)


Action = Callable[[Unit, bytes, bytes], None]
"""What a command does with its parameter list: unit, command block, list."""
ACTIONS: dict[str, Action] = {}


def action(act: Action) -> Action:
    """Known by its name, so that a command in its data stage can be written down."""
    ACTIONS[act.__name__] = act
    return act


DataIn = Reply | ReadBlocks
DataOut = WriteBlocks | Collect
KINDS = {kind.__name__: kind for kind in (ReadBlocks, WriteBlocks, CompareBlocks, Collect)}


def snapshot(task: DataIn | DataOut) -> dict[str, Any]:
    state = {field.name: getattr(task, field.name) for field in fields(task) if field.name != "unit"}
    return {"kind": type(task).__name__, **state}


def restore(unit: Unit | None, state: Mapping[str, Any]) -> DataIn | DataOut:
    """The inverse, for a task of this unit."""
    given = {name: value for name, value in state.items() if name != "kind"}
    if unit is None or state["kind"] == Reply.__name__:
        return Reply(**given)
    return KINDS[state["kind"]](unit, **given)
