"""Follows a relay's two byte streams from some moment on and tells each URB and its completion. Sans-IO.

It reads what the relay forwards, apart from it, so that a relay without a capture pays nothing for it. URBs
that the relay answers itself go to no device and are not in the capture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from appliance.errors import ProtocolError
from appliance.sessions.endpoints import HEADER, Endpoint
from appliance.sessions.relay import Pending
from appliance.usbip.wire import REPLY, Command, Submit, unpack_command, unpack_iso
from gadgets.usb.urb import Completion, IsoPacket, SetupPacket, Status, TransferType, Urb

SNAP: Final = 65535
"""Bytes of a payload that are kept."""
ISO_SIZE: Final = 16


Finish = Callable[[bytes, bytes], None]
"""Called with a PDU's payload, cut at SNAP, and what came behind it."""


class Sink(Protocol):
    def submit(self, urb: Urb, kind: TransferType) -> None: ...
    def complete(self, urb: Urb, completion: Completion, kind: TransferType) -> None: ...


class Follower:
    """One direction. `begin(header)` returns the size of the payload and of what comes behind it, and whom to
    call when they have come."""

    def __init__(self, skip: int, begin: Callable[[bytes], tuple[int, int, Finish]]) -> None:
        self.begin = begin
        self.payload, self.behind = bytearray(), bytearray()
        self.payload_due, self.behind_due = skip, 0
        self.finish: Finish = lambda payload, behind: None

    def feed(self, data: memoryview) -> None:
        """The next bytes; a header never comes in two pieces (half.py)."""
        at = 0
        while at < len(data):
            if not self.payload_due and not self.behind_due:
                self.payload_due, self.behind_due, self.finish = self.begin(bytes(data[at : at + HEADER]))
                at += HEADER
            taken = data[at : at + self.payload_due]
            self.payload += taken[: SNAP - len(self.payload)]
            self.payload_due -= len(taken)
            at += len(taken)
            rest = data[at : at + self.behind_due]
            self.behind += rest
            self.behind_due -= len(rest)
            at += len(rest)
            if not self.payload_due and not self.behind_due:
                self.finish(bytes(self.payload), bytes(self.behind))
                self.payload.clear()
                self.behind.clear()


class Tap:
    """Both directions. `up_due` and `down_due` are what the relay's halves have yet to forward of a PDU."""

    def __init__(
        self,
        sink: Sink,
        find: Callable[[int, int], Endpoint | None],
        pending: Mapping[int, Pending],
        unlinks: Mapping[int, int],
        up_due: int,
        down_due: int,
    ) -> None:
        self.sink, self.find = sink, find
        self.urbs = {
            seqnum: (Urb(seqnum, endpoint.address, length), endpoint.type)
            for seqnum, (endpoint, length, *_) in pending.items()
        }
        self.unlinks = dict(unlinks)
        self.to_stub = Follower(up_due, self.command).feed
        self.to_client = Follower(down_due, self.reply).feed

    def command(self, header: bytes) -> tuple[int, int, Finish]:
        told = unpack_command(header)
        if not isinstance(told, Submit):
            self.unlinks[told.seqnum] = told.number
            return 0, 0, lambda payload, behind: None
        endpoint = self.find(told.direction << 32 | told.ep, told.packets)
        kind = endpoint.type if endpoint else TransferType.BULK
        urb = Urb(
            told.seqnum,
            told.ep | told.direction << 7,
            told.length,
            setup=SetupPacket.parse(told.setup) if kind == TransferType.CONTROL else None,
            flags=told.flags,
            interval=told.interval,
            start_frame=told.start_frame,
        )
        self.urbs[told.seqnum] = urb, kind

        def finish(payload: bytes, behind: bytes) -> None:
            urb.data, urb.packets = payload, packets_of(behind, told.length)
            self.sink.submit(urb, kind)
            urb.data = b""

        behind = ISO_SIZE * told.packets if kind == TransferType.ISOCHRONOUS else 0
        return 0 if told.direction else told.length, behind, finish

    def reply(self, header: bytes) -> tuple[int, int, Finish]:
        # The relay has judged it: what means nothing to it means nothing here.
        command, seqnum, _, _, _, status, actual_length, start_frame, packets, errors = REPLY.unpack(header)
        if command == Command.RET_UNLINK:
            seqnum, status = self.unlinks.pop(seqnum, seqnum), status or Status.CONNRESET
            actual_length = start_frame = packets = errors = 0
        if seqnum not in self.urbs:
            return 0, 0, lambda payload, behind: None
        urb, kind = self.urbs.pop(seqnum)

        def finish(payload: bytes, behind: bytes) -> None:
            described = packets_of(behind, urb.length)
            completion = Completion(
                urb.number, status, actual_length, payload, described, start_frame, errors
            )
            self.sink.complete(urb, completion, kind)

        behind = ISO_SIZE * packets if kind == TransferType.ISOCHRONOUS else 0
        return actual_length if urb.is_in else 0, behind, finish


def packets_of(descriptors: bytes, length: int) -> tuple[IsoPacket, ...]:
    """None where they make no sense: that is between client and stub, and no reason to end a session."""
    try:
        return unpack_iso(descriptors, length)
    except ProtocolError:
        return ()
