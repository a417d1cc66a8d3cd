"""The URB phase of a session with a software device: bytes in, URBs out; completions in, bytes out.

What a client relies on, and this keeps (drivers/usb/usbip/stub_rx.c, vhci_rx.c):

1. Each CMD_SUBMIT is answered at most once, with its own seqnum and number_of_packets.
2. An unlinked URB that was in flight gets RET_UNLINK −104 and never a RET_SUBMIT.
3. An URB that was answered before its unlink gets RET_UNLINK 0, behind its RET_SUBMIT.
4. A reply to IN carries what it says, never more than was asked; a reply to OUT carries nothing.
5. What a client can make us hold is bounded.

So that 2 and 3 hold, the caller handles events in order and writes bytes in the order it gets them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest
from mmap import mmap
from struct import Struct
from typing import Any

from appliance.errors import ProtocolError
from appliance.usbip.wire import (
    COMMAND,
    HEADER_SIZE,
    ISO_PACKET,
    MAX_ISO_PACKETS,
    MAX_TRANSFER,
    REPLY,
    Command,
    RetUnlink,
    Unlink,
    check_submit,
    pack_iso,
    unpack_iso,
)
from gadgets.usb.urb import (
    ENDPOINT_IN,
    SHORT_NOT_OK,
    Completion,
    IsoPacket,
    SetupPacket,
    Status,
    TransferType,
    Urb,
)

MAX_IN_FLIGHT = 4096
"""URBs that a client may have in flight."""
MAX_BYTES = 64 << 20
"""Bytes that these may ask for or bring."""
CHUNK = 64 << 10
"""Bytes to receive at once where no long transfer is on its way."""
ROOM = HEADER_SIZE + MAX_TRANSFER + MAX_ISO_PACKETS * ISO_PACKET.size + CHUNK
WORTH_A_COPY = 8192
"""Bytes up to which one piece is cheaper to send than two."""

_ANSWER = Struct(">II12x5i8x")
"""REPLY without its zeros."""
SUBMIT, UNLINK, RET_SUBMIT = int(Command.SUBMIT), int(Command.UNLINK), int(Command.RET_SUBMIT)
OVERFLOW, REMOTEIO = int(Status.OVERFLOW), int(Status.REMOTEIO)
EMPTY = IsoPacket(0, 0, 0, Status.XDEV)
NOBODYS = (None, 0, 0)


class Stream:
    """One session.

    `transfer_type` tells the type in the descriptor of the endpoint with this address (0x81 = IN 1), None if
    there is none; a mapping's `get` will do.
    """

    def __init__(
        self,
        devid: int,
        transfer_type: Callable[[int], TransferType | None],
        max_in_flight: int = MAX_IN_FLIGHT,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._devid = devid
        self._transfer_type = transfer_type
        self._max_in_flight = max_in_flight
        self._max_bytes = max_bytes
        self.pending: dict[int, tuple[Urb, int, int]] = {}
        """What is not answered yet, by seqnum: the URB, number_of_packets as sent, when it came."""
        self._bytes = 0
        self._unlinking: dict[int, int] = {}
        """seqnum of the CMD_UNLINK that waits for the completion of this URB."""
        self._buffer = mmap(-1, ROOM)  # costs memory only where bytes have been
        self._view = memoryview(self._buffer)
        self._chunk = self._view[:CHUNK]
        self._end = 0
        """How many bytes wait there for the rest of theirs."""
        self._wanted = HEADER_SIZE
        """What `_end` must grow to before there is anything to do."""

    @property
    def in_flight(self) -> tuple[int, ...]:
        """The numbers of the URBs not yet answered, oldest first."""
        return tuple(self.pending)

    def space(self) -> memoryview:
        """Where to receive the client's next bytes: all that is missing of a transfer, or CHUNK."""
        if not self._end:
            return self._chunk
        return self._view[self._end : max(self._wanted, self._end + CHUNK)]

    def received(self, count: int, now: int = 0) -> list[Urb | Unlink]:
        """What the `count` bytes that are in `space` since `now` submit and unlink, however they were cut.

        Every Unlink goes to `unlinked`. ProtocolError: the session is over.
        """
        self._end = end = self._end + count
        if end < self._wanted:
            return []
        events: list[Urb | Unlink] = []
        data, at, pending = self._buffer, 0, self.pending
        self._wanted = HEADER_SIZE
        while end - at >= HEADER_SIZE:
            command, seqnum, devid, direction, ep, flags, length, start_frame, packets, interval, setup = (
                COMMAND.unpack_from(data, at)
            )
            if devid != self._devid:
                raise ProtocolError(f"the client names device {devid:#x} on the session of {self._devid:#x}")
            if command == SUBMIT:
                check_submit(direction, ep, length, packets)
                body = at + HEADER_SIZE
                iso = stop = body if direction else body + length
                endpoint = ep | direction << 7
                if packets > 0 and self._is_isochronous(endpoint):
                    stop += packets * ISO_PACKET.size
                if stop > end:
                    self._wanted = stop - at
                    break
                urb = Urb(
                    seqnum,
                    endpoint,
                    length,
                    b"" if direction else data[body:iso],
                    None if ep else SetupPacket.parse(setup),
                    flags,
                    unpack_iso(data[iso:stop], length) if stop > iso else (),
                    interval,
                    start_frame,
                )
                if seqnum in pending:
                    raise ProtocolError(f"the client submits URB {seqnum} while it is in flight")
                pending[seqnum] = urb, packets, now
                self._bytes += length
                events.append(urb)
                at = stop
            elif command == UNLINK:
                events.append(Unlink(seqnum, devid, flags))
                at += HEADER_SIZE
            else:
                raise ProtocolError(f"the client sent URB command {command}, which does not exist")
        if len(pending) > self._max_in_flight or self._bytes > self._max_bytes:
            raise ProtocolError(
                f"the client has {len(pending)} URBs of {self._bytes} bytes in flight; "
                f"{self._max_in_flight} of {self._max_bytes} bytes are allowed"
            )
        self._end = rest = end - at
        if at and rest:
            self._view[:rest] = self._view[at:end]
        return events

    def feed(self, data: bytes) -> list[Urb | Unlink]:
        """As `received`, for bytes that are somewhere else."""
        events: list[Urb | Unlink] = []
        left = memoryview(data)
        while left:
            space = self.space()
            part = left[: len(space)]
            space[: len(part)] = part
            events += self.received(len(part))
            left = left[len(part) :]
        return events

    def answer(self, done: Completion) -> tuple[bytes, ...]:
        """What to send, in pieces, for the URB of this number; nothing if it is not in flight any more."""
        number = done.number
        urb, packets, _ = self.pending.pop(number, NOBODYS)
        if urb is None:
            return ()
        self._bytes -= urb.length
        status, data = done.status, done.data
        if urb.packets:
            return self._behind(number, (_isochronous(urb, done),))
        if not urb.endpoint & ENDPOINT_IN:
            data = b""
            actual_length = min(done.actual_length, urb.length)
        else:
            room = urb.length if urb.setup is None else min(urb.length, urb.setup.length)
            actual_length = len(data)
            if actual_length > room:
                status, data, actual_length = OVERFLOW, data[:room], room
            elif actual_length < room and urb.flags & SHORT_NOT_OK and status == 0:
                status = REMOTEIO
        header = _ANSWER.pack(
            RET_SUBMIT, number, status, actual_length, done.start_frame, packets, done.error_count
        )
        pieces = (header + data,) if len(data) <= WORTH_A_COPY else (header, data)
        return self._behind(number, pieces) if self._unlinking else pieces

    def unlinked(self, unlink: Unlink, cancelled: bool) -> bytes:
        """The answer to an Unlink. `cancelled`: the device had the URB and will never complete it.

        If it was not cancelled and its completion is still to come here, so is this answer, behind it.
        """
        urb, *_ = self.pending.get(unlink.number, NOBODYS)
        if urb is None:
            return RetUnlink(unlink.seqnum, 0).pack()
        if cancelled:
            del self.pending[unlink.number]
            self._bytes -= urb.length
            return RetUnlink(unlink.seqnum, Status.CONNRESET).pack()
        if unlink.number in self._unlinking:
            raise ProtocolError(f"the client unlinks URB {unlink.number} again before it was answered")
        self._unlinking[unlink.number] = unlink.seqnum
        return b""

    # Written down

    def snapshot(self) -> dict[str, Any]:
        """All its state, as plain values and bytes; the data that pending URBs brought is the device's."""
        return {
            "rest": bytes(self._view[: self._end]),
            "wanted": self._wanted,
            "pending": [[*_plain(urb), packets] for urb, packets, _ in self.pending.values()],
            "unlinking": [list(both) for both in self._unlinking.items()],
        }

    def restore(self, state: Mapping[str, Any], now: int = 0) -> None:
        """Go on where the snapshot was taken; what is pending counts as come `now`."""
        self._end, self._wanted = len(state["rest"]), state["wanted"]
        self._view[: self._end] = state["rest"]
        urbs = ((_urb(*plain), packets) for *plain, packets in state["pending"])
        self.pending = {urb.number: (urb, packets, now) for urb, packets in urbs}
        self._bytes = sum(urb.length for urb, *_ in self.pending.values())
        self._unlinking = dict(state["unlinking"])

    def abandon(self) -> tuple[int, ...]:
        """The client is gone: the numbers that the device must unlink. Nothing is answered any more."""
        left = self.in_flight
        self.pending.clear()
        self._unlinking.clear()
        self._end = self._bytes = 0
        return left

    def _is_isochronous(self, endpoint: int) -> bool:
        """For an endpoint without a descriptor only the count is left to tell what follows the header."""
        return self._transfer_type(endpoint) in (TransferType.ISOCHRONOUS, None)

    def _behind(self, number: int, answer: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """The answer, and that to the unlink of what was answered meanwhile."""
        seqnum = self._unlinking.pop(number, None)
        return answer if seqnum is None else (*answer, RetUnlink(seqnum, 0).pack())


def _plain(urb: Urb) -> tuple[int, int, int, bytes, int, list[tuple[int, int]]]:
    """What its answer depends on."""
    setup = urb.setup.emit() if urb.setup else b""
    packets = [(packet.offset, packet.length) for packet in urb.packets]
    return urb.number, urb.endpoint, urb.length, setup, urb.flags, packets


def _urb(
    number: int, endpoint: int, length: int, setup: bytes, flags: int, packets: list[tuple[int, int]]
) -> Urb:
    parsed = SetupPacket.parse(setup) if setup else None
    return Urb(number, endpoint, length, b"", parsed, flags, tuple(IsoPacket(*each) for each in packets))


def _isochronous(urb: Urb, done: Completion) -> bytes:
    """The whole answer to an isochronous URB, its sums right whatever the device says.

    As many packets as were asked for, at their offsets, none longer than asked, and for IN as many bytes as
    they say. A packet that the device left out did not happen (−EXDEV).
    """
    data, at, parts, packets = memoryview(done.data), 0, [], []
    for asked, given in zip_longest(urb.packets, done.packets[: len(urb.packets)], fillvalue=EMPTY):
        actual_length, status = given.actual_length, given.status
        if actual_length > asked.length:
            actual_length, status = asked.length, OVERFLOW
        if urb.is_in:
            parts.append(data[at : at + actual_length])
            at += given.actual_length
            actual_length = len(parts[-1])
        packets.append(IsoPacket(asked.offset, asked.length, actual_length, status))
    header = REPLY.pack(
        RET_SUBMIT,
        urb.number,
        0,
        0,
        0,
        done.status,
        sum(packet.actual_length for packet in packets),
        done.start_frame,
        len(packets),
        sum(packet.status != 0 for packet in packets),
    )
    return b"".join((header, *parts, pack_iso(packets)))
