"""What every unit can do: the commands of SPC-4 §6, and those that start, stop and lock (SBC-3 §5)."""

from __future__ import annotations

import struct

from gadgets.storage.events import Ejected, Prevented, Stopped
from gadgets.storage.scsi import sense as senses
from gadgets.storage.scsi.command import Handler, Outcome, collect, reply
from gadgets.storage.scsi.mode import changed, chosen, default_pages
from gadgets.storage.scsi.sense import CheckCondition
from gadgets.storage.scsi.task import action
from gadgets.storage.scsi.unit import Unit

DPO_FUA = 0x10
READ_ONLY = 0x80


def test_unit_ready(unit: Unit, block: bytes) -> Outcome:
    return None


def request_sense(unit: Unit, block: bytes) -> Outcome:
    """Why the last command failed, or else what the next one would fail with; told once. SPC-4 §6.39."""
    sense, unit.sense = unit.sense, senses.NO_SENSE
    if sense == senses.NO_SENSE and unit.attentions:
        sense = unit.attentions.pop(0)
    elif sense == senses.NO_SENSE and unit.deferred:
        sense, unit.deferred = unit.deferred, None
    return reply(sense.descriptors() if block[1] & 1 else sense.fixed(), block[4])


def sense_of_nobody(block: bytes) -> Outcome:
    return reply(senses.NO_SUCH_LUN.fixed(), block[4])


def report_luns(unit: Unit, block: bytes) -> Outcome:
    """SPC-4 §6.33; 2: also the well-known ones, of which there are none; 1: only these."""
    if block[2] > 2:
        raise CheckCondition(senses.INVALID_FIELD.at(2))
    luns = range(unit.nature.count if block[2] != 1 else 0)
    data = struct.pack(">I4x", 8 * len(luns)) + b"".join(struct.pack(">xB6x", lun) for lun in luns)
    return reply(data, int.from_bytes(block[6:10], "big"))


# Mode pages


def mode_sense(size: int) -> Handler:
    """A header without block descriptors, and pages. SPC-4 §6.11, §6.12."""

    def handler(unit: Unit, block: bytes) -> Outcome:
        defaults = default_pages(unit.nature.cdrom)
        pages = chosen(unit.pages, defaults, block[2] & 0x3F, block[3], block[2] >> 6)
        kind = 0 if unit.nature.cdrom else DPO_FUA | unit.write_protected * READ_ONLY
        if size == 6:
            return reply(bytes((3 + len(pages), 0, kind, 0)) + pages, block[4])
        length = (6 + len(pages)).to_bytes(2, "big")
        return reply(length + bytes((0, kind)) + bytes(4) + pages, int.from_bytes(block[7:9], "big"))

    return handler


def mode_select(size: int) -> Handler:
    """SPC-4 §6.9, §6.10: pages in the standard's format, none saved."""

    def handler(unit: Unit, block: bytes) -> Outcome:
        if block[1] & 1 or not block[1] & 0x10:
            raise CheckCondition(senses.INVALID_FIELD.at(1))
        length = block[4] if size == 6 else int.from_bytes(block[7:9], "big")
        return collect(unit, "set_pages", block, length)

    return handler


@action
def set_pages(unit: Unit, block: bytes, data: bytes) -> None:
    """A block descriptor may come along if it says what is the case: the block size."""
    header = 4 if block[0] == 0x15 else 8
    if len(data) < header:
        raise CheckCondition(senses.PARAMETER_LIST_LENGTH)
    described = data[3] if header == 4 else int.from_bytes(data[6:8], "big")
    start = header + described
    if described not in (0, 8) or (header == 8 and data[4] & 1):
        raise CheckCondition(senses.INVALID_PARAMETER.at(header - 1))
    if len(data) < start:
        raise CheckCondition(senses.PARAMETER_LIST_LENGTH)
    if described and int.from_bytes(data[start - 3 : start], "big") != unit.block_size:
        raise CheckCondition(senses.INVALID_PARAMETER.at(start - 3))
    pages = changed(unit.pages, data, start)
    if unit.medium and not unit.write_through:
        unit.flush(unit.medium_number)
    unit.pages = pages


# Start, stop, lock


def start_stop_unit(unit: Unit, block: bytes) -> Outcome:
    """SBC-3 §5.25. What is stopped or ejected is durable first; power conditions are no concern here."""
    if block[4] >> 4:
        return None
    load, start = block[4] & 2, block[4] & 1
    if load and not unit.nature.removable:
        raise CheckCondition(senses.INVALID_FIELD.at(4))
    if start:
        if load and unit.medium is None:
            raise CheckCondition(senses.NO_MEDIUM)
        _stop(unit, False)
    elif load:
        _eject(unit)
    else:
        if unit.medium:
            unit.flush(unit.medium_number)
        _stop(unit, True)
    return None


def _stop(unit: Unit, stopped: bool) -> None:
    if stopped != unit.stopped:
        unit.stopped = stopped
        unit.tell(Stopped(stopped, unit.nature.index))


def _eject(unit: Unit) -> None:
    if unit.prevented:
        raise CheckCondition(senses.REMOVAL_PREVENTED)
    if unit.medium:
        unit.flush(unit.medium_number)
        unit.remove()
        unit.tell(Ejected(unit.nature.index))


def prevent_allow(unit: Unit, block: bytes) -> Outcome:
    prevented = block[4] & 1 != 0
    if prevented != unit.prevented:
        unit.prevented = prevented
        unit.tell(Prevented(prevented, unit.nature.index))
    return None


def send_diagnostic(unit: Unit, block: bytes) -> Outcome:
    """Only the default self-test, which passes. SPC-4 §6.42."""
    if not block[1] & 4 or block[1] & 0xE3 or any(block[3:5]):
        raise CheckCondition(senses.INVALID_FIELD.at(1))
    return None
