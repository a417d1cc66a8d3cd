"""Reads a disk for ever, come what may: `pair_reader.py NODE-PATTERN`, on the bare standard library.

"gap SECONDS" says how long nothing was read, where that is remarkable; "reads" comes with every 20th read.
"""

import glob
import mmap
import os
import sys
import time

BLOCK = 4096
REMARKABLE = 0.1
SAY = 20
PAUSE = 0.005


def main() -> None:
    buffer, disk, last, reads = mmap.mmap(-1, BLOCK), -1, time.monotonic(), 0
    while True:
        try:
            if disk < 0:
                disk = os.open(glob.glob(sys.argv[1])[0], os.O_RDONLY | os.O_DIRECT)
            read = os.preadv(disk, [buffer], 0)
        except (OSError, IndexError):
            read = 0
        if read < BLOCK:
            if disk >= 0:
                os.close(disk)
            disk = -1
            time.sleep(PAUSE)
            continue
        now = time.monotonic()
        if now - last > REMARKABLE:
            print(f"gap {now - last:.3f}", flush=True)
        reads += 1
        if reads % SAY == 0:
            print("reads", flush=True)
        last = now


main()
