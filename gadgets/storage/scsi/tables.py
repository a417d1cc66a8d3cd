"""Which commands a disk and a CD-ROM drive know, each with its handler and what it needs."""

from __future__ import annotations

from collections.abc import Iterable

from gadgets.storage.scsi import blocks, disc, primary
from gadgets.storage.scsi import sense as senses
from gadgets.storage.scsi.command import Command, Handler, Outcome, reply
from gadgets.storage.scsi.inquiry import inquiry
from gadgets.storage.scsi.sense import CheckCondition
from gadgets.storage.scsi.unit import Needs, Unit

NOTHING, CALM, MEDIUM, WRITABLE = Needs
TIMEOUTS = 0x80


def report_supported_operation_codes(unit: Unit, block: bytes) -> Outcome:
    """All commands, or one: by opcode (1), with its service action (2), or either (3). SPC-4 §6.35."""
    table = TABLES[unit.nature.cdrom]
    options, opcode, action = block[2] & 7, block[3], int.from_bytes(block[4:6], "big")
    with_timeouts, allocation = block[2] & TIMEOUTS != 0, int.from_bytes(block[6:10], "big")
    if options == 0:
        body = b"".join(_listed(command, with_timeouts) for command in table.values())
        return reply(len(body).to_bytes(4, "big") + body, allocation)
    has_actions = opcode in SERVICE_ACTIONS
    if options > 3 or (options == 1 and has_actions) or (options == 2 and not has_actions):
        raise CheckCondition(senses.INVALID_FIELD.at(2))
    key = opcode | (action << 8 if has_actions else 0)
    command = table.get(key) if has_actions or not action else None
    if command is None:
        return reply(bytes((0, 1, 0, 0)), allocation)
    head = bytes((0, 3 | with_timeouts << 7)) + len(command.usage).to_bytes(2, "big")
    return reply(head + command.usage + with_timeouts * _NO_TIMEOUT, allocation)


_NO_TIMEOUT = b"\0\x0a" + bytes(10)


def _listed(command: Command, with_timeouts: bool) -> bytes:
    action = command.action or 0
    flags = with_timeouts << 1 | (command.action is not None)
    size = len(command.usage)
    head = bytes((command.usage[0], 0)) + action.to_bytes(2, "big") + bytes((0, flags, 0, size))
    return head + with_timeouts * _NO_TIMEOUT


def _row(name: str, usage: str, handler: Handler, needs: Needs, action: int | None = None) -> Command:
    return Command(name, bytes.fromhex(usage), handler, needs, action)


COMMON = (
    _row("TEST UNIT READY", "00 00 00 00 00 00", primary.test_unit_ready, MEDIUM),
    _row("REQUEST SENSE", "03 01 00 00 ff 00", primary.request_sense, NOTHING),
    _row("INQUIRY", "12 01 ff ff ff 00", inquiry, NOTHING),
    _row("MODE SELECT(6)", "15 10 00 00 ff 00", primary.mode_select(6), CALM),
    _row("MODE SENSE(6)", "1a 08 ff ff ff 00", primary.mode_sense(6), CALM),
    _row("START STOP UNIT", "1b 00 00 00 03 00", primary.start_stop_unit, CALM),
    _row("SEND DIAGNOSTIC", "1d 04 00 00 00 00", primary.send_diagnostic, CALM),
    _row("PREVENT ALLOW MEDIUM REMOVAL", "1e 00 00 00 01 00", primary.prevent_allow, CALM),
    _row("READ CAPACITY(10)", "25 00 ff ff ff ff 00 00 01 00", blocks.read_capacity_10, MEDIUM),
    _row("READ(10)", "28 18 ff ff ff ff 00 ff ff 00", blocks.read(10), MEDIUM),
    _row("SEEK(10)", "2b 00 ff ff ff ff 00 00 00 00", blocks.seek, MEDIUM),
    _row("VERIFY(10)", "2f 12 ff ff ff ff 00 ff ff 00", blocks.verify(10), MEDIUM),
    _row("MODE SELECT(10)", "55 10 00 00 00 00 00 ff ff 00", primary.mode_select(10), CALM),
    _row("MODE SENSE(10)", "5a 08 ff ff 00 00 00 ff ff 00", primary.mode_sense(10), CALM),
    _row(
        "READ CAPACITY(16)",
        "9e 1f 00 00 00 00 00 00 00 00 ff ff ff ff 00 00",
        blocks.read_capacity_16,
        MEDIUM,
        0x10,
    ),
    _row("REPORT LUNS", "a0 00 ff 00 00 00 ff ff ff ff 00 00", primary.report_luns, NOTHING),
    _row(
        "REPORT SUPPORTED OPERATION CODES",
        "a3 1f 87 ff ff ff ff ff ff ff 00 00",
        report_supported_operation_codes,
        CALM,
        0x0C,
    ),
    _row("READ(12)", "a8 18 ff ff ff ff ff ff ff ff 00 00", blocks.read(12), MEDIUM),
)

ONLY_DISKS = (
    _row("READ(6)", "08 1f ff ff ff 00", blocks.read(6), MEDIUM),
    _row("WRITE(6)", "0a 1f ff ff ff 00", blocks.write(6), WRITABLE),
    _row("READ FORMAT CAPACITIES", "23 00 00 00 00 00 00 ff ff 00", blocks.read_format_capacities, CALM),
    _row("WRITE(10)", "2a 18 ff ff ff ff 00 ff ff 00", blocks.write(10), WRITABLE),
    _row("WRITE AND VERIFY(10)", "2e 10 ff ff ff ff 00 ff ff 00", blocks.write(10, verify=True), WRITABLE),
    _row("SYNCHRONIZE CACHE(10)", "35 02 ff ff ff ff 00 ff ff 00", blocks.synchronize_cache(10), MEDIUM),
    _row("WRITE SAME(10)", "41 08 ff ff ff ff 00 ff ff 00", blocks.write_same(10), WRITABLE),
    _row("UNMAP", "42 00 00 00 00 00 00 ff ff 00", blocks.unmap, WRITABLE),
    _row("READ(16)", "88 18 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", blocks.read(16), MEDIUM),
    _row("WRITE(16)", "8a 18 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", blocks.write(16), WRITABLE),
    _row("WRITE AND VERIFY(16)", "8e 10 ff ff ff ff ff ff ff ff ff ff ff ff 00 00",
         blocks.write(16, verify=True), WRITABLE),
    _row("VERIFY(16)", "8f 12 ff ff ff ff ff ff ff ff ff ff ff ff 00 00", blocks.verify(16), MEDIUM),
    _row("SYNCHRONIZE CACHE(16)", "91 02 ff ff ff ff ff ff ff ff ff ff ff ff 00 00",
         blocks.synchronize_cache(16), MEDIUM),
    _row("WRITE SAME(16)", "93 09 ff ff ff ff ff ff ff ff ff ff ff ff 00 00",
         blocks.write_same(16), WRITABLE),
    _row("WRITE(12)", "aa 18 ff ff ff ff ff ff ff ff 00 00", blocks.write(12), WRITABLE),
    _row("WRITE AND VERIFY(12)", "ae 10 ff ff ff ff ff ff ff ff 00 00",
         blocks.write(12, verify=True), WRITABLE),
    _row("VERIFY(12)", "af 12 ff ff ff ff ff ff ff ff 00 00", blocks.verify(12), MEDIUM),
)  # fmt: skip

ONLY_CDROMS = (
    _row("READ TOC", "43 02 0f 00 00 00 ff ff ff c0", disc.read_toc, MEDIUM),
    # These two pass a unit attention, or hosts that poll would lose it. MMC-6 §4.1.6.
    _row("GET CONFIGURATION", "46 03 ff ff 00 00 00 ff ff 00", disc.get_configuration, NOTHING),
    _row("GET EVENT STATUS NOTIFICATION", "4a 01 00 00 ff 00 00 ff ff 00", disc.get_event_status, NOTHING),
    _row("READ DISC INFORMATION", "51 07 00 00 00 00 00 ff ff 00", disc.read_disc_information, MEDIUM),
    _row("READ TRACK INFORMATION", "52 03 ff ff ff ff 00 ff ff 00", disc.read_track_information, MEDIUM),
    _row("READ DISC STRUCTURE", "ad 00 00 00 00 00 ff ff ff ff 00 00", disc.read_disc_structure, MEDIUM),
    _row("MECHANISM STATUS", "bd 00 00 00 00 00 00 00 ff ff 00 00", disc.mechanism_status, CALM),
)


def _table(rows: Iterable[Command]) -> dict[int, Command]:
    return {command.key: command for command in sorted(rows, key=lambda command: command.usage[0])}


SERVICE_ACTIONS = frozenset(command.usage[0] for command in COMMON if command.action is not None)
"""Opcodes whose byte 1 says what they do."""
TABLES = {False: _table((*COMMON, *ONLY_DISKS)), True: _table((*COMMON, *ONLY_CDROMS))}
"""Whether it is a CD-ROM drive → opcode, with the service action above it → command."""
