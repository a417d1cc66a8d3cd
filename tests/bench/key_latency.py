"""Press a key at a gadget's control socket, see it in evdev; `… key_latency SOCKET NODE COUNT`, JSON out."""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from statistics import median

EVENT = struct.Struct("llHHi")
"""struct input_event on 64 bits: seconds, microseconds, type, code, value."""
EV_KEY, KEY_A = 1, 30


def main() -> None:
    path, node, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with socket.socket(socket.AF_UNIX) as gadget, open(node, "rb", buffering=0) as evdev:
        gadget.connect(path)
        taken = []
        for number in range(2 * count):
            pressed = number % 2 == 0
            began = time.perf_counter()
            give(gadget, {"press": ["a"]} if pressed else {"release": []})
            wait_for(evdev.read, pressed)
            if pressed:
                taken.append((time.perf_counter() - began) * 1e6)
            if not gadget.recv(4096).startswith(b'{"ok"'):
                raise RuntimeError("the gadget refused the key")
    taken.sort()
    print(json.dumps({"p50": median(taken), "p99": taken[int(len(taken) * 0.99)]}))


def give(gadget: socket.socket, input: dict[str, object]) -> None:
    gadget.sendall(json.dumps({"op": "local", "input": input}).encode() + b"\n")


def wait_for(read: object, value: int) -> None:
    assert callable(read)
    while True:
        *_, kind, code, found = EVENT.unpack(read(EVENT.size))
        if (kind, code, found) == (EV_KEY, KEY_A, int(value)):
            return


if __name__ == "__main__":
    main()
