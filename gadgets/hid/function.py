"""What every HID function has: descriptors, requests, a queue of input reports. HID 1.11 §7."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

from appliance.errors import Unavailable, UsageError
from gadgets.hid.items import Report, ReportKind, report_sizes
from gadgets.hid.timer import Timer
from gadgets.usb.class_descriptors import HID, HidDescriptor
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.function import Answer, Function
from gadgets.usb.numbering import Numbering
from gadgets.usb.shape import DescriptorType
from gadgets.usb.strings import Text
from gadgets.usb.urb import SetupPacket, Speed

MAX_WAITING = 20_000
"""Input reports that may wait for the host: a text of some 10 000 characters."""
MAX_WAITING_BYTES = 4 << 20

BOOT_PROTOCOL, REPORT_PROTOCOL = 0, 1
_IDLE_UNIT_NS = 4_000_000


class HidFunction(Function):
    """An interface with an interrupt IN endpoint, and an interrupt OUT one if it wants.

    A class on top of it says what its reports look like (`report_descriptor`), queues input reports
    (`queue`) and hears what the host sets (`on_report`). A report is always whole, with its id in front if
    it has one. Each IN transfer fetches one; the last one of an id is repeated every idle period, if the
    host set one. `reports` are the current ones: what GET_REPORT answers.
    """

    name: Text = ""
    subclass = 0
    protocol_code = 0
    report_descriptor = b""
    interval_ms = 10
    idle_after_reset: ClassVar[int] = 0
    """in units of 4 ms; 0 is no repetition"""
    out_endpoint = False
    pause_ns = 0
    """from one input report to the next, at least"""

    def __init__(self) -> None:
        self.sizes = report_sizes(self.report_descriptor)
        self._forget()

    def _forget(self) -> None:
        self.configured = False
        self.protocol = REPORT_PROTOCOL
        self.reports = {
            report: (bytes((report.id,)) if report.id else b"").ljust(size, b"\0")
            for report, size in self.sizes.items()
        }
        self._waiting: deque[bytes] = deque()
        self._pause = Timer()
        inputs = [report.id for report in self.sizes if report.kind == ReportKind.INPUT]
        self._idle = dict.fromkeys(inputs, self.idle_after_reset)
        self._repeat = {report_id: Timer() for report_id in inputs}

    # What it acts on

    def queue(self, reports: Iterable[bytes]) -> None:
        """Have the host fetch these, in order. Raises Unavailable or UsageError, and then queues none."""
        if not self.configured:
            raise Unavailable("no host has configured this device yet; attach it first")
        most = min(MAX_WAITING, MAX_WAITING_BYTES // self.input_size)
        room = most - len(self._waiting)
        more = list(islice(reports, room + 1))
        if len(more) > room:
            raise UsageError(
                f"at most {most} reports may wait for the host, and {len(self._waiting)} do already; "
                "send less at once, or wait until the host has fetched them"
            )
        self._waiting.extend(more)
        self.ready(self._endpoint)

    @property
    def waiting(self) -> int:
        """How many reports the host has not fetched."""
        return len(self._waiting)

    @property
    def input_size(self) -> int:
        return self._largest(ReportKind.INPUT)

    def on_report(self, kind: ReportKind, report: bytes) -> None:
        """The host set an output or feature report; of one of the sizes there are."""

    def boot_report(self, report: bytes) -> bytes:
        """An input report as the boot protocol has it, for those of subclass 1. HID 1.11 appendix B."""
        return report

    # Function

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        packet = 8 if take.speed is Speed.LOW else 64
        endpoints = [take.interrupt_in(min(self.input_size, packet), self.interval_ms)]
        self._endpoint = endpoints[0].address
        if self.out_endpoint:
            size = min(self._largest(ReportKind.OUTPUT), packet)
            endpoints.append(take.interrupt_out(size, self.interval_ms))
            self.out_address = endpoints[1].address
        self._hid_descriptor = HID.emit(HidDescriptor(len(self.report_descriptor)))
        setting = AlternateSetting(
            interface=take.interface(),
            interface_class=3,
            subclass=self.subclass,
            protocol=self.protocol_code,
            string_index=take.string(self.name),
            extra=(self._hid_descriptor,),
            endpoints=tuple(endpoints),
        )
        return [setting]

    def setup(self, setup: SetupPacket, data: bytes) -> Answer:
        handler = _REQUESTS.get((setup.request_type, setup.request))
        return handler(self, setup, data) if handler else None

    def out(self, endpoint: int, data: bytes) -> bool:
        """What is no output report is dropped: a host seldom clears the halt of such an endpoint."""
        self._take(Report(ReportKind.OUTPUT, self._id(data)), data)
        return True

    def fill(self, endpoint: int, length: int) -> bytes | None:
        if not self._waiting or self._pause.at is not None:
            return None
        report = self._waiting.popleft()
        report_id = self._id(report)
        self.reports[Report(ReportKind.INPUT, report_id)] = report
        self._restart_idle(report_id)
        if self.pause_ns:
            self._pause.start()
        return self._spoken(report)

    def on_configured(self) -> None:
        self.configured = True
        self._restart_idle(*self._idle)

    def on_reset(self) -> None:
        self._forget()

    def tick(self, now_ns: int) -> None:
        if self._pause.over(now_ns, self.pause_ns):
            self.ready(self._endpoint)
        for report_id, timer in self._repeat.items():
            if timer.every(now_ns, self._idle[report_id] * _IDLE_UNIT_NS) and not self._waiting:
                self.queue([self.reports[Report(ReportKind.INPUT, report_id)]])

    @property
    def wake_at(self) -> int | None:
        timers = (self._pause, *self._repeat.values())
        return min((timer.at for timer in timers if timer.at is not None), default=None)

    def _restart_idle(self, *report_ids: int) -> None:
        for report_id in report_ids:
            self._repeat[report_id].at = 0 if self._idle[report_id] and self.configured else None

    def _largest(self, kind: ReportKind) -> int:
        """At least 1, so that an endpoint may be there for reports that are not."""
        return max((size for report, size in self.sizes.items() if report.kind == kind), default=1)

    def _id(self, report: bytes) -> int:
        """0 where reports have no ids."""
        numbered = any(known.id for known in self.sizes)
        return report[0] if numbered and report else 0

    def _spoken(self, report: bytes) -> bytes:
        return self.boot_report(report) if self.protocol == BOOT_PROTOCOL else report

    def _take(self, which: Report, data: bytes) -> bool:
        if len(data) != self.sizes.get(which) or self._id(data) != which.id:
            return False
        self.reports[which] = data
        self.on_report(ReportKind(which.kind), data)
        return True

    # Requests

    def _descriptor(self, setup: SetupPacket, data: bytes) -> Answer:
        own = {DescriptorType.HID: self._hid_descriptor, DescriptorType.HID_REPORT: self.report_descriptor}
        return {kind << 8: descriptor for kind, descriptor in own.items()}.get(setup.value)

    def _get_report(self, setup: SetupPacket, data: bytes) -> Answer:
        which = Report(*divmod(setup.value, 256))
        report = self.reports.get(which)
        return self._spoken(report) if report and which.kind == ReportKind.INPUT else report

    def _set_report(self, setup: SetupPacket, data: bytes) -> Answer:
        which = Report(*divmod(setup.value, 256))
        return b"" if which.kind != ReportKind.INPUT and self._take(which, data) else None

    def _get_idle(self, setup: SetupPacket, data: bytes) -> Answer:
        rate = self._idle.get(setup.value)
        return None if rate is None else bytes((rate,))

    def _set_idle(self, setup: SetupPacket, data: bytes) -> Answer:
        """Of one report id, or 0: of all. HID 1.11 §7.2.4."""
        rate, report_id = divmod(setup.value, 256)
        chosen = [known for known in self._idle if report_id in (0, known)]
        self._idle |= dict.fromkeys(chosen, rate)
        self._restart_idle(*chosen)
        return b"" if chosen else None

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
            "reports": [[int(report.kind), report.id, data] for report, data in self.reports.items()],
            "waiting": list(self._waiting),
            "pause": self._pause.at,
            "idle": [[report_id, rate, self._repeat[report_id].at] for report_id, rate in self._idle.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.configured = state["configured"]
        self.protocol = state["protocol"]
        self.reports = {Report(kind, number): data for kind, number, data in state["reports"]}
        self._waiting = deque(state["waiting"])
        self._pause = Timer(state["pause"])
        self._idle = {report_id: rate for report_id, rate, _ in state["idle"]}
        self._repeat = {report_id: Timer(at) for report_id, _, at in state["idle"]}


_REQUESTS: dict[tuple[int, int], Callable[[HidFunction, SetupPacket, bytes], Answer]] = {
    (0x81, 0x06): HidFunction._descriptor,
    (0xA1, 0x01): HidFunction._get_report,
    (0xA1, 0x02): HidFunction._get_idle,
    (0xA1, 0x03): HidFunction._get_protocol,
    (0x21, 0x09): HidFunction._set_report,
    (0x21, 0x0A): HidFunction._set_idle,
    (0x21, 0x0B): HidFunction._set_protocol,
}
