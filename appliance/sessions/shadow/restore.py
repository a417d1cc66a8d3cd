"""What a fresh device hears before its client's URBs do: generators of transfers. Sans-IO.

Each yields a `Transfer` of its own and is sent its `Outcome`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from appliance.exports.takeover import Disk
from appliance.sessions.shadow.plan import Plan, Replug
from gadgets.usb.urb import ENDPOINT_IN

SETUP: Final = 8
BLOCK: Final = Struct("<4sIIBBB16s")
"""CBW: signature tag length flags lun size command"""
STATUS: Final = Struct("<4sIIB")
"""CSW: signature tag residue status"""
TAG: Final = 0x7719_0000
"""Of our own commands."""
TRIES: Final = 4
SENSE_SIZE: Final = 18
TEST_UNIT_READY: Final = bytes(16)
REQUEST_SENSE: Final = bytes((3, 0, 0, 0, SENSE_SIZE)) + bytes(11)
UNIT_ATTENTION: Final = 6
MAX_LUN: Final = 15


@dataclass(frozen=True, slots=True)
class Transfer:
    """`data` for OUT, `length` for IN; `setup` for endpoint 0."""

    address: int
    data: bytes = b""
    length: int = 0
    setup: bytes = bytes(SETUP)


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int = 0
    data: bytes = b""


Steps = Generator[Transfer, Outcome, None]


def steps(plan: Plan) -> Steps:
    """All that `plan` wants the device to hear. Raises Replug."""
    yield from repeat(plan.requests)
    for disk in plan.disks:
        yield from calm(disk)


def repeat(requests: Iterable[bytes]) -> Steps:
    for request in requests:
        outcome = yield Transfer(0x00, request[SETUP:], setup=request[:SETUP])
        if outcome.status:
            raise Replug(f"the device refuses what it accepted before: request {request[:SETUP].hex()}")


def calm(disk: Disk) -> Steps:
    """Hear each unit's attention, lest the client take its own power-on for another medium (SAM-5 5.14)."""
    told = yield Transfer(0x80, length=1, setup=bytes((0xA1, 0xFE, 0, 0, disk.interface, 0, 1, 0)))
    units = 1 + min(told.data[0], MAX_LUN) if not told.status and told.data else 1
    for lun in range(units):
        for _ in range(TRIES):
            if (passed := (yield from command(disk, lun, TEST_UNIT_READY))[0]) is None:
                yield from reset(disk)
            if passed is not False:
                break
            known, sense = yield from command(disk, lun, REQUEST_SENSE, SENSE_SIZE)
            if known is None:
                yield from reset(disk)
            if len(sense) < 3 or sense[2] & 0x0F != UNIT_ATTENTION:
                break  # whatever else it is, the client shall hear it


def command(
    disk: Disk, lun: int, block: bytes, length: int = 0
) -> Generator[Transfer, Outcome, tuple[bool | None, bytes]]:
    """Whether it passed (None: the device has lost step), and its data."""
    flags = ENDPOINT_IN if length else 0
    sent = yield Transfer(disk.outward, BLOCK.pack(b"USBC", TAG, length, flags, lun, 6, block))
    if sent.status:
        return None, b""
    data = b""
    if length:
        answer = yield Transfer(disk.inward, length=length)
        if answer.status:
            return None, b""
        data = answer.data
    status = yield Transfer(disk.inward, length=STATUS.size)
    if status.status or len(status.data) != STATUS.size:
        return None, b""
    signature, tag, _, code = STATUS.unpack(status.data)
    return (code == 0 if (signature, tag) == (b"USBS", TAG) and code < 2 else None), data


def reset(disk: Disk) -> Steps:
    """Bulk-Only Transport 5.3.4."""
    yield Transfer(0x00, setup=bytes((0x21, 0xFF, 0, 0, disk.interface, 0, 0, 0)))
    for address in (disk.inward, disk.outward):
        yield Transfer(0x00, setup=bytes((0x02, 0x01, 0, 0, address, 0, 0, 0)))
