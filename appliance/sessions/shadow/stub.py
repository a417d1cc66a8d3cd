"""Transfers of our own to a fresh stub, one after the other, before its client's: the shell of restore.py."""

from __future__ import annotations

import socket
from itertools import count
from time import monotonic
from typing import Final

from appliance.errors import DeviceFailed
from appliance.sessions.shadow.restore import Outcome, Steps, Transfer
from appliance.usbip.wire import HEADER_SIZE, REPLY, Command, Submit
from gadgets.usb.urb import ENDPOINT_IN

PRIVATE: Final = 0xF000_0000
"""Seqnums of our own begin here; no client has come as far when it has no others in flight."""
PATIENCE: Final = 5.0
"""Seconds for all of it: what a client waits for a control request."""


def carry_out(steps: Steps, stub: socket.socket, devid: int, patience: float = PATIENCE) -> None:
    """Blocking. Raises what `steps` raises, and DeviceFailed when the stub does not answer."""
    deadline = monotonic() + patience
    seqnums = count(PRIVATE)
    outcome: Outcome | None = None
    try:
        while True:
            transfer = next(steps) if outcome is None else steps.send(outcome)
            outcome = transferred(transfer, next(seqnums), stub, devid, deadline)
    except StopIteration:
        return
    except OSError as error:
        raise DeviceFailed(f"the device does not answer: {error.strerror or error}") from None


def transferred(transfer: Transfer, seqnum: int, stub: socket.socket, devid: int, deadline: float) -> Outcome:
    inward = transfer.address & ENDPOINT_IN != 0
    length = transfer.length if inward else len(transfer.data)
    header = Submit(
        seqnum, devid, int(inward), transfer.address & 0x0F, 0, length, 0, 0, 0, transfer.setup
    ).pack()
    stub.settimeout(max(deadline - monotonic(), 0.001))
    stub.sendall(header + transfer.data)
    command, answered, _, _, _, status, actual, *_ = REPLY.unpack(receive(stub, HEADER_SIZE, deadline))
    if (command, answered) != (Command.RET_SUBMIT, seqnum) or not 0 <= actual <= length:
        raise DeviceFailed("the device's side answers what was not asked")
    return Outcome(status, receive(stub, actual, deadline) if inward else b"")


def receive(stub: socket.socket, size: int, deadline: float) -> bytes:
    data = b""
    while len(data) < size:
        stub.settimeout(max(deadline - monotonic(), 0.001))
        if not (piece := stub.recv(size - len(data))):
            raise DeviceFailed("the device is gone again")
        data += piece
    return data
