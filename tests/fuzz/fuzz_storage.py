"""What a host may say to a disk: command wrappers, command blocks, data, in any order."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from random import Random

from appliance.errors import TwinhubError
from gadgets.storage.bot import CBW
from gadgets.storage.lun import Eject, Insert, Lun, MendBlocks, NotReady, SpoilBlocks, WriteProtect
from gadgets.storage.scsi.tables import TABLES
from gadgets.usb.urb import Completion, SetupPacket, Status, Urb
from tests.fuzz.harness import parser
from tests.fuzz.mutation import MUTATIONS, NUMBERS
from tests.unit.gadgets.storage.disks import IN, OUT, Ram, Shelf, disk_device

MEDIA = {"a": Ram(32 << 10), "b": Ram(64 << 10), "rom": Ram(40 << 10, read_only=True)}
DEVICE = disk_device(
    Lun("a"), Lun("b", block_size=4096, removable=False), Lun("rom", kind="cdrom"), shelf=Shelf(MEDIA)
)
CONFIGURE = SetupPacket(0x00, 0x09, 1)
RECOVER = (SetupPacket(0x21, 0xFF), SetupPacket(0x02, 1, 0, IN), SetupPacket(0x02, 1, 0, OUT))
DEVICE.submit(Urb(0, 0, setup=CONFIGURE))
FRESH = DEVICE.snapshot()

OPCODES = tuple(command.usage for table in TABLES.values() for command in table.values())
INPUTS = (
    Eject(), Eject(2, force=True), Insert("a"), Insert("rom", 2), Insert("none", 2), WriteProtect(True),
    WriteProtect(False, 1), SpoilBlocks(1, 9), MendBlocks(), NotReady(True), NotReady(False, 1),
)  # fmt: skip
LENGTHS = (0, 8, 13, 18, 36, 64, 255, 512, 2048, 4096, 8192, 1 << 16, (1 << 32) - 1)


def invent_block(random: Random) -> bytes:
    """A command that there is, with noise where it means something, or anywhere."""
    usage = random.choice(OPCODES)
    block = bytearray(byte & random.choice((0, 0, 0xFF, random.randrange(256))) for byte in usage)
    block[0] = usage[0]
    if usage[0] in (0x9E, 0xA3):
        block[1] = random.choice((0x10, 0x0C))
    elif len(block) >= 10 and random.random() < 0.6:
        block[2:10] = struct.pack(">IxHx" if len(block) == 10 else ">II", random.choice((0, 1, 5)), 2)
    if random.random() < 0.2:
        random.choice(MUTATIONS)(random, block)
    return bytes(block[:16])


def invent_wrapper(random: Random) -> bytes:
    block = invent_block(random)
    flags = random.choice((0x80, 0x80, 0x00, 0x00, 0x00, random.randrange(256)))
    size = random.choice((len(block), len(block), 16, random.randrange(256)))
    lun = random.choice((0, 0, 0, 1, 1, 2, 2, 3, random.randrange(256)))
    data = bytearray(
        CBW.pack(b"USBC", random.getrandbits(32), random.choice(LENGTHS), flags, lun, size, block)
    )
    if random.random() < 0.03:
        random.choice(MUTATIONS)(random, data)
    return bytes(data)


def invent_data(random: Random) -> bytes:
    """Parameter lists, blocks, noise."""
    match random.randrange(5):
        case 0:
            head = struct.pack(">HH4x", 22, 16) + struct.pack(">QI4x", random.randrange(70), 3)
            return head + random.choice(NUMBERS)
        case 1:
            return bytes.fromhex("00000000" + "0812" + "00" * 18)
        case 2:
            return random.randbytes(random.choice((1, 24, 512)))
        case _:
            return bytes((random.randrange(256),)) * random.choice((0, 512, 1024, 4096))


Step = Urb | SetupPacket | Insert | Eject | WriteProtect | SpoilBlocks | MendBlocks | NotReady


def invent_step(random: Random) -> list[Step]:
    """A command as a host would give it, a part of one, or something local."""
    chance = random.random()
    if chance < 0.1:
        return [random.choice(INPUTS)]
    if chance < 0.14:
        return list(RECOVER)
    wrapper = invent_wrapper(random)
    steps: list[Step] = [Urb(0, OUT, len(wrapper), wrapper)]
    for _ in range(random.randrange(3)):
        data = invent_data(random)
        length = random.choice(LENGTHS[:-1])
        steps.append(random.choice((Urb(0, OUT, len(data), data), Urb(0, IN, length))))
    return [*steps, Urb(0, IN, 13)]


@dataclass(frozen=True)
class Script:
    steps: list[Step]


def invent_script(random: Random) -> Script:
    return Script([step for _ in range(random.randrange(1, 6)) for step in invent_step(random)])


def play(random: Random, script: Script) -> None:
    """Each transfer ends at most once and with no more than asked; media stay as long as they were; what is
    written down says the same when read back; and in the end a reset makes all well."""
    DEVICE.restore(FRESH)
    in_flight: dict[int, Urb] = {}
    for number, step in enumerate(script.steps, 1):
        if isinstance(step, Urb):
            step.number = number
            in_flight[number] = step
            finish(in_flight, DEVICE.submit(step))
        elif isinstance(step, SetupPacket):
            finish(in_flight, [c for c in DEVICE.submit(Urb(0, 0, setup=step)) if c.number])
        else:
            try:
                finish(in_flight, DEVICE.local(step))
            except TwinhubError:
                pass
    if random.random() < 0.1:
        state = DEVICE.snapshot()
        DEVICE.restore(state)
        assert DEVICE.snapshot() == state
    assert all(len(medium.data) == medium.size for medium in MEDIA.values())
    recover()


def finish(in_flight: dict[int, Urb], done: list[Completion]) -> None:
    for completion in done:
        urb = in_flight.pop(completion.number)
        assert completion.actual_length <= urb.length
        assert len(completion.data) == (completion.actual_length if urb.is_in else 0)
        assert completion.status in (Status.OK, Status.PIPE, Status.OVERFLOW)


def recover() -> None:
    """BOT §5.3.4, after which INQUIRY works."""
    for number in range(100):
        DEVICE.unlink(number)
    for setup in RECOVER:
        DEVICE.submit(Urb(1000, 0, setup=setup))
    inquiry = CBW.pack(b"USBC", 7, 36, 0x80, 0, 6, bytes.fromhex("120000002400"))
    assert DEVICE.submit(Urb(1001, OUT, 31, inquiry))[0].status == Status.OK
    assert DEVICE.submit(Urb(1002, IN, 36))[0].data[8:15] == b"Twinhub"
    assert DEVICE.submit(Urb(1003, IN, 13))[0].data == b"USBS\x07" + bytes(8)
    DEVICE.take_events()


TARGETS = (parser("disk", invent_script, play, ()),)
