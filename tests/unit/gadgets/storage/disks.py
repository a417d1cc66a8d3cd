"""Test doubles: media in memory, and a host that speaks Bulk-Only Transport."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from appliance.errors import Busy, MediumError, NotFound
from gadgets.storage.function import Disk
from gadgets.storage.lun import Lun
from gadgets.storage.media.medium import Medium
from gadgets.usb.compose import Identity, compose
from gadgets.usb.device import GadgetDevice
from gadgets.usb.urb import Completion, Speed, Status
from tests.unit.gadgets.host import Host

IDENTITY = Identity(0x1209, 0x0003, "Twinhub", "Disk", "0001")
CSW = struct.Struct("<4sIIB")
IN, OUT = 0x81, 0x01
PASSED, FAILED, PHASE_ERROR = 0, 1, 2


class Ram:
    """A medium that counts flushes and fails on demand: in these operations."""

    def __init__(self, size: int, *, read_only: bool = False) -> None:
        self.data = bytearray(size)
        self.size, self.read_only = size, read_only
        self.flushes = 0
        self.failing: set[str] = set()
        self.reads: list[int] = []
        self.closed = False

    def _work(self, operation: str) -> None:
        assert not self.closed
        if operation in self.failing:
            raise MediumError(f"{operation} fails")

    def read(self, offset: int, length: int) -> bytes:
        self._work("read")
        assert 0 <= offset <= offset + length <= self.size
        self.reads.append(length)
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._work("write")
        assert 0 <= offset <= offset + len(data) <= self.size
        assert not self.read_only
        self.data[offset : offset + len(data)] = data

    def flush(self) -> None:
        self._work("flush")
        self.flushes += 1

    def discard(self, offset: int, length: int) -> None:
        self._work("discard")
        assert 0 <= offset <= offset + length <= self.size
        self.data[offset : offset + length] = bytes(length)

    def close(self) -> None:
        self.closed = True


class Huge(Ram):
    """More than memory holds; only what is written near its end is kept, all else reads as zeros."""

    def __init__(self, size: int) -> None:
        super().__init__(0)
        self.size = size
        self.kept: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= self.size
        self.reads.append(length)
        return self.kept.get(offset, b"").ljust(length, b"\0")[:length]

    def write(self, offset: int, data: bytes | memoryview) -> None:
        assert 0 <= offset <= offset + len(data) <= self.size
        self.kept[offset] = bytes(data)

    def discard(self, offset: int, length: int) -> None:
        assert 0 <= offset <= offset + length <= self.size
        self.kept = {at: data for at, data in self.kept.items() if not offset <= at < offset + length}


@dataclass
class Shelf:
    """An `open_medium`: by name what is on the shelf, once at a time, or "ram:BLOCKS" and "huge:BLOCKS"."""

    there: dict[str, Ram] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for medium in self.there.values():
            medium.closed = True

    def __call__(self, spec: str, /, *, read_only: bool, block_size: int) -> Medium:
        kind, _, count = spec.partition(":")
        if spec in self.there:
            medium = self.there[spec]
            if not medium.closed:
                raise Busy(f"{spec} is in use")
            medium.closed = False
            return medium
        if kind == "ram":
            return Ram(int(count) * block_size, read_only=read_only)
        if kind == "huge":
            return Huge(int(count) * block_size)
        raise NotFound(f"there is no {spec}")


@dataclass(frozen=True)
class Done:
    """How a command went: the CSW, the data, and which stage halted."""

    status: int
    residue: int
    data: bytes = b""
    halted: bool = False


def cbw(
    block: bytes, expected: int = 0, *, flags: int = 0x80, lun: int = 0, tag: int = 1, size: int | None = None
) -> bytes:
    length = len(block) if size is None else size
    return struct.pack("<4sIIBBB16s", b"USBC", tag, expected, flags, lun, length, block)


class DiskHost(Host):
    """What a host's mass storage driver does."""

    def __init__(
        self, device: GadgetDevice, *, configured: bool = True, transfer: int = 1 << 20, calm: bool = True
    ) -> None:
        super().__init__(device, configured=configured)
        self.transfer = transfer
        self.tag = 0
        self.disk: Disk = next(function for function in device.functions if isinstance(function, Disk))
        for lun in range(len(self.disk.units) if calm else 0):
            self.sense(lun)

    def command(self, block: bytes | str, expected: int = 0, data: bytes | None = None, **more: Any) -> Done:
        """CBW, data stage in transfers, CSW; a halt of IN is cleared once, as BOT figure 2 has it.
        `expected` bytes come in, or `data` goes out, or `expected` goes out of it."""
        block = bytes.fromhex(block) if isinstance(block, str) else block
        self.tag += 1
        flags = 0 if data is not None else 0x80
        expected = expected or len(data or b"")
        wrapper = cbw(block, expected, flags=flags, tag=self.tag, **more)
        assert self.submit(OUT, data=wrapper)[0].status == Status.OK
        if data is not None:
            self._send(data)
            return self._status(b"", False)
        return self._fetch(expected)

    def _send(self, data: bytes) -> None:
        for at in range(0, len(data), self.transfer):
            piece = data[at : at + self.transfer]
            done = self.submit(OUT, data=piece)
            assert [(c.status, c.actual_length) for c in done] == [(Status.OK, len(piece))]

    def _fetch(self, expected: int) -> Done:
        came, halted = b"", False
        while len(came) < expected and not halted:
            asked = min(self.transfer, expected - len(came))
            (done,) = self.submit(IN, asked)
            came += done.data
            halted = done.status == Status.PIPE
            if len(done.data) < asked:
                break
        return self._status(came, halted)

    def _status(self, data: bytes, halted: bool) -> Done:
        if halted:
            self.clear_halt(IN)
        (done,) = self.submit(IN, 13)
        if done.status == Status.PIPE:
            halted = True
            self.clear_halt(IN)
            (done,) = self.submit(IN, 13)
        assert len(done.data) == 13, done
        signature, tag, residue, status = CSW.unpack(done.data)
        assert (signature, tag) == (b"USBS", self.tag)
        return Done(status, residue, data, halted)

    def clear_halt(self, endpoint: int) -> None:
        assert self.control(f"02 01 0000 {endpoint:04x} 0000") == b""

    def reset(self) -> None:
        assert self.control("21 ff 0000 0000 0000") == b""

    def sense(self, lun: int = 0) -> str:
        """Key, code and qualifier: "6 29 00"."""
        data = self.raw_sense(lun)
        return f"{data[2] & 15:x} {data[12]:02x} {data[13]:02x}"

    def raw_sense(self, lun: int = 0) -> bytes:
        done = self.command("03 00 00 00 12 00", 18, lun=lun)
        assert done.status == PASSED
        return done.data

    def refused(self, block: bytes | str, expected: int = 0, data: bytes | None = None, lun: int = 0) -> str:
        """The sense of a command that fails."""
        assert self.command(block, expected, data, lun=lun).status == FAILED
        return self.sense(lun)

    def local(self, input: object) -> list[Completion]:
        return self.device.local(input)

    def told(self) -> list[object]:
        return [told.event for told in self.device.take_events() if told.function]


def disk_device(*luns: Lun, shelf: Shelf | None = None, speed: Speed = Speed.HIGH) -> GadgetDevice:
    disk = Disk(shelf or Shelf(), luns=luns or (Lun("ram:64"),))
    return compose(IDENTITY, [disk], speed=speed)


def host(*luns: Lun, shelf: Shelf | None = None, **more: Any) -> DiskHost:
    return DiskHost(disk_device(*luns, shelf=shelf), **more)


def ram(host: DiskHost, lun: int = 0) -> Ram:
    medium = host.disk.units[lun].medium
    assert isinstance(medium, Ram)
    return medium


def read_10(lba: int, count: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, count, 0)


def write_10(lba: int, count: int, *, fua: bool = False) -> bytes:
    return struct.pack(">BBIBHB", 0x2A, fua << 3, lba, 0, count, 0)


def pattern(host: DiskHost) -> bytes:
    """Every block of the medium different."""
    data = b"".join(bytes((number,)) * 512 for number in range(64))
    ram(host).data[:] = data
    return data
