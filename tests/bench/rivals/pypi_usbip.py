"""The same disk by PyPI's `usbip` 0.7.0: `python -m tests.bench.rivals.pypi_usbip PORT MEGABYTES`."""

from __future__ import annotations

import signal
import sys

from usbip import USBDevice
from usbip.classes.device.msc import MSC
from usbip.core import SPEED_HIGH
from usbip.transport import USBIP

BLOCK = 512


class MemoryStore:
    """As its own example keeps an image file, without the file."""

    block_size = BLOCK

    def __init__(self, megabytes: int) -> None:
        self.data = bytearray(megabytes << 20)
        self.num_blocks = len(self.data) // BLOCK

    def read(self, lba: int, count: int) -> bytes:
        return bytes(self.data[lba * BLOCK : (lba + count) * BLOCK])

    def write(self, lba: int, count: int, data: bytes) -> None:
        self.data[lba * BLOCK : (lba + count) * BLOCK] = data


def main() -> None:
    port, megabytes = map(int, sys.argv[1:])
    device = USBDevice(0x1209, 0x0008, product="Stick", serial="RIVAL")
    device.set_speed(SPEED_HIGH)
    device.add(MSC(MemoryStore(megabytes)))
    device.plug(via=USBIP("127.0.0.1", port))
    print("serving", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
