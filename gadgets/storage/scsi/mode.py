"""Mode pages, and MODE SENSE and MODE SELECT of 6 and 10 bytes. SPC-4 §6.10, §7.5; SBC-3 §6.5; MMC-6 §7."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from gadgets.storage.scsi import sense as senses
from gadgets.storage.scsi.sense import CheckCondition

Pages = dict[int, bytes]
"""Page code → page, with its two bytes of header."""

RECOVERY, CACHING, CONTROL, EXCEPTIONS, CAPABILITIES = 0x01, 0x08, 0x0A, 0x1C, 0x2A
ALL_PAGES, ALL_SUBPAGES = 0x3F, 0xFF

WRITE_CACHE: Final = (CACHING, 2, 0x04)
READ_CACHE_OFF: Final = (CACHING, 2, 0x01)
WRITE_PROTECT: Final = (CONTROL, 4, 0x08)
_CHANGEABLE = (WRITE_CACHE, READ_CACHE_OFF, WRITE_PROTECT)
"""Page, byte, mask: what a host may set."""


def _page(code: int, length: int, values: Mapping[int, int] | None = None) -> bytes:
    """A page of `length` bytes after its header; `values` by byte of the page."""
    page = bytearray((code, length)) + bytes(length)
    for at, value in (values or {}).items():
        page[at] = value
    return bytes(page)


_DISK = (
    _page(RECOVERY, 10),
    _page(CACHING, 18, {2: 0x04}),
    _page(CONTROL, 10),
    _page(EXCEPTIONS, 10),
)
_CDROM = (
    _page(RECOVERY, 10),
    _page(CONTROL, 10),
    _page(EXCEPTIONS, 10),
    # Reads CD-R, CD-RW, DVD-ROM; mode 2 forms 1 and 2, multi-session; tray, eject, lock; 24 times 176 kB/s.
    _page(
        CAPABILITIES,
        18,
        {2: 0x0B, 4: 0x70, 6: 0x29, 8: 0x10, 9: 0x80, 12: 0x02, 14: 0x10, 15: 0x80},
    ),
)


def default_pages(cdrom: bool) -> Pages:
    return {page[0]: page for page in (_CDROM if cdrom else _DISK)}


def is_set(pages: Pages, bit: tuple[int, int, int]) -> bool:
    """A page that is not there has no bit set."""
    code, at, mask = bit
    page = pages.get(code)
    return page is not None and page[at] & mask != 0


def changeable(page: bytes) -> bytes:
    """The page as a mask of what may be set."""
    values: dict[int, int] = {}
    for code, at, mask in _CHANGEABLE:
        if code == page[0]:
            values[at] = values.get(at, 0) | mask
    return _page(page[0], page[1], values)


def chosen(pages: Pages, defaults: Pages, code: int, subpage: int, control: int) -> bytes:
    """The pages asked for: current, changeable or default values. SPC-4 §6.10.1."""
    if control == 3:
        raise CheckCondition(senses.NOT_SAVED)
    if subpage not in (0, ALL_SUBPAGES) or (subpage and code != ALL_PAGES):
        raise CheckCondition(senses.INVALID_FIELD.at(3))
    source = defaults if control == 2 else pages
    found = list(source.values()) if code == ALL_PAGES else [source[code]] if code in source else []
    if not found:
        raise CheckCondition(senses.INVALID_FIELD.at(2))
    return b"".join(map(changeable, found) if control == 1 else found)


def changed(pages: Pages, data: bytes, start: int) -> Pages:
    """The pages as a MODE SELECT's list `data` wants them, from byte `start` on. Raises CheckCondition."""
    new = dict(pages)
    at = start
    while at < len(data):
        page = pages.get(data[at])
        if page is None:
            raise CheckCondition(senses.INVALID_PARAMETER.at(at))
        wanted = data[at : at + len(page)]
        if len(wanted) < len(page):
            raise CheckCondition(senses.PARAMETER_LIST_LENGTH)
        for offset, given, current, mask in _columns(wanted, page):
            if (given ^ current) & ~mask:
                raise CheckCondition(senses.INVALID_PARAMETER.at(at + offset))
        new[page[0]] = wanted
        at += len(page)
    return new


def _columns(wanted: bytes, page: bytes) -> Iterable[tuple[int, int, int, int]]:
    mask = bytes(2) + changeable(page)[2:]
    return zip(range(len(page)), wanted, page, mask, strict=True)
