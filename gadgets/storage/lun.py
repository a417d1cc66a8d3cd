"""What a disk is made of, and what may be done to it from this side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from appliance.errors import UsageError
from gadgets.storage.media.medium import MediumText
from gadgets.storage.scsi.unit import Nature

BLOCK_SIZES = (512, 1024, 2048, 4096)
CDROM_BLOCK = 2048
_TEXTS = {"vendor": 8, "product": 16, "revision": 4, "serial": 32}
"""What INQUIRY has room for."""


@dataclass(frozen=True, slots=True)
class Lun:
    """One logical unit. `medium` as `open_medium` takes it, "" is an empty drive. `block_size` 0 is the usual
    one: 512 bytes, or 2048 for a CD-ROM. `removable`: the medium can be taken out; a CD-ROM's always can.
    `product` and `serial`: "" is its kind and its number."""

    medium: MediumText = ""
    kind: Literal["disk", "cdrom"] = "disk"
    read_only: bool = False
    removable: bool = True
    block_size: int = 0
    vendor: str = "Twinhub"
    product: str = ""
    revision: str = "1.0"
    serial: str = ""


def nature_of(lun: Lun, index: int, count: int) -> Nature:
    """Raises UsageError for what cannot be."""
    cdrom = lun.kind == "cdrom"
    block_size = lun.block_size or (CDROM_BLOCK if cdrom else BLOCK_SIZES[0])
    if block_size not in BLOCK_SIZES or (cdrom and block_size != CDROM_BLOCK):
        sizes = (CDROM_BLOCK,) if cdrom else BLOCK_SIZES
        raise UsageError(
            f"lun {index}: a {lun.kind} has no blocks of {block_size} bytes, but of "
            + " or ".join(map(str, sizes))
        )
    if not (lun.medium or lun.removable or cdrom):
        raise UsageError(f"lun {index}: a disk that is not removable needs a medium, such as memory:64M")
    for field, most in _TEXTS.items():
        text = getattr(lun, field)
        if len(text) > most or not all(" " <= letter <= "~" for letter in text):
            raise UsageError(f"lun {index}: {field} {text!r} is not ASCII of at most {most} characters")
    return Nature(
        cdrom,
        lun.removable or cdrom,
        block_size,
        lun.vendor,
        lun.product or ("CD-ROM" if cdrom else "Disk"),
        lun.revision,
        lun.serial or f"{index:08d}",
        index,
        count,
    )


@dataclass(frozen=True, slots=True)
class Insert:
    """Input: put a medium into an empty drive."""

    medium: MediumText
    lun: int = 0
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Eject:
    """Input: take the medium out, as by its button: not while the host has locked it, which a CD-ROM's host
    is then told of. `force`: as by a paper clip; what the host did not write is lost to it."""

    lun: int = 0
    force: bool = False


@dataclass(frozen=True, slots=True)
class WriteProtect:
    """Input: slide the switch."""

    on: bool
    lun: int = 0


@dataclass(frozen=True, slots=True)
class SpoilBlocks:
    """Input: from now on these blocks fail with a medium error, until they are mended or the medium goes."""

    first: int
    last: int
    lun: int = 0


@dataclass(frozen=True, slots=True)
class MendBlocks:
    """Input: no block fails any more."""

    lun: int = 0


@dataclass(frozen=True, slots=True)
class NotReady:
    """Input: be busy becoming ready, for as long as it is on."""

    on: bool
    lun: int = 0
