"""The media of a gadget on their way to the backup, in the log: each block at its place in the order.

What is copied is equal from there on, because both execute every later write. So it does not matter what the
client does meanwhile, and nobody keeps a list of what has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from appliance.errors import MediumError, UsageError
from appliance.sessions.replication.records import CHUNK, Block, Place, Probe, Want, Zeros
from gadgets.definition import Gadget
from gadgets.storage.function import Disk
from gadgets.storage.media.contract import Medium
from gadgets.storage.media.copying import clear, digest_of, pieces
from gadgets.storage.scsi.unit import Unit

AnyPiece = Block | Zeros | Probe


def units(gadget: Gadget) -> dict[Place, Unit]:
    """All that may have a medium."""
    return {
        Place(number, lun): unit
        for number, function in enumerate(gadget.functions)
        if isinstance(function, Disk)
        for lun, unit in enumerate(function.units)
    }


def numbers(gadget: Gadget) -> dict[Place, int]:
    """Other ones where a medium was taken out or put in."""
    return {place: unit.medium_number for place, unit in units(gadget).items()}


def sizes(gadget: Gadget) -> dict[Place, int | None]:
    return {place: unit.medium.size if unit.medium else None for place, unit in units(gadget).items()}


def homes(gadget: Gadget) -> dict[Place, str]:
    """What the definition puts in."""
    return {
        Place(number, lun): given.medium
        for number, function in enumerate(gadget.functions)
        if isinstance(function, Disk)
        for lun, given in enumerate(function.luns)
    }


def at_home(gadget: Gadget, device: Mapping[str, Any], theirs: Mapping[Place, str]) -> None:
    """In the snapshot of a device, what the master's definition put in becomes what ours does: files need not
    be at the same place. What was put in later is where it was said to be."""
    ours = homes(gadget)
    functions = device["device"]["functions"]
    for place, spec in theirs.items():
        unit = functions[place.function]["units"][place.lun]
        if unit["medium"] == spec:
            unit["medium"] = ours[place]


def announced(gadget: Gadget, places: Iterator[Place]) -> Iterator[AnyPiece]:
    """What to tell of these media, from their beginnings to their ends. Raises MediumError."""
    known = units(gadget)
    for place in places:
        medium = known[place].medium
        for offset, length, something in pieces(medium, CHUNK) if medium else ():
            if something and medium:
                yield Probe(place, offset, length, digest_of(medium.read(offset, length)))
            else:
                yield Zeros(place, offset, length)


def block(gadget: Gadget, want: Want) -> Block:
    """What is there now. Raises UsageError for a place that there is not."""
    medium = medium_at(gadget, want.place, want.offset, want.length)
    return Block(want.place, want.offset, medium.read(want.offset, want.length))


def take(gadget: Gadget, piece: AnyPiece) -> Want | None:
    """Have the medium as the master has it, or say what that needs. Raises MediumError, UsageError."""
    match piece:
        case Block(place, offset, data):
            writable(medium_at(gadget, place, offset, len(data))).write(offset, data)
        case Zeros(place, offset, length):
            medium = medium_at(gadget, place, offset, length)
            for at, size in clear(medium, offset, length, CHUNK):
                writable(medium).discard(at, size)
        case Probe(place, offset, length, digest):
            medium = medium_at(gadget, place, offset, length)
            if digest_of(medium.read(offset, length)) != digest:
                writable(medium)
                return Want(place, offset, length)
    return None


def flush(gadget: Gadget) -> None:
    """What was copied is durable."""
    for unit in units(gadget).values():
        if unit.medium and not unit.medium.read_only:
            unit.medium.flush()


def check_sizes(gadget: Gadget, wanted: Mapping[Place, int | None]) -> None:
    found = sizes(gadget)
    if found != dict(wanted):
        raise UsageError(f"the media here have {found} bytes, the master's {dict(wanted)}: make them equal")


def writable(medium: Medium) -> Medium:
    if medium.read_only:
        raise MediumError("a read-only medium has not the master's content: copy that one's file here")
    return medium


def medium_at(gadget: Gadget, place: Place, offset: int, length: int) -> Medium:
    unit = units(gadget).get(place)
    if unit is None or unit.medium is None or not 0 <= offset <= offset + length <= unit.medium.size:
        raise UsageError(f"there is no medium with {length} bytes from {offset} on at {tuple(place)}")
    return unit.medium
