"""Faults that only one device class can have. Each finds its place by itself: a CSW, an input report."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.errors import UsageError
from gadgets.faults.answers import answered, has_data, patched
from gadgets.faults.fault import Deed, Fault, Hands, Stage
from gadgets.hid.usages import FIRST_MODIFIER, usage_of
from gadgets.usb.configuration import Configuration
from gadgets.usb.device import Device
from gadgets.usb.urb import Completion, SetupPacket, TransferType, Urb

CSW_SIZE = 13
_NOTIFICATION, _OVERRUN = b"\xa1\x20", b"\x40\x00"
"""SERIAL_STATE and its bOverRun. PSTN 1.2 table 31."""


@dataclass(frozen=True, slots=True)
class CswFault(Fault):
    """Befalls command status wrappers. BOT 5.2."""

    stage = Stage.ANSWER

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        return done is not None and len(done.data) == CSW_SIZE and done.data.startswith(b"USBS")


@dataclass(frozen=True, slots=True)
class BadSignature(CswFault):
    """A CSW begins with something else than USBS."""

    signature: bytes = b"USBX"

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        return patched(urb, done, 0, self.signature[:4])


@dataclass(frozen=True, slots=True)
class BadTag(CswFault):
    """A CSW answers another command: its tag is off by `by`."""

    by: int = 1

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        tag = int.from_bytes(done.data[4:8], "little") + self.by & 0xFFFFFFFF
        return patched(urb, done, 4, tag.to_bytes(4, "little"))


@dataclass(frozen=True, slots=True)
class BadStatus(CswFault):
    """A CSW says this status: 1 failed (with no sense to explain it), 2 phase error, above: reserved."""

    status: int = 1

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        return patched(urb, done, 12, bytes((self.status & 0xFF,)))


@dataclass(frozen=True, slots=True)
class BadResidue(CswFault):
    """A CSW says that so many bytes were left over."""

    residue: int = 512

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        return patched(urb, done, 8, (self.residue & 0xFFFFFFFF).to_bytes(4, "little"))


@dataclass(frozen=True, slots=True)
class MissingCsw(CswFault):
    """A CSW never comes."""

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> None:
        hands.silence(urb)


@dataclass(frozen=True, slots=True)
class StuckKey(Fault):
    """In each report of a boot keyboard, this key is down."""

    key: str = "a"

    stage = Stage.ANSWER

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        usage_of(self.key)

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        return done is not None and urb.setup is None and has_data(urb, done) and len(done.data) == 8

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        """HID 1.11 appendix B.1: modifiers are bits of byte 0, other keys are in bytes 2 to 7."""
        usage, data = usage_of(self.key), done.data
        if usage >= FIRST_MODIFIER:
            return patched(urb, done, 0, bytes((data[0] | 1 << usage - FIRST_MODIFIER,)))
        if usage in data[2:]:
            return done
        free = data.find(0, 2)
        return patched(urb, done, free if free > 0 else 7, bytes((usage,)))


@dataclass(frozen=True, slots=True)
class WrongReportSize(Fault):
    """An input report has `size` bytes, cut or with zeros behind."""

    size: int = 1

    stage = Stage.ANSWER

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        return has_data(urb, done) and urb.setup is None

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> Completion:
        size = min(self.size, urb.length + 1)
        return answered(urb, done.data[:size].ljust(size, b"\0"))


@dataclass(frozen=True, slots=True)
class Overrun(Fault):
    """A serial port loses an IN message, and says so: SERIAL_STATE with bOverRun. PSTN 1.2 §6.5.4."""

    stage = Stage.ANSWER

    def check(self, device: Device) -> None:
        modem(device.configurations)

    def suits(self, urb: Urb, done: Completion | None) -> bool:
        if done is None or urb.setup or not has_data(urb, done):
            return False
        return not done.data.startswith(_NOTIFICATION)

    def on_answer(self, urb: Urb, done: Completion, hands: Hands) -> None:
        interface, endpoint = modem(hands.configurations)
        head = SetupPacket(_NOTIFICATION[0], _NOTIFICATION[1], 0, interface, 2)
        hands.say(endpoint, head.emit() + _OVERRUN)
        hands.again(urb)


@dataclass(frozen=True, slots=True)
class DtrDrop(Deed):
    """The serial port sees DTR and RTS go low, though the host did nothing. PSTN 1.2 §6.3.12."""

    def check(self, device: Device) -> None:
        modem(device.configurations)

    def do(self, hands: Hands) -> None:
        interface, _ = modem(hands.configurations)
        hands.request(SetupPacket(0x21, 0x22, 0, interface, 0))


def modem(configurations: tuple[Configuration, ...]) -> tuple[int, int]:
    """Interface number and notification endpoint of the first CDC-ACM function. Raises UsageError."""
    for setting in (setting for configuration in configurations for setting in configuration.settings):
        if (setting.interface_class, setting.subclass) == (2, 2):
            for endpoint in setting.endpoints:
                if endpoint.transfer_type is TransferType.INTERRUPT:
                    return setting.interface, endpoint.address
    raise UsageError("this device has no serial port (CDC-ACM), which this fault needs")
