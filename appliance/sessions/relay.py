"""The core of a relayed session: URBs between the client's socket and the stub's, forwarded and followed.

Sans-IO: each byte direction is a `Half`, whose shell moves the bytes. Client → stub (`Upstream`):

1. every header is judged before a byte of it goes on; payloads pass as they arrive and are never held;
2. what USB/IP does not allow (unknown command, size out of bounds, seqnum in use) is a ProtocolError;
3. what would cost the stub its stream or its device (`endpoints.refusal`) is swallowed and answered here
   with an error status; the answer goes out between two PDUs of the other direction;
4. devid becomes the stub's own, an interval of 0 the endpoint's; otherwise bytes pass unchanged.

Stub → client (`Downstream`):

5. an answer to a seqnum that is not pending is dropped: it would unplug the client's device (vhci_rx.c);
6. a control request that the device did is remembered if it left a mark (`history.py`);
7. RET_UNLINK takes the unlinked URB off the pending ones: there will be no RET_SUBMIT (stub_tx.c).

This is a hot path: the usual header costs one `unpack_from`, one look-up, one entry. Counting waits in
`Downstream.done` until the shell calls `Relay.settle()`, which it does at BATCH answers.
"""

from __future__ import annotations

import errno
from collections import Counter
from struct import Struct
from typing import Final

from appliance.errors import ProtocolError
from appliance.sessions.endpoints import (
    DMA_MAP_SG,
    HEADER,
    PLAIN_LIMIT,
    Endpoint,
    Selection,
    active,
    refusal,
    scan,
    size_of,
    urb_interval,
)
from appliance.sessions.half import RESERVE, Half
from appliance.sessions.history import History
from appliance.sessions.state import HalfState, PendingUrb, SessionSpec, SessionState
from appliance.sessions.telemetry import Telemetry
from gadgets.usb.urb import TransferType

CMD_SUBMIT, CMD_UNLINK, RET_SUBMIT, RET_UNLINK = 1, 2, 3, 4
LENGTH_LIMIT: Final = 16 << 20
PACKET_LIMIT: Final = 1024
IN_FLIGHT_LIMIT: Final = 4096
KEPT_SIZE: Final = 48 + (16 << 10)
KEPT_URBS: Final = 256
"""Of so many URBs in flight, PDUs up to that size are kept whole: another stub may need them."""
COMMAND_BLOCK: Final = 31
"""Bytes of what begins a command of Bulk-Only Transport; nothing else that goes to a disk is as long."""
BATCH: Final = 64
"""Answers that are counted at once; they are remembered for as long again, should one be given twice."""

# `target` is direction and endpoint number in one: direction << 32 | ep.
_submit = Struct(">IIIQIi4xi").unpack_from  # command seqnum devid target flags length packets
_SUBMIT_WHOLE = Struct(">IIIQIiiii8s")  # … flags length start_frame packets interval setup
_answer = Struct(">II12xii4xi").unpack_from  # command seqnum status actual_length packets
_REFUSAL = Struct(">II12xiiii12x")  # command seqnum status actual_length start_frame packets
_WORD = Struct(">I")

Pending = tuple[Endpoint, int, int, int, bytearray | int]
"""endpoint, length, packets, monotonic ns at which it was forwarded; what was kept of its PDU: all or the
header, or of one that took the short way its transfer_flags"""
Done = tuple[int, Endpoint, int, int, int, int]
"""seqnum, endpoint, when it was forwarded, when it was answered (0: unlinked), status, actual_length"""


class Upstream(Half):
    """Client → stub."""

    __slots__ = ("devid", "find", "part", "pending", "relay")

    def __init__(self, relay: Relay, state: HalfState) -> None:
        super().__init__(state)
        self.relay, self.devid = relay, relay.spec.devid
        self.pending, self.find = relay.pending, relay.endpoints.get
        self.part = relay.unfinished(self.due)

    def received(self, count: int, now: int) -> None:
        self.end += count
        if self.owed:
            self.drop(0, self.owed)
        if self.part is not None:
            self.collect(self.part)
        pending, buffer, at = self.pending, self.buffer, self.due
        last = self.end - HEADER
        while at <= last:
            command, seqnum, devid, target, flags, length, packets = _submit(buffer, at)
            if devid != self.devid:
                _WORD.pack_into(buffer, at + 8, self.devid)
            endpoint = self.find(target)
            if (
                command == CMD_SUBMIT
                and endpoint is not None
                and endpoint.bulk
                and 0 < length <= PLAIN_LIMIT
                and packets <= 0
                and seqnum not in pending
            ):
                pending[seqnum] = (endpoint, length, packets, now, flags)
                at += HEADER if endpoint.inbound else HEADER + length
            else:
                at += self.judge(at, now)
                last = self.end - HEADER
        if len(pending) > IN_FLIGHT_LIMIT:
            raise ProtocolError(f"the client has more than {IN_FLIGHT_LIMIT} URBs in flight")
        end = self.end
        self.ready, self.due = (at, 0) if at < end else (end, at - end)

    def collect(self, part: bytearray) -> None:
        """More of the PDU that came incomplete and is kept."""
        part += self.view[: min(self.due, self.end)]
        if self.due <= self.end:
            self.part = None

    def keep(self, at: int, size: int) -> bytearray:
        """The PDU at `at`, or its header alone; what has yet to come of it will be added."""
        if size > KEPT_SIZE or len(self.pending) >= KEPT_URBS:
            return bytearray(self.view[at : at + HEADER])
        kept = bytearray(self.view[at : min(at + size, self.end)])
        if len(kept) < size:
            self.part = kept
        return kept

    def judge(self, at: int, now: int) -> int:
        """Any header at `at`; returns how many bytes to forward: those of the whole PDU, or 0 (cut out)."""
        relay = self.relay
        command, seqnum, _, target, flags, length, _, packets, interval, setup = _SUBMIT_WHOLE.unpack_from(
            self.buffer, at
        )
        if seqnum in relay.pending or seqnum in relay.unlinks:
            raise ProtocolError(f"the client used seqnum {seqnum} again while it was in flight")
        if command == CMD_UNLINK:
            if len(relay.unlinks) >= IN_FLIGHT_LIMIT:
                raise ProtocolError(f"the client has more than {IN_FLIGHT_LIMIT} URBs in flight")
            relay.unlinks[seqnum] = flags  # the same place holds unlink_seqnum
            return HEADER
        if command != CMD_SUBMIT:
            raise ProtocolError(f"the client sent command {command:#x}, neither CMD_SUBMIT nor CMD_UNLINK")
        if not 0 <= length <= LENGTH_LIMIT or packets > PACKET_LIMIT or target >> 32 > 1:
            raise ProtocolError(
                f"the client submitted {length} bytes, {packets} packets, direction {target >> 32}: "
                f"at most {LENGTH_LIMIT} bytes, {PACKET_LIMIT} packets, direction 0 or 1 are allowed"
            )
        endpoint = relay.find(target, packets)
        if packets > 0 and endpoint and endpoint.type != TransferType.ISOCHRONOUS:
            raise ProtocolError(f"the client sent isochronous packets to {endpoint.type.name} endpoint")
        size: int = HEADER + 16 * max(packets, 0) + (0 if target >> 32 else length)
        if status := refusal(endpoint, length, packets, flags, setup) or relay.stale(target, length):
            relay.refuse(seqnum, target, status, packets)
            self.drop(at, size)
            return 0
        assert endpoint is not None
        if interval <= 0 and endpoint.interval:
            _WORD.pack_into(self.buffer, at + 36, endpoint.interval)
        if not length and flags & DMA_MAP_SG:
            _WORD.pack_into(self.buffer, at + 20, flags & ~DMA_MAP_SG)
        relay.pending[seqnum] = (endpoint, length, packets, now, self.keep(at, size))
        if (
            endpoint.type == TransferType.CONTROL
            and (chosen := relay.selection.after(setup)) != relay.selection
        ):
            relay.undo[seqnum] = relay.selection
            relay.select(chosen)
        return size


class Downstream(Half):
    """Stub → client."""

    __slots__ = ("done", "pending", "relay")

    def __init__(self, relay: Relay, state: HalfState) -> None:
        super().__init__(state)
        self.relay, self.pending = relay, relay.pending
        self.done: list[Done] = []

    def received(self, count: int, now: int) -> None:
        self.end += count
        if self.owed:
            self.drop(0, self.owed)
        buffer, at = self.buffer, self.due
        if self.relay.answers and at <= self.end:
            at += self.insert_answers(at)
        last = self.end - HEADER
        while at <= last:
            command, seqnum, status, actual, _ = _answer(buffer, at)
            entry = self.pending.pop(seqnum, None) if command == RET_SUBMIT else None
            if entry is not None and entry[0].simple and 0 <= actual <= entry[1]:
                endpoint, _, _, began, _ = entry
                self.done.append((seqnum, endpoint, began, now, status, actual))
                at += HEADER + actual if endpoint.inbound else HEADER
            else:
                at += self.judge(at, entry, now)
                last = self.end - HEADER
        end = self.end
        self.ready, self.due = (at, 0) if at < end else (end, at - end)

    def judge(self, at: int, entry: Pending | None, now: int) -> int:
        """Any header at `at`, and what was pending for it; returns how many bytes to forward (0: cut out)."""
        relay = self.relay
        command, seqnum, status, actual, packets = _answer(self.buffer, at)
        if command == RET_UNLINK:
            return self.judge_unlink(at, seqnum)
        if command != RET_SUBMIT:
            raise ProtocolError(
                f"the device's side sent command {command:#x}, neither RET_SUBMIT nor RET_UNLINK"
            )
        if entry is None:
            relay.dropped += 1
            self.drop(at, relay.size_of_unknown(seqnum, actual, packets))
            return 0
        endpoint, length, asked, began, kept = entry
        isochronous = endpoint.type == TransferType.ISOCHRONOUS
        if not 0 <= actual <= length or (isochronous and packets != asked):
            raise ProtocolError(
                f"the device answered {actual} bytes, {packets} packets to an URB of {length}, {asked}"
            )
        self.done.append((seqnum, endpoint, began, now, status, actual))
        if (before := relay.undo.pop(seqnum, None)) and status < 0:
            relay.select(before)
        if endpoint.type == TransferType.CONTROL and not status and isinstance(kept, bytearray):
            relay.history.note(bytes(kept[HEADER - 8 :]))
        return HEADER + (actual if endpoint.inbound else 0) + (16 * packets if isochronous else 0)

    def judge_unlink(self, at: int, seqnum: int) -> int:
        relay = self.relay
        if (target := relay.unlinks.pop(seqnum, None)) is None:
            relay.dropped += 1
            self.drop(at, HEADER)
            return 0
        if entry := relay.pending.pop(target, None):
            relay.undo.pop(target, None)
            self.done.append((target, entry[0], entry[3], 0, 0, 0))
        return HEADER

    def insert_answers(self, at: int) -> int:
        """Put waiting answers of our own into the stream at a PDU's beginning; returns their size."""
        size = min(len(self.relay.answers), RESERVE)
        self.view[at + size : self.end + size] = self.view[at : self.end]
        self.buffer[at : at + size] = self.relay.answers[:size]
        del self.relay.answers[:size]
        self.end += size
        return size


class Relay:
    """Both directions of one session and what they share. `state` may be that of an earlier worker."""

    watches = False
    """whether every header is judged, none on the short way"""

    def __init__(self, state: SessionState, now: int = 0) -> None:
        self.spec = state.spec
        self.telemetry = Telemetry.thaw(state.counters)
        self.described = scan(state.spec.descriptors)
        self.history = History(state.spec.descriptors, state.history, state.complete)
        self.unsettled = state.unsettled
        self.endpoints: dict[int, Endpoint] = {}
        self.selection = state.selection
        self.select(state.selection)
        self.pending: dict[int, Pending] = {
            urb.seqnum: (
                self.endpoint(urb.address, TransferType(urb.type)),
                urb.length,
                urb.packets,
                urb.began,
                bytearray(urb.kept) if urb.kept else urb.flags,
            )
            for urb in state.pending
        }
        self.unlinks = dict(state.unlinks)
        self.undo = dict(state.undo)
        self.answers = bytearray(state.answers)
        self.dropped = state.dropped
        self.active_at = now
        self.settled: list[Done] = []
        self.up = Upstream(self, state.up)
        self.down = Downstream(self, state.down)

    @classmethod
    def begin(cls, spec: SessionSpec) -> Relay:
        return cls(SessionState.begin(spec))

    def select(self, selection: Selection) -> None:
        """The active endpoints become those of `selection`."""
        self.selection = selection
        self.endpoints.clear()
        for address in (0x00, 0x80):
            self.add(address, TransferType.CONTROL, 0)
        for one in active(self.described, selection):
            self.add(one.address, one.type, urb_interval(one.type, one.interval, self.spec.speed))

    def add(self, address: int, kind: TransferType, interval: int) -> Endpoint:
        endpoint = self.endpoint(address, kind, interval)
        self.endpoints[(address >> 7) << 32 | address & 0x0F] = endpoint
        return endpoint

    def endpoint(self, address: int, kind: TransferType, interval: int = 0) -> Endpoint:
        watched = self.watches or address in self.unsettled
        return Endpoint(address, kind, interval, self.telemetry.of(address), watched)

    def find(self, target: int, packets: int) -> Endpoint | None:
        """The endpoint; without known descriptors every one exists, of the type that the URB suggests."""
        endpoint = self.endpoints.get(target)
        number = target & 0xFFFF_FFFF
        if endpoint or self.spec.descriptors or number > 15:
            return endpoint
        kind = TransferType.ISOCHRONOUS if packets > 0 else TransferType.INTERRUPT
        return self.add((target >> 32) << 7 | number, kind, 1)

    def stale(self, target: int, length: int) -> int:
        """A status for what belongs to a command that an earlier stub had; the next command settles it."""
        if not self.unsettled or (target >> 32) << 7 | target & 0x0F not in self.unsettled:
            return 0
        if target >> 32 or length != COMMAND_BLOCK:
            return -errno.EPROTO
        self.unsettled = ()
        self.select(self.selection)
        return 0

    def unfinished(self, due: int) -> bytearray | None:
        """What is kept of the newest URB, if `due` bytes of it have yet to come."""
        for endpoint, length, packets, _, kept in reversed(self.pending.values()):
            whole = size_of(endpoint, length, packets)
            return kept if isinstance(kept, bytearray) and due and len(kept) + due == whole else None
        return None

    def refuse(self, seqnum: int, target: int, status: int, packets: int) -> None:
        """Answer a submit in the stub's place: no data, no packets."""
        if len(self.answers) >= IN_FLIGHT_LIMIT * HEADER:
            raise ProtocolError(f"the client takes no answers: {IN_FLIGHT_LIMIT} errors wait for it")
        self.answers += _REFUSAL.pack(RET_SUBMIT, seqnum, status, 0, 0, min(packets, 0))
        self.telemetry.of((target >> 32) << 7 | target & 0x0F).refused += 1

    def size_of_unknown(self, seqnum: int, actual: int, packets: int) -> int:
        """How long the answer to an URB that is not pending is. ProtocolError when nobody can know."""
        for known, endpoint, *_ in (*self.settled, *self.down.done):
            if known == seqnum and actual >= 0:
                isochronous = endpoint.type == TransferType.ISOCHRONOUS
                return HEADER + (actual if endpoint.inbound else 0) + (16 * max(packets, 0) * isochronous)
        if actual or packets > 0:
            raise ProtocolError(
                f"the device's side sent {actual} bytes for seqnum {seqnum}, which nobody asked for"
            )
        return HEADER

    def settle(self) -> None:
        """Count what was answered since the last call; `active_at` is then when bytes last moved."""
        self.settled, self.down.done = self.down.done, []
        for _, endpoint, began, answered, status, actual in self.settled:
            if not answered:
                endpoint.counters.unlinked += 1
                continue
            endpoint.counters.count(answered - began, status, actual)
            if actual:
                self.active_at = answered

    def stats(self) -> dict[str, object]:
        self.settle()
        in_flight = Counter(endpoint.address for endpoint, *_ in self.pending.values())
        return {**self.telemetry.report(in_flight), "dropped": self.dropped}

    def freeze(self) -> SessionState:
        self.settle()
        return SessionState(
            spec=self.spec,
            selection=self.selection,
            pending=tuple(
                PendingUrb(
                    seqnum, endpoint.address, int(endpoint.type), length, packets, began, *written(kept)
                )
                for seqnum, (endpoint, length, packets, began, kept) in self.pending.items()
            ),
            unlinks=dict(self.unlinks),
            undo=dict(self.undo),
            up=self.up.freeze(),
            down=self.down.freeze(),
            answers=bytes(self.answers),
            history=self.history.freeze(),
            complete=self.history.complete,
            unsettled=self.unsettled,
            dropped=self.dropped,
            counters=self.telemetry.freeze(),
        )


def written(kept: bytearray | int) -> tuple[int, bytes]:
    """As PendingUrb has it: flags, and bytes."""
    return (0, bytes(kept)) if isinstance(kept, bytearray) else (kept, b"")
