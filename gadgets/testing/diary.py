"""What a host did with a gadget, in its order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from gadgets.usb.device import Told
from gadgets.usb.urb import Completion, SetupPacket, Status, Urb

MAX_KEPT = 10_000
"""Transfers, or events; the oldest go first."""


@dataclass(slots=True)
class Transfer:
    """`data` is what went out or came in. `status`: None while it waits, 0 or a negative errno (`Status`)."""

    endpoint: int
    data: bytes = b""
    setup: SetupPacket | None = None
    status: int | None = None

    @property
    def request(self) -> tuple[int, int] | None:
        """bmRequestType and bRequest of a control transfer."""
        return (self.setup.request_type, self.setup.request) if self.setup else None


class Diary:
    """Kept by whoever brings the host's transfers to the device."""

    def __init__(self) -> None:
        self.transfers: deque[Transfer] = deque(maxlen=MAX_KEPT)
        self.events: deque[Told] = deque(maxlen=MAX_KEPT)
        self._waiting: dict[int, Transfer] = {}

    def submitted(self, urb: Urb) -> None:
        transfer = Transfer(urb.endpoint, urb.data, urb.setup)
        self.transfers.append(transfer)
        self._waiting[urb.number] = transfer

    def completed(self, completions: Iterable[Completion]) -> None:
        for done in completions:
            transfer = self._waiting.pop(done.number, None)
            if transfer:
                transfer.status = done.status
                transfer.data = done.data or transfer.data

    def unlinked(self, number: int) -> None:
        transfer = self._waiting.pop(number, None)
        if transfer:
            transfer.status = Status.CONNRESET
