"""What a client is shown of a takeover: nothing (`hide`) or an honest unplug and replug (`replug`).

Hidden are devices that can be made like their predecessor by repeating what they were told. Whatever keeps
more inside than that, or is not known to keep nothing, is replugged: a token that forgot its session must not
look as if it had not. The tables go by the interfaces that are active; a device is as strict as the strictest
of them. docs/takeover-classes.md has them for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from appliance.inventory.descriptors import chosen, interfaces_of
from appliance.inventory.model import UsbEndpoint, UsbInterface
from gadgets.usb.urb import Direction, TransferType


class Verdict(StrEnum):
    HIDE = "hide"
    REPLUG = "replug"


class Pending(StrEnum):
    """What becomes of an URB that the old stub had not answered."""

    RESUBMIT = "resubmit"
    """the new one has it"""
    FAIL = "fail"
    """-EPROTO: the client's driver resets the device, which stays on the client, and tries again"""
    LOSE = "lose"
    """isochronous: every packet is answered as missed"""


CHOICES: Final = ("auto", *Verdict)
"""What an operator may say of an export."""

ANY: Final = None


@dataclass(frozen=True, slots=True)
class Rule:
    """For interfaces of a class, of a subclass, of a protocol; ANY: of all. `why`: in a word or two."""

    interface_class: int
    subclass: int | None
    protocol: int | None
    verdict: Verdict
    why: str
    pending: Pending = Pending.RESUBMIT

    def covers(self, interface: UsbInterface) -> bool:
        return (
            self.interface_class == interface.interface_class
            and self.subclass in (ANY, interface.subclass)
            and self.protocol in (ANY, interface.protocol)
        )


@dataclass(frozen=True, slots=True)
class Quirk:
    """For a vendor's products (empty: all), whatever their interfaces say, or for `interface_class` alone."""

    vendor: int
    products: frozenset[int]
    verdict: Verdict
    why: str
    interface_class: int | None = ANY

    def covers(self, vendor: int, product: int, interface: UsbInterface) -> bool:
        return (
            self.vendor == vendor
            and (not self.products or product in self.products)
            and self.interface_class in (ANY, interface.interface_class)
        )


HIDE, REPLUG = Verdict.HIDE, Verdict.REPLUG
VENDOR_SPECIFIC: Final = 0xFF
HID: Final = 0x03
KEYBOARD, MOUSE = (HID, 1, 1), (HID, 1, 2)
BULK_ONLY: Final = (0x08, 0x06, 0x50)

RULES: Final = (
    Rule(0x01, ANY, ANY, HIDE, "audio", Pending.LOSE),
    Rule(0x02, 0x02, 0xFF, REPLUG, "RNDIS"),
    Rule(0x02, 0x02, ANY, HIDE, "serial (CDC-ACM)"),
    Rule(0x02, 0x06, ANY, HIDE, "network (CDC-ECM)"),
    Rule(0x02, 0x0D, ANY, HIDE, "network (CDC-NCM)"),
    Rule(HID, ANY, ANY, HIDE, "input device"),
    Rule(0x07, ANY, ANY, REPLUG, "printer"),
    Rule(*BULK_ONLY, HIDE, "disk", Pending.FAIL),
    Rule(0x08, 0x06, 0x62, REPLUG, "disk that uses UAS"),
    Rule(0x0A, ANY, ANY, HIDE, "data of CDC"),
    Rule(0x0B, ANY, ANY, REPLUG, "smart card"),
    Rule(0x0E, ANY, ANY, HIDE, "video", Pending.LOSE),
    Rule(0xFE, 0x01, 0x01, HIDE, "firmware update, not under way"),
    Rule(0xFE, 0x01, ANY, REPLUG, "firmware update"),
)
"""The first that covers an interface says what it needs; what none covers is replugged."""


def products(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


SECURITY_KEY: Final = "security key"
QUIRKS: Final = (
    Quirk(0x0403, products(0x6001, 0x6010, 0x6011, 0x6014, 0x6015), HIDE, "serial (FTDI)", VENDOR_SPECIFIC),
    Quirk(0x10C4, products(0xEA60, 0xEA61, 0xEA63, 0xEA70, 0xEA71), HIDE, "serial (CP210x)", VENDOR_SPECIFIC),
    Quirk(0x1A86, products(0x5523, 0x7522, 0x7523), HIDE, "serial (CH34x)", VENDOR_SPECIFIC),
    Quirk(0x067B, products(0x2303, 0x23A3, 0x23C3, 0x23D3), HIDE, "serial (PL2303)", VENDOR_SPECIFIC),
    Quirk(0x1050, products(), REPLUG, SECURITY_KEY),  # Yubico
    Quirk(0x096E, products(), REPLUG, SECURITY_KEY),  # Feitian
    Quirk(0x20A0, products(), REPLUG, SECURITY_KEY),  # Nitrokey
    Quirk(0x2C97, products(), REPLUG, SECURITY_KEY),  # Ledger
    Quirk(0x349E, products(), REPLUG, SECURITY_KEY),  # Token2
    Quirk(0x1209, products(0x53C1, 0x5070, 0xBEEE), REPLUG, SECURITY_KEY),  # Trezor, Solo
    Quirk(0x0483, products(0xA2CA), REPLUG, SECURITY_KEY),  # Solo
    Quirk(0x18D1, products(0x5026), REPLUG, SECURITY_KEY),  # Titan
    Quirk(0x0529, products(), REPLUG, "licence dongle"),  # Aladdin, SafeNet
    Quirk(0x064F, products(), REPLUG, "licence dongle"),  # WIBU
    Quirk(0x04B9, products(), REPLUG, "licence dongle"),  # Rainbow
    Quirk(0x1BC0, products(), REPLUG, "licence dongle"),  # Senselock
)
"""Asked before the rules."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A Bulk-Only interface and its endpoints' addresses."""

    interface: int
    inward: int
    outward: int


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do with one device. `reasons`: of each active interface, why."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    pending: Mapping[int, Pending] = field(default_factory=dict)
    """by endpoint address; of those that are not here, endpoint 0 among them, URBs are resubmitted"""
    keys: frozenset[int] = frozenset()
    """interrupt IN endpoints of keyboards and mice, on which something may be held down"""
    disks: tuple[Disk, ...] = ()


def policy(
    descriptors: bytes, configuration: int, alternates: Mapping[int, int], choice: str = "auto"
) -> Policy:
    """For the device of these descriptors in the settings that are active. Without descriptors: replug."""
    there = chosen(descriptors, configuration) if configuration else None
    interfaces = interfaces_of(there, alternates) if there else []
    judged = [(interface, *judge(descriptors, interface)) for interface in interfaces]
    strict = not judged or any(verdict is REPLUG for _, verdict, _, _ in judged)
    verdict = Verdict(choice) if choice != "auto" else REPLUG if strict else HIDE
    return Policy(
        verdict,
        tuple(why for _, _, why, _ in judged) or ("nothing is known of it",),
        {e.address: pending for interface, *_, pending in judged for e in interface.endpoints},
        frozenset(e.address for i in interfaces if kind(i) in (KEYBOARD, MOUSE) for e in inward(i)),
        tuple(disk for i in interfaces if kind(i) == BULK_ONLY for disk in disks(i)),
    )


def judge(descriptors: bytes, interface: UsbInterface) -> tuple[Verdict, str, Pending]:
    vendor, product = (int.from_bytes(descriptors[at : at + 2], "little") for at in (8, 10))
    rule = next((r for r in RULES if r.covers(interface)), None)
    pending = rule.pending if rule else Pending.RESUBMIT
    if quirk := next((q for q in QUIRKS if q.covers(vendor, product, interface)), None):
        return quirk.verdict, quirk.why, pending
    if speaks_in_reports(interface):
        return REPLUG, "security key, or another that speaks in HID reports", pending
    if rule is None:
        return REPLUG, f"class {interface.interface_class:02x}, not known to keep nothing inside", pending
    return rule.verdict, rule.why, pending


def speaks_in_reports(interface: UsbInterface) -> bool:
    """A HID interface with reports both ways and no boot protocol: FIDO (usage page F1D0) is such a one.

    Its usage page is in the report descriptor, which only the device tells, and it may be in use.
    """
    outward = (e.direction is Direction.OUT for e in interface.endpoints)
    return interface.interface_class == HID and not interface.subclass and any(outward)


def kind(interface: UsbInterface) -> tuple[int, int, int]:
    return interface.interface_class, interface.subclass, interface.protocol


def inward(interface: UsbInterface) -> Iterator[UsbEndpoint]:
    return (e for e in interface.endpoints if e.direction is Direction.IN)


def disks(interface: UsbInterface) -> Iterator[Disk]:
    bulk = [e for e in interface.endpoints if e.type == TransferType.BULK]
    inward = [e.address for e in bulk if e.direction is Direction.IN]
    outward = [e.address for e in bulk if e.direction is Direction.OUT]
    if inward and outward:
        yield Disk(interface.number, inward[0], outward[0])
