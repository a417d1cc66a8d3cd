"""A disk behind the bridge: a host writes and reads it as Bulk-Only does, packet by packet."""

from __future__ import annotations

import struct

import pytest

from gadgets.storage.function import Disk
from gadgets.storage.lun import Lun
from gadgets.udc.bridge import READS, Bridge
from gadgets.usb.compose import compose
from tests.unit.gadgets.host import IDENTITY
from tests.unit.gadgets.udc.kernels import Kernel

IN, OUT = 0x81, 0x01
READ, WRITE = 0x28, 0x2A


class Host:
    """Its cable has packets of `packet` bytes; a read of the device ends when full, or at a short one."""

    def __init__(self, packet: int) -> None:
        self.packet = packet
        self.disk = Disk(luns=(Lun("memory:1M"),))
        device = compose(IDENTITY, [self.disk])
        self.kernel = Kernel()
        self.bridge = Bridge(device, self.kernel, device.coming)
        self.bridge.attach()
        self.bridge.enable({IN: packet, OUT: packet})
        self.filled = b""

    def send(self, data: bytes) -> None:
        for at in range(0, len(data), self.packet):
            self.filled += data[at : at + self.packet]
            if len(self.filled) == self.kernel.lengths[0] or len(self.filled) % self.packet:
                self.kernel.lengths.pop(0)
                arrived, self.filled = self.filled, b""
                self.bridge.received(OUT, arrived)

    def fetch(self) -> bytes:
        endpoint, data = self.kernel.written.pop(0)
        self.bridge.written(endpoint)
        return data

    def command(self, block: bytes, expected: int, data: bytes = b"") -> bytes:
        """The data that came; the status must be good."""
        flags = 0 if data else 0x80
        self.send(struct.pack("<4sIIBBB16s", b"USBC", 7, expected, flags, 0, len(block), block))
        self.send(data)
        answer = b""
        while not data and len(answer) < expected:
            answer += self.fetch()
        assert self.fetch() == struct.pack("<4sIIB", b"USBS", 7, 0, 0)
        return answer


@pytest.mark.parametrize("packet", [512, 64])
def test_blocks_come_back_as_they_were_written_at_the_speed_of_any_link(packet: int) -> None:
    host = Host(packet)
    try:
        host.send(struct.pack("<4sIIBBB16s", b"USBC", 1, 0, 0, 0, 6, bytes(6)))
        host.fetch()
        host.command(bytes((0x03, 0, 0, 0, 18, 0)), 18)
        data = bytes(range(256)) * 300
        blocks = len(data) // 512
        host.command(struct.pack(">BBIBHB", WRITE, 0, 3, 0, blocks, 0), len(data), data)
        assert len(host.kernel.lengths) == READS
        assert host.kernel.lengths[-1] == packet, "the next command is one packet"
        assert host.command(struct.pack(">BBIBHB", READ, 0, 3, 0, blocks, 0), len(data)) == data
    finally:
        host.disk.close()
