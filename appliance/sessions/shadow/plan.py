"""How a session goes on with another stub, decided from values alone.

What the device is told, what the client is told, and the state from which an ordinary relay goes on:

| what is | what becomes of it |
|---|---|
| a cancelled URB, its CMD_UNLINK not answered | RET_UNLINK, -ECONNRESET; it is submitted no more |
| a CMD_UNLINK that came too late, not answered | RET_UNLINK, 0 |
| refused by the master's relay, not yet told | the refusal |
| pending on a keyboard or mouse whose last report was not zero | a report of zeros: nothing is held down |
| pending | by class (exports/takeover.py): resubmitted, or -EPROTO, or every packet missed |
| pending, OUT, too large to have been kept | -EPROTO |
| an OUT of which the client has sent a part | as above; its rest goes the same way |
| nothing pending in the midst of a disk's command | -EPROTO to the next URB, unless it begins a command |
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace
from struct import Struct
from typing import Final

from appliance.errors import DeviceFailed
from appliance.exports.takeover import Disk, Pending, Policy, Verdict
from appliance.sessions.endpoints import Endpoint, size_of
from appliance.sessions.shadow.core import Standing
from appliance.sessions.state import HalfState, PendingUrb, SessionSpec, SessionState
from appliance.usbip.wire import ISO_PACKET, RetSubmit, RetUnlink, Submit
from gadgets.usb.urb import ENDPOINT_IN, Direction, Speed, TransferType

DEVID: Final = Struct(">I")
DEVID_AT: Final = 8


class Replug(DeviceFailed):
    """The client must see its device go and come: the message says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """A device as it came up on this machine, and its stub."""

    devid: int
    busid: str
    speed: Speed
    descriptors: bytes
    serial: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """In this order: `requests` are repeated, each in its turn, with success; what the `disks` have to say of
    their fate is heard; `to_stub` and `to_client` are sent; a relay goes on from `state`."""

    requests: tuple[bytes, ...]
    disks: tuple[Disk, ...]
    to_stub: bytes
    to_client: bytes
    state: SessionState


def plan(standing: Standing, policy: Policy, found: Found, now: int = 0) -> Plan:
    """Raises Replug."""
    state = standing.state
    check(state, policy, found)
    held = {at: report for at, report in standing.reports.items() if at in policy.keys and any(report)}
    to_client, targets = [state.answers], {urb.seqnum for urb in state.pending}
    for seqnum, target in state.unlinks.items():
        to_client.append(RetUnlink(seqnum, -errno.ECONNRESET if target in targets else 0).pack())
        targets.discard(target)
    stays: list[PendingUrb] = []
    to_stub = bytearray()
    up = state.up
    for urb in state.pending:
        if urb.seqnum not in targets:
            continue
        due = up.due if urb is state.pending[-1] else 0
        pdu = pdu_of(urb, found.devid, due)
        treatment = policy.pending.get(urb.address, Pending.RESUBMIT)
        if treatment is Pending.LOSE and urb.type != TransferType.ISOCHRONOUS:
            treatment = Pending.RESUBMIT
        if report := held.pop(urb.address, b""):
            to_client.append(answered(urb, bytes(len(report))))
        elif pdu is None or treatment is Pending.FAIL or (treatment is Pending.LOSE and due):
            to_client.append(failed(urb))
            up = replace(up, due=up.due - due, owed=up.owed + due)
        elif treatment is Pending.LOSE:
            to_client.append(lost(urb, pdu))
        else:
            to_stub += pdu
            stays.append(replace(urb, began=now))
    told = b"".join(to_client)
    seqnums = {urb.seqnum for urb in stays}
    return Plan(
        requests=state.history,
        disks=policy.disks,
        to_stub=bytes(to_stub),
        to_client=told,
        state=replace(
            state,
            spec=replace(state.spec, devid=found.devid, busid=found.busid),
            pending=tuple(stays),
            unlinks={},
            undo={seqnum: before for seqnum, before in state.undo.items() if seqnum in seqnums},
            up=replace(up, ready=0),
            down=HalfState(),
            answers=b"",
            unsettled=tuple(at for disk in policy.disks for at in (disk.inward, disk.outward)),
            produced=state.produced + len(told),
        ),
    )


def check(state: SessionState, policy: Policy, found: Found) -> None:
    """Whether the device is the one that the client has, and can be made as it was. Raises Replug."""
    for problem in problems(state, state.spec, policy, found):
        raise Replug(problem)


def problems(state: SessionState, spec: SessionSpec, policy: Policy, found: Found) -> Iterator[str]:
    if policy.verdict is Verdict.REPLUG:
        yield f"{spec.name} is one that is replugged: {', '.join(policy.reasons)}"
    if not spec.descriptors or found.descriptors != spec.descriptors:
        yield f"the device there is not {spec.name}: its descriptors are others"
    if found.serial != spec.serial:
        yield f"the device there is not {spec.name}: its serial number is {found.serial or 'missing'}"
    if found.speed != spec.speed:
        yield f"{spec.name} came up at another speed"
    if not state.complete:
        yield f"{spec.name} was told more than can be repeated"


def pdu_of(urb: PendingUrb, devid: int, due: int) -> bytes | None:
    """Its CMD_SUBMIT for another stub, as far as it has come; None if its payload was not kept."""
    if not urb.kept:
        if not urb.address & ENDPOINT_IN:
            return None
        endpoint = urb.address & 0x0F
        return Submit(
            urb.seqnum, devid, Direction.IN, endpoint, urb.flags, urb.length, 0, urb.packets, 0, bytes(8)
        ).pack()
    whole = size_of(Endpoint(urb.address, TransferType(urb.type)), urb.length, urb.packets)
    if len(urb.kept) + due != whole:
        return None
    return urb.kept[:DEVID_AT] + DEVID.pack(devid) + urb.kept[DEVID_AT + DEVID.size :]


def answered(urb: PendingUrb, data: bytes) -> bytes:
    data = data[: urb.length]
    return RetSubmit(urb.seqnum, 0, len(data), 0, min(urb.packets, 0), 0).pack() + data


def failed(urb: PendingUrb) -> bytes:
    return RetSubmit(urb.seqnum, -errno.EPROTO, 0, 0, min(urb.packets, 0), 0).pack()


def lost(urb: PendingUrb, pdu: bytes) -> bytes:
    """An isochronous URB none of whose packets was in time: -EXDEV (usb/error-codes)."""
    behind = pdu[len(pdu) - ISO_PACKET.size * urb.packets :]
    packets = (ISO_PACKET.pack(o, size, 0, -errno.EXDEV) for o, size, _, _ in ISO_PACKET.iter_unpack(behind))
    return RetSubmit(urb.seqnum, 0, 0, 0, urb.packets, urb.packets).pack() + b"".join(packets)
