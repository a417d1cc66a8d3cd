"""What every HID function has: descriptors, requests, a queue of input reports. HID 1.11 §7."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from appliance.errors import Unavailable, UsageError
from gadgets.usb.class_descriptors import HID, HidDescriptor
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.function import Answer, Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.shape import DescriptorType
from gadgets.usb.strings import Text
from gadgets.usb.urb import SetupPacket

MAX_WAITING = 20_000
"""Input reports that may wait for the host: a text of some 10 000 characters."""

INPUT, OUTPUT = 1, 2
BOOT_PROTOCOL, REPORT_PROTOCOL = 0, 1
_IDLE_UNIT_NS = 4_000_000


class HidFunction(Function):
    """An interface with one interrupt IN endpoint and one input report without a report id.

    A class on top of it queues reports (`queue`) and hears output reports (`on_output`). Each IN transfer
    fetches one report; the last one fetched is repeated every idle period, if the host set one.
    """

    name: Text = ""
    subclass = 0
    protocol_code = 0
    report_descriptor = b""
    report_size = 0
    interval_ms = 10
    idle_after_reset = 0
    """in units of 4 ms; 0 is no repetition"""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self.configured = False
        self.protocol = REPORT_PROTOCOL
        self.report = bytes(self.report_size)
        self._waiting: deque[bytes] = deque()
        self._idle = self.idle_after_reset
        self._repeat_at: int | None = None

    # What it acts on

    def queue(self, reports: Iterable[bytes]) -> None:
        """Have the host fetch these, in order. Raises Unavailable or UsageError, and then queues none."""
        if not self.configured:
            raise Unavailable("no host has configured this device yet; attach it first")
        room = MAX_WAITING - len(self._waiting)
        more = list(islice(reports, room + 1))
        if len(more) > room:
            raise UsageError(
                f"at most {MAX_WAITING} reports may wait for the host, and {len(self._waiting)} do already; "
                "send less at once, or wait until the host has fetched them"
            )
        self._waiting.extend(more)
        self.ready(self._endpoint)

    def on_output(self, report: bytes) -> bool:
        """An output report; False refuses it (stall)."""
        return False

    # Function

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        endpoint = take.interrupt_in(self.report_size, self.interval_ms)
        self._endpoint = endpoint.address
        self._hid_descriptor = HID.emit(HidDescriptor(len(self.report_descriptor)))
        setting = AlternateSetting(
            interface=take.interface(),
            interface_class=3,
            subclass=self.subclass,
            protocol=self.protocol_code,
            string_index=take.string(self.name),
            extra=(self._hid_descriptor,),
            endpoints=(endpoint,),
        )
        return [setting]

    def setup(self, setup: SetupPacket, data: bytes) -> Answer:
        handler = _REQUESTS.get((setup.request_type, setup.request))
        return handler(self, setup, data) if handler else None

    def fill(self, endpoint: int, length: int) -> bytes | None:
        if not self._waiting:
            return None
        self.report = self._waiting.popleft()
        self._restart_idle()
        return self.report

    def on_configured(self) -> None:
        self.configured = True
        self._restart_idle()

    def on_reset(self) -> None:
        self._forget()

    def tick(self, now_ns: int) -> None:
        if self._repeat_at is None:
            return
        if self._repeat_at == 0:
            self._repeat_at = now_ns + self._idle * _IDLE_UNIT_NS
        elif now_ns >= self._repeat_at:
            self._repeat_at = now_ns + self._idle * _IDLE_UNIT_NS
            if not self._waiting:
                self.queue([self.report])

    @property
    def wake_at(self) -> int | None:
        return self._repeat_at

    def _restart_idle(self) -> None:
        self._repeat_at = 0 if self._idle and self.configured else None

    # Requests

    def _descriptor(self, setup: SetupPacket, data: bytes) -> Answer:
        own = {DescriptorType.HID: self._hid_descriptor, DescriptorType.HID_REPORT: self.report_descriptor}
        return {kind << 8: descriptor for kind, descriptor in own.items()}.get(setup.value)

    def _get_report(self, setup: SetupPacket, data: bytes) -> Answer:
        return self.report if setup.value == INPUT << 8 else None

    def _set_report(self, setup: SetupPacket, data: bytes) -> Answer:
        return b"" if setup.value == OUTPUT << 8 and self.on_output(data) else None

    def _get_idle(self, setup: SetupPacket, data: bytes) -> Answer:
        return bytes((self._idle,)) if setup.value == 0 else None

    def _set_idle(self, setup: SetupPacket, data: bytes) -> Answer:
        if setup.value & 0xFF:
            return None
        self._idle = setup.value >> 8
        self._restart_idle()
        return b""

    def _get_protocol(self, setup: SetupPacket, data: bytes) -> Answer:
        return bytes((self.protocol,)) if self.subclass == 1 and setup.value == 0 else None

    def _set_protocol(self, setup: SetupPacket, data: bytes) -> Answer:
        if self.subclass != 1 or setup.value not in (BOOT_PROTOCOL, REPORT_PROTOCOL):
            return None
        self.protocol = setup.value
        return b""

    # Written down

    def snapshot(self) -> dict[str, Any]:
        return {
            "configured": self.configured,
            "protocol": self.protocol,
            "report": self.report,
            "waiting": list(self._waiting),
            "idle": self._idle,
            "repeat_at": self._repeat_at,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.configured = state["configured"]
        self.protocol = state["protocol"]
        self.report = state["report"]
        self._waiting = deque(state["waiting"])
        self._idle = state["idle"]
        self._repeat_at = state["repeat_at"]


_REQUESTS: dict[tuple[int, int], Callable[[HidFunction, SetupPacket, bytes], Answer]] = {
    (0x81, 0x06): HidFunction._descriptor,
    (0xA1, 0x01): HidFunction._get_report,
    (0xA1, 0x02): HidFunction._get_idle,
    (0xA1, 0x03): HidFunction._get_protocol,
    (0x21, 0x09): HidFunction._set_report,
    (0x21, 0x0A): HidFunction._set_idle,
    (0x21, 0x0B): HidFunction._set_protocol,
}
