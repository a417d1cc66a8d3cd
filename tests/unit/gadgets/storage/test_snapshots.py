"""Same inputs, same bytes out, and a disk written down at any point goes on as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import TwinhubError
from gadgets.storage.function import Disk
from gadgets.storage.lun import Eject, Insert, Lun, MendBlocks, NotReady, SpoilBlocks, WriteProtect
from gadgets.usb.compose import compose
from gadgets.usb.device import BusEvent, GadgetDevice
from gadgets.usb.urb import Urb
from tests.unit.gadgets.host import setup_of
from tests.unit.gadgets.storage.disks import CSW, IDENTITY, IN, OUT, PASSED, Ram, Shelf, cbw

Step = Callable[[GadgetDevice], object]


class Bench:
    """A disk of three units with media on a shelf of its own."""

    def __init__(self) -> None:
        self.media = {"a": Ram(16384), "b": Ram(8192), "rom": Ram(20480, read_only=True)}
        luns = (Lun("a"), Lun("b", block_size=1024, removable=False), Lun("rom", kind="cdrom"))
        self.device = compose(IDENTITY, [Disk(Shelf(self.media), luns=luns)])

    def copy(self) -> Bench:
        """By its snapshot; the media are copied beside it."""
        other = Bench()
        for name, medium in self.media.items():
            other.media[name].data[:] = medium.data
        other.device.restore(json.loads(plain(self.device.snapshot()), object_hook=with_bytes))
        return other

    def run(self, steps: list[Step]) -> str:
        return repr([step(self.device) for step in steps])


def plain(value: Any) -> str:
    """As JSON, bytes in hex; fails for anything else."""
    return json.dumps(value, default=lambda data: {"bytes": memoryview(data).hex()}, sort_keys=True)


def with_bytes(table: dict[str, Any]) -> Any:
    return bytes.fromhex(table["bytes"]) if set(table) == {"bytes"} else table


def locally(value: object) -> Step:
    def step(device: GadgetDevice) -> object:
        try:
            return device.local(value)
        except TwinhubError as error:
            return str(error)

    return step


BLOCKS = [
    bytes.fromhex(block)
    for block in (
        "000000000000", "030000001200", "120000006000", "1201b0006000", "1a003f00ff00", "1b0000000200",
        "1b0000000000", "1b0000000300", "1e0000000100", "2500000000000000000000", "28000000000200000400",
        "28000000001000000800", "2a000000000100000400", "2a080000000100000200", "2f020000000000000200",
        "35000000000000000000", "35020000000000000000", "41000000000300000500", "42000000000000001800",
        "43000000000000006400", "4a010000100000000800", "4600000000000000ff00", "151000001800",
        "a00000000000000001000000", "a30c000000000000100000", "88000000000000000000000000080000",
    )
]  # fmt: skip
SETUPS = [
    setup_of(request)
    for request in (
        "00 09 0001 0000 0000",
        "21 ff 0000 0000 0000",
        "a1 fe 0000 0000 0001",
        "02 01 0000 0081 0000",
        "02 01 0000 0001 0000",
        "01 0b 0000 0000 0000",
    )
]
LOCAL = [
    Insert("a"), Insert("b", 2), Insert("rom", 0, True), Insert("nowhere"), Eject(), Eject(2), Eject(2, True),
    Eject(1), WriteProtect(True), WriteProtect(False), SpoilBlocks(3, 5), MendBlocks(), NotReady(True, 1),
    NotReady(False, 1),
]  # fmt: skip

commands = st.builds(
    cbw,
    st.sampled_from(BLOCKS),
    st.sampled_from([0, 18, 24, 36, 255, 512, 1024, 2048, 4096, 70000]),
    flags=st.sampled_from([0x80, 0x80, 0x00, 0x00, 0x01]),
    lun=st.sampled_from([0, 0, 0, 1, 2, 3, 16]),
    tag=st.integers(0, 2**32 - 1),
)
payloads = st.sampled_from([b"", b"x" * 24, b"x" * 512, b"y" * 1024, b"z" * 1536, b"USBC"])


@st.composite
def sequences(draw: st.DrawFn) -> list[Step]:
    """Anything, but with a leaning to whole commands; numbers are those of the steps."""
    steps: list[Step] = [lambda device: device.submit(Urb(1000, 0, setup=SETUPS[0]))]
    return steps + [one(draw, number) for number in range(draw(st.integers(1, 30)))]


def one(draw: st.DrawFn, number: int) -> Step:
    match draw(st.sampled_from("cccciiiiooolllruub")):
        case "c":
            wrapper = draw(commands)
            return lambda device: device.submit(Urb(number, OUT, len(wrapper), wrapper))
        case "i":
            length = draw(st.sampled_from([0, 13, 13, 13, 100, 512, 1024, 4096]))
            return lambda device: device.submit(Urb(number, IN, length))
        case "o":
            data = draw(payloads)
            return lambda device: device.submit(Urb(number, OUT, len(data), data))
        case "l":
            return locally(draw(st.sampled_from(LOCAL)))
        case "r":
            setup = draw(st.sampled_from(SETUPS))
            direction = setup.request_type & 0x80
            return lambda device: device.submit(Urb(number, direction, setup.length, setup=setup))
        case "u":
            which = draw(st.integers(0, number))
            return lambda device: device.unlink(which)
        case _:
            event = draw(st.sampled_from(BusEvent))
            return lambda device: device.bus(event)


@given(sequences())
def test_same_inputs_give_byte_identical_completions(steps: list[Step]) -> None:
    first, second = Bench(), Bench()
    assert first.run(steps) == second.run(steps)
    assert plain(first.device.snapshot()) == plain(second.device.snapshot())


@given(sequences(), st.data())
def test_a_restored_disk_goes_on_in_mid_command(steps: list[Step], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(steps)))
    original = Bench()
    original.run(steps[:at])
    original.device.take_events()
    restored = original.copy()
    assert plain(restored.device.snapshot()) == plain(original.device.snapshot())
    assert restored.run(steps[at:]) == original.run(steps[at:])
    assert restored.device.take_events() == original.device.take_events()
    assert plain(restored.device.snapshot()) == plain(original.device.snapshot())
    for name, medium in original.media.items():
        assert (restored.media[name].data, restored.media[name].closed) == (medium.data, medium.closed)


def test_units_that_have_swapped_their_media_are_restored() -> None:
    subject = Bench()
    for step in (Eject(2), Eject(), Insert("rom"), Insert("a", 2)):
        subject.device.local(step)
    assert plain(subject.copy().device.snapshot()) == plain(subject.device.snapshot())


@given(sequences())
def test_a_snapshot_does_not_change_with_the_disk_it_was_taken_of(steps: list[Step]) -> None:
    subject = Bench()
    subject.run(steps[: len(steps) // 2])
    snapshot = subject.device.snapshot()
    before = plain(snapshot)
    subject.run(steps[len(steps) // 2 :])
    assert plain(snapshot) == before


@given(sequences())
def test_whatever_happened_a_reset_recovers(steps: list[Step]) -> None:
    """BOT §5.3.4: Bulk-Only Reset, clear both halts, and commands work again."""
    subject = Bench()
    subject.run(steps)
    subject.device.bus(BusEvent.ATTACH)
    recovery = [SETUPS[0], SETUPS[1], SETUPS[3], SETUPS[4]]
    for setup in recovery:
        assert subject.device.submit(Urb(2000, 0, setup=setup))[-1].status == 0
    subject.device.submit(Urb(2001, OUT, 31, cbw(BLOCKS[2], 96, tag=5)))
    assert subject.device.submit(Urb(2002, IN, 96))[0].data[8:15] == b"Twinhub"
    assert subject.device.submit(Urb(2003, IN, 13))[0].data == CSW.pack(b"USBS", 5, 0, PASSED)
