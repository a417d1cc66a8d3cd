"""Any HID device, by its report descriptor; its reports are bytes from here and events from the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from appliance.errors import UsageError
from gadgets.hid.descriptor_text import to_bytes
from gadgets.hid.function import HidFunction
from gadgets.hid.items import Report, ReportKind
from gadgets.usb.records import Range


@dataclass(frozen=True, slots=True)
class InputReport:
    """Input: the host is to fetch this report, whole, with its id in front if it has one."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """Input: what GET_REPORT of a feature answers from now on, for every host. Event: the host set it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class OutputReport:
    """Event: the host sent this report, whole."""

    data: bytes


class Custom(HidFunction):
    """Any HID device, interface 03. `descriptor` is its report descriptor: bytes in hexadecimal, or text such
    as "Usage Page (Generic Desktop), Usage (Mouse)" (gadgets/hid/descriptor_text.py). `boot` says which
    boot device it is, if any; `out_endpoint` adds an interrupt OUT endpoint for output reports."""

    inputs = (InputReport, FeatureReport)

    def __init__(
        self,
        *,
        descriptor: str,
        name: str = "",
        boot: Literal["", "keyboard", "mouse"] = "",
        out_endpoint: bool = False,
        interval_ms: Annotated[int, Range(1, 255)] = 10,
    ) -> None:
        if boot not in _BOOT:
            raise UsageError(f"boot is 'keyboard', 'mouse' or '', not {boot!r}")
        self.report_descriptor = to_bytes(descriptor)
        self.name = name
        self.subclass, self.protocol_code = _BOOT[boot]
        self.out_endpoint = out_endpoint
        self.interval_ms = interval_ms
        self._features: dict[Report, bytes] = {}
        super().__init__()

    def _forget(self) -> None:
        super()._forget()
        self.reports |= self._features

    def local(self, input: InputReport | FeatureReport) -> None:
        match input:
            case InputReport():
                self._checked(ReportKind.INPUT, input.data)
                self.queue([input.data])
            case FeatureReport():
                which = self._checked(ReportKind.FEATURE, input.data)
                self._features[which] = self.reports[which] = input.data

    def on_report(self, kind: ReportKind, report: bytes) -> None:
        self.tell(FeatureReport(report) if kind is ReportKind.FEATURE else OutputReport(report))

    def _checked(self, kind: ReportKind, data: bytes) -> Report:
        which = Report(kind, self._id(data))
        if self.sizes.get(which) != len(data):
            known = (
                f"{size} bytes" + f" with id {r.id}" * bool(r.id)
                for r, size in self.sizes.items()
                if r.kind == kind
            )
            raise UsageError(
                f"{data[:8].hex(' ')!r}, {len(data)} bytes, is no {kind.name.lower()} report of this device; "
                f"it has {', '.join(known) or 'none'}"
            )
        return which

    def snapshot(self) -> dict[str, Any]:
        return {
            **super().snapshot(),
            "features": [[report.id, data] for report, data in self._features.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._features = {Report(ReportKind.FEATURE, number): data for number, data in state["features"]}


_BOOT = {"": (0, 0), "keyboard": (1, 1), "mouse": (1, 2)}
"""bInterfaceSubClass and bInterfaceProtocol. HID 1.11 §4.2, §4.3."""
