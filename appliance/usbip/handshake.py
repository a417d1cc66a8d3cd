"""The one request that opens a USB/IP connection, from both sides, sans-IO.

A handshake is a generator that yields how many bytes it wants next, is sent exactly these, and returns
what they mean. So nobody reads too far (URBs may follow a request at once), and nothing is ever held. To
drive one, hand `complete` a function that reads exactly n bytes; `complete_async` takes a coroutine function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from appliance.errors import Busy, DeviceFailed, NotFound, PeerError, ProtocolError, Refused, TwinhubError
from appliance.usbip.wire import (
    COUNT,
    DEVICE,
    INTERFACE,
    MAX_DEVICES,
    NAME_SIZE,
    OP_COMMON,
    VERSION,
    DeviceRecord,
    InterfaceRecord,
    Op,
    OpStatus,
    pack_name,
    unpack_device,
    unpack_text,
)

T = TypeVar("T")
Handshake = Generator[int, bytes, T]


def complete(handshake: Handshake[T], read: Callable[[int], bytes]) -> T:
    """What the handshake returns; `read(n)` gives exactly n bytes or raises."""
    try:
        wanted = next(handshake)
        while True:
            wanted = handshake.send(read(wanted))
    except StopIteration as end:
        result: T = end.value
        return result


async def complete_async(handshake: Handshake[T], read: Callable[[int], Awaitable[bytes]]) -> T:
    """As `complete`."""
    try:
        wanted = next(handshake)
        while True:
            wanted = handshake.send(await read(wanted))
    except StopIteration as end:
        result: T = end.value
        return result


@dataclass(frozen=True, slots=True)
class Devlist:
    """OP_REQ_DEVLIST: what is there?"""


@dataclass(frozen=True, slots=True)
class Import:
    """OP_REQ_IMPORT: this one, please."""

    busid: str


def request() -> Handshake[Devlist | Import]:
    """Server side: what the client asks for. ProtocolError: close without a reply, as usbipd does."""
    version, code, _ = OP_COMMON.unpack((yield OP_COMMON.size))
    if version != VERSION:
        raise ProtocolError(f"the client speaks USB/IP {version:#06x}; this is {VERSION:#06x}")
    if code == Op.REQ_DEVLIST:
        return Devlist()
    if code == Op.REQ_IMPORT:
        return Import(unpack_text((yield NAME_SIZE)))
    raise ProtocolError(f"the client asks for operation {code:#06x}, which does not exist")


def list_reply(records: Sequence[DeviceRecord]) -> bytes:
    devices = (
        record.pack() + b"".join(interface.pack() for interface in record.interfaces) for record in records
    )
    return b"".join(
        (OP_COMMON.pack(VERSION, Op.REP_DEVLIST, OpStatus.OK), COUNT.pack(len(records)), *devices)
    )


def import_reply(record: DeviceRecord) -> bytes:
    return OP_COMMON.pack(VERSION, Op.REP_IMPORT, OpStatus.OK) + record.pack()


def failure(asked: Devlist | Import, error: TwinhubError) -> bytes:
    """The eight bytes that say why there is nothing; then the connection is closed."""
    code = Op.REP_IMPORT if isinstance(asked, Import) else Op.REP_DEVLIST
    return OP_COMMON.pack(VERSION, code, error.usbip_status)


def list_request() -> bytes:
    return OP_COMMON.pack(VERSION, Op.REQ_DEVLIST, OpStatus.OK)


def import_request(name: str) -> bytes:
    """UsageError if the name does not fit."""
    return OP_COMMON.pack(VERSION, Op.REQ_IMPORT, OpStatus.OK) + pack_name(name).ljust(NAME_SIZE, b"\0")


def listing() -> Handshake[list[DeviceRecord]]:
    """Client side: the reply to `list_request`. Raises ProtocolError, or what the server's status means."""
    yield from _reply(Op.REP_DEVLIST, "its list")
    (count,) = COUNT.unpack((yield COUNT.size))
    if count > MAX_DEVICES:
        raise ProtocolError(f"the server claims to share {count} devices; at most {MAX_DEVICES} are believed")
    records = []
    for _ in range(count):
        record, num_interfaces = unpack_device((yield DEVICE.size))
        interfaces = b"" if num_interfaces == 0 else (yield num_interfaces * INTERFACE.size)
        records.append(
            replace(
                record,
                interfaces=tuple(InterfaceRecord(*fields) for fields in INTERFACE.iter_unpack(interfaces)),
            )
        )
    return records


def importing(name: str) -> Handshake[DeviceRecord]:
    """Client side: the reply to `import_request`. Raises ProtocolError, or what the server's status means."""
    yield from _reply(Op.REP_IMPORT, repr(name))
    record, _ = unpack_device((yield DEVICE.size))
    if record.busid != name:
        raise ProtocolError(f"the server answers with device {record.busid!r}; asked for was {name!r}")
    return record


MEANING: Final[dict[int, tuple[type[TwinhubError], str]]] = {
    OpStatus.NOT_AVAILABLE: (Refused, "the server does not give {} to this client, or cannot at the moment"),
    OpStatus.BUSY: (Busy, "{} is in use by another client"),
    OpStatus.DEVICE_ERROR: (DeviceFailed, "{} is in an error state on the server; share it anew there"),
    OpStatus.NO_DEVICE: (NotFound, "{} is not shared by the server; list what is"),
    OpStatus.ERROR: (PeerError, "the server failed to give {}; its log says why"),
}


def _reply(expected: Op, what: str) -> Handshake[None]:
    version, code, status = OP_COMMON.unpack((yield OP_COMMON.size))
    if version != VERSION:
        raise ProtocolError(f"the server speaks USB/IP {version:#06x}; this is {VERSION:#06x}")
    if code != expected:
        raise ProtocolError(f"the server answers with operation {code:#06x}; expected was {expected:#06x}")
    if status == OpStatus.OK:
        return
    error, sentence = MEANING.get(status, (ProtocolError, f"the server answers with unknown status {status}"))
    raise error(sentence.format(what))
