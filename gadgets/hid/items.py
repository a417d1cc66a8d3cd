"""Report descriptors as the items they consist of, and the reports they describe. HID 1.11 §6.2.2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from appliance.errors import UsageError

MAX_REPORT = 16_384
"""Bytes of the largest report; Linux takes none that is larger (HID_MAX_BUFFER_SIZE, linux/hid.h)."""
_LONG = 0xFE


class ReportKind(IntEnum):
    """The report types of GET_REPORT and SET_REPORT. HID 1.11 §7.2.1."""

    INPUT = 1
    OUTPUT = 2
    FEATURE = 3


class Tag(IntEnum):
    """Tag and type of a short item: its first byte without the size. HID 1.11 §6.2.2.4 to 6.2.2.8."""

    INPUT = 0x80
    OUTPUT = 0x90
    COLLECTION = 0xA0
    FEATURE = 0xB0
    END_COLLECTION = 0xC0
    USAGE_PAGE = 0x04
    LOGICAL_MINIMUM = 0x14
    LOGICAL_MAXIMUM = 0x24
    PHYSICAL_MINIMUM = 0x34
    PHYSICAL_MAXIMUM = 0x44
    UNIT_EXPONENT = 0x54
    UNIT = 0x64
    REPORT_SIZE = 0x74
    REPORT_ID = 0x84
    REPORT_COUNT = 0x94
    PUSH = 0xA4
    POP = 0xB4
    USAGE = 0x08
    USAGE_MINIMUM = 0x18
    USAGE_MAXIMUM = 0x28
    DESIGNATOR_INDEX = 0x38
    DESIGNATOR_MINIMUM = 0x48
    DESIGNATOR_MAXIMUM = 0x58
    STRING_INDEX = 0x78
    STRING_MINIMUM = 0x88
    STRING_MAXIMUM = 0x98
    DELIMITER = 0xA8


SIGNED = frozenset({Tag.LOGICAL_MINIMUM, Tag.LOGICAL_MAXIMUM, Tag.PHYSICAL_MINIMUM, Tag.PHYSICAL_MAXIMUM})
WITHOUT_DATA = frozenset({Tag.END_COLLECTION, Tag.PUSH, Tag.POP})
_MAIN = {
    Tag.INPUT: ReportKind.INPUT,
    Tag.OUTPUT: ReportKind.OUTPUT,
    Tag.FEATURE: ReportKind.FEATURE,
}


@dataclass(frozen=True, slots=True)
class Item:
    """`prefix` is the first byte, `data` what follows: 0, 1, 2 or 4 bytes, or more in a long item."""

    prefix: int
    data: bytes = b""

    @property
    def tag(self) -> Tag | None:
        """None for a long or reserved item."""
        return _TAGS.get(self.prefix & 0xFC) if self.prefix != _LONG else None

    @property
    def value(self) -> int:
        return int.from_bytes(self.data, "little", signed=self.tag in SIGNED)

    def emit(self) -> bytes:
        return bytes((self.prefix,)) + self.data


_TAGS = {int(tag): tag for tag in Tag}


def short_item(tag: Tag, value: int, size: int | None = None) -> Item:
    """In `size` bytes, or in the fewest that are usual. Raises UsageError for a value that does not fit."""
    fewest = 0 if tag in WITHOUT_DATA else 1
    for code, room in enumerate((0, 1, 2, 4)):
        if room == size or (size is None and room >= fewest):
            try:
                return Item(tag | code, value.to_bytes(room, "little", signed=tag in SIGNED))
            except OverflowError:
                continue
    raise UsageError(
        f"{tag.name}: {value} does not fit; there is room for {4 if size is None else size} bytes"
    )


def parse_items(descriptor: bytes) -> Iterator[Item]:
    """Any bytes, in order; joined by `emit` they come back. Raises UsageError where the last is cut off."""
    at = 0
    while at < len(descriptor):
        prefix = descriptor[at]
        size = (0, 1, 2, 4)[prefix & 3]
        if prefix == _LONG and at + 1 < len(descriptor):
            size = 2 + descriptor[at + 1]
        data = descriptor[at + 1 : at + 1 + size]
        if len(data) < size:
            raise UsageError(f"the report descriptor ends within the item at byte {at}")
        yield Item(prefix, data)
        at += 1 + size


class Report(NamedTuple):
    """Which report: a `ReportKind`, and an id that is 0 where reports have none."""

    kind: int
    id: int


@dataclass(frozen=True, slots=True)
class _Globals:
    """Of the item state table, what sizes depend on. HID 1.11 §6.2.2.7."""

    size: int = 0
    count: int = 0
    id: int = 0


def report_sizes(descriptor: bytes) -> dict[Report, int]:
    """Bytes of each report, its id included. Raises UsageError for a descriptor that no host would take."""
    bits: dict[Report, int] = {}
    state, pushed, depth = _Globals(), list[_Globals](), 0
    for item in parse_items(descriptor):
        match item.tag:
            case Tag.REPORT_SIZE:
                state = replace(state, size=item.value)
            case Tag.REPORT_COUNT:
                state = replace(state, count=item.value)
            case Tag.REPORT_ID:
                if not 0 < item.value <= 0xFF:
                    raise UsageError(f"a report id is a number from 1 to 255, not {item.value}")
                state = replace(state, id=item.value)
            case Tag.PUSH:
                pushed.append(state)
            case Tag.POP:
                if not pushed:
                    raise UsageError("the report descriptor pops more than it pushed")
                state = pushed.pop()
            case Tag.COLLECTION:
                depth += 1
            case Tag.END_COLLECTION:
                depth -= 1
                if depth < 0:
                    raise UsageError("the report descriptor ends a collection that has not begun")
            case Tag.INPUT | Tag.OUTPUT | Tag.FEATURE as tag:
                report = Report(_MAIN[tag], state.id)
                bits[report] = bits.get(report, 8 * bool(state.id)) + state.size * state.count
    if depth:
        raise UsageError("the report descriptor does not end all its collections")
    if len({bool(report.id) for report in bits}) > 1:
        raise UsageError("where one report has an id, all need one: put Report ID before the first field")
    sizes = {report: (size + 7) // 8 for report, size in bits.items() if size}
    if sizes and max(sizes.values()) > MAX_REPORT:
        raise UsageError(f"a report of {max(sizes.values())} bytes is too large; {MAX_REPORT} is the most")
    return sizes
