"""PDUs for the tests of sessions, and a device that has one endpoint of each kind."""

from __future__ import annotations

from struct import Struct
from typing import Final

from appliance.sessions.half import Half
from appliance.sessions.relay import Relay
from appliance.sessions.state import SessionSpec

DEVID: Final = 3 << 16 | 7
COMMAND: Final = Struct(">IIIIIIiiii8s")
ANSWER: Final = Struct(">IIIIIiiiii8x")

CONFIGURATION: Final = bytes.fromhex(
    "0902400002010080fa"
    "0904000004ff000000"  # interface 0
    "07058102000200"  # IN 1 bulk
    "07050202000200"  # OUT 2 bulk
    "07058303080004"  # IN 3 interrupt, bInterval 4
    "0705040300040a"  # OUT 4 interrupt
    "0904010000ff000000"  # interface 1, alternate 0: nothing
    "0904010102ff000000"  # alternate 1
    "07058505000301"  # IN 5 isochronous
    "07050605000301"  # OUT 6 isochronous
)
DESCRIPTORS: Final = bytes.fromhex("120100020000004009120100000100000002") + CONFIGURATION


def spec(**changes: object) -> SessionSpec:
    facts: dict[str, object] = {
        "id": "s1",
        "name": "dongle",
        "kind": "relayed",
        "peer": "192.0.2.5:50000",
        "started": 1.5,
        "busid": "3-1",
        "devid": DEVID,
        "configuration": 1,
        "descriptors": DESCRIPTORS,
    }
    return SessionSpec(**(facts | changes))  # type: ignore[arg-type]


def submit(
    seqnum: int,
    endpoint: int,
    length: int = 0,
    data: bytes = b"",
    *,
    packets: int = 0,
    interval: int = 1,
    setup: bytes = bytes(8),
    flags: int = 0,
    devid: int = DEVID,
) -> bytes:
    """CMD_SUBMIT; `data` is payload and descriptors together, and gives `length` where that is not given."""
    length = length or len(data) - 16 * max(packets, 0)
    direction, number = (1, endpoint & 0x7F) if endpoint & 0x80 else (0, endpoint)
    header = COMMAND.pack(1, seqnum, devid, direction, number, flags, length, 0, packets, interval, setup)
    return header + data


def unlink(seqnum: int, target: int) -> bytes:
    return COMMAND.pack(2, seqnum, DEVID, 0, 0, target, 0, 0, 0, 0, b"")


def answer(
    seqnum: int, data: bytes = b"", *, actual: int | None = None, status: int = 0, packets: int = 0
) -> bytes:
    """RET_SUBMIT; `actual` defaults to the payload's size."""
    actual = len(data) if actual is None else actual
    return ANSWER.pack(3, seqnum, 0, 0, 0, status, actual, 0, packets, 0) + data


def unlinked(seqnum: int, status: int = -104) -> bytes:
    return ANSWER.pack(4, seqnum, 0, 0, 0, status, 0, 0, 0, 0)


def through(half: Half, data: bytes, chunk: int = 1 << 16, now: int = 1) -> bytes:
    """What comes out when `data` comes in by `chunk` bytes."""
    out = b""
    for at in range(0, max(len(data), 1), chunk):
        piece = data[at : at + chunk]
        half.space()[: len(piece)] = piece
        half.received(len(piece), now)
        out += bytes(half.outgoing())
        half.sent(len(half.outgoing()))
    return out


def relay(**changes: object) -> Relay:
    return Relay.begin(spec(**changes))
