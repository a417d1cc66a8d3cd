"""`Function`: what a device class implements. A gadget is a list of them (gadgets/usb/compose.py).

A function is a deterministic state machine: it reads no clock, socket or random source, and everything
it does it does inside one of the calls below. It is told (`setup`, `out`, `fill`, `on_…`, `local`, `tick`)
and it acts (`send`, `halt`, `ready`, `tell` …). All its mutable state goes through `snapshot` and `restore`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from gadgets.usb.capabilities import Capability
from gadgets.usb.companion import Companion
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.numbering import Numbering
from gadgets.usb.pipes import Pipes
from gadgets.usb.urb import SetupPacket

Answer = bytes | None
"""Of a control request: the data stage (b"" for OUT or none), or None to stall."""


class Function:
    """One or more interfaces that make one thing: a keyboard, a disk, a serial port."""

    inputs: ClassVar[tuple[type, ...]] = ()
    """The local inputs it takes: frozen dataclasses."""

    label = ""
    """Its name in the device, once in each; `compose` gives one to those that have none."""

    _pipes: Pipes
    _tell: Callable[[object], None]

    # What it is told

    def describe(self, take: Numbering) -> Sequence[AlternateSetting]:
        """Its interfaces, with numbers, endpoints and strings taken from `take`; called once, first."""
        raise NotImplementedError

    def capabilities(self, settings: Sequence[AlternateSetting]) -> Sequence[Capability]:
        """What it adds to the BOS of a device with these settings, its own among them; called once, then."""
        return ()

    def setup(self, setup: SetupPacket, data: bytes) -> Answer:
        """A request to its interface or endpoint (class, vendor, or standard ones that are its own, such as
        the HID report descriptor), or a class or vendor request to the device, which the first function that
        answers gets. `data` is the OUT data stage. A longer answer is cut to wLength."""
        return None

    def out(self, endpoint: int, data: bytes) -> bool:
        """Data from the host, at most one transfer. False: not now, offer it again after `ready`; or, after
        `halt`, refuse it. Isochronous data and empty packets are not offered twice."""
        return True

    def fill(self, endpoint: int, length: int) -> bytes | None:
        """An IN transfer of `length` bytes waits and nothing is queued: the next message, or None to let it
        wait."""
        return None

    def coming(self, endpoint: int) -> int:
        """How many bytes the host will send here next, where it has said so, as in Bulk-Only's CBW; 0 where
        not. A real bus is read in larger pieces then."""
        return 0

    def on_configured(self) -> None:
        """The host chose the configuration it is in; its endpoints are usable now, of settings 0."""

    def on_alternate(self, interface: int, alternate: int) -> None:
        """The host chose a setting; the endpoints of the interface start anew."""

    def on_reset(self) -> None:
        """It is no longer configured, for whatever reason: forget what belonged to that host's session."""

    def local(self, input: Any) -> None:
        """One of `inputs` from this side. Raises a TwinhubError, and then has changed nothing."""

    def tick(self, now_ns: int) -> None:
        """The time, on a monotonic clock; only told when `wake_at` asks for it."""

    @property
    def wake_at(self) -> int | None:
        """When it wants the next tick, ns; 0 is at once (to learn the time), None is never."""
        return None

    def snapshot(self) -> dict[str, Any]:
        """All its mutable state, as plain values: what JSON has, and bytes."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse, on a function made with the same arguments."""

    @property
    def companions(self) -> Sequence[Companion]:
        """What of the outside it is tied to: a pty, a TCP port. Who runs the device runs these beside it."""
        return ()

    def so_far(self) -> Sequence[object]:
        """The events that a companion must hear which starts while a host uses the device."""
        return ()

    def close(self) -> None:
        """Give back what it holds of the outside, such as a disk's medium; it is not used any more."""

    # What it does

    def attach_to(self, pipes: Pipes, tell: Callable[[object], None]) -> None:
        """The device takes it in; before this it cannot act."""
        self._pipes = pipes
        self._tell = tell

    def send(self, endpoint: int, data: bytes) -> None:
        """Queue a message to the host. The function bounds what it queues, by `queued`. Raises Unavailable
        while the endpoint is not in use; so do the others below."""
        self._pipes.send(endpoint, data)

    def queued(self, endpoint: int) -> int:
        """How many messages the host has not fetched wholly."""
        return self._pipes.queued(endpoint)

    def drop(self, endpoint: int) -> None:
        """Throw away what is queued."""
        self._pipes.drop(endpoint)

    def ready(self, endpoint: int) -> None:
        """`out` would now take, or `fill` now give, what it did not before."""
        self._pipes.ready(endpoint)

    def halt(self, endpoint: int, *, wedge: bool = False) -> None:
        """Stall the endpoint until the host clears it; a wedge lasts until `release`."""
        self._pipes.halt(endpoint, wedge=wedge)

    def release(self, endpoint: int) -> None:
        """End a halt or wedge from this side."""
        self._pipes.release(endpoint)

    def tell(self, event: object) -> None:
        """Something the operator may want to know: a frozen dataclass."""
        self._tell(event)
