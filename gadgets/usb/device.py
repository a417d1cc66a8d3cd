"""`Device`: what turns URBs into completions; and `GadgetDevice`: descriptors, a control pipe and functions.

The rules of a `Device`, on which tests, replay, hot standby and migration rest:
1. Its only inputs are `submit`, `unlink`, `bus`, `local` and `tick`, in one ordered sequence.
2. Its only outputs are the completions that these return, in the order they happened, and events. A
   completion belongs to any URB submitted before, not only to the one at hand.
3. Same inputs, same bytes out. It reads no clock, no socket and no random source.
4. Whoever drives it calls `tick(now)` when `wake_at` has come. Nothing has to be polled.
5. Every submitted URB completes exactly once, unless it was unlinked in flight or ATTACH swept it away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial
from hashlib import sha256
from typing import Any, Protocol

from appliance.errors import UsageError
from gadgets.usb.configuration import AlternateSetting, Configuration
from gadgets.usb.control import ControlPipe
from gadgets.usb.descriptor_set import DescriptorSet
from gadgets.usb.descriptors import DeviceDescriptor
from gadgets.usb.function import Answer, Function
from gadgets.usb.pipes import Pipes
from gadgets.usb.urb import Completion, Recipient, SetupPacket, Speed, Status, TransferType, Urb

MAX_EVENTS = 256
"""Events kept for whoever asks; the oldest go first."""


class BusEvent(Enum):
    """What happens on the cable. ATTACH: a new host; nothing of an earlier one is left. DETACH: the host is
    gone, what is in flight completes with SHUTDOWN."""

    ATTACH = "attach"
    RESET = "reset"
    SUSPEND = "suspend"
    RESUME = "resume"
    DETACH = "detach"


@dataclass(frozen=True, slots=True)
class Configured:
    """Event: the host chose this configuration; 0 is none."""

    value: int


@dataclass(frozen=True, slots=True)
class WakeUp:
    """Event: something happened while suspended, and the host allows the device to wake it."""


@dataclass(frozen=True, slots=True)
class Told:
    """What `function` (its label; "" is the device itself) told."""

    function: str
    event: object


@dataclass(frozen=True, slots=True)
class To:
    """A local input for the function of this label, where several take such."""

    function: str
    input: object


class Device(Protocol):
    """Anything that is a USB device."""

    @property
    def speed(self) -> Speed: ...
    @property
    def device_descriptor(self) -> DeviceDescriptor: ...
    @property
    def configurations(self) -> tuple[Configuration, ...]: ...
    @property
    def configuration_value(self) -> int:
        """Of the current configuration; 0 is none."""

    def string(self, index: int) -> str:
        """A string of its descriptors; empty where there is none."""

    def transfer_type(self, endpoint: int) -> TransferType | None:
        """Of an endpoint address, by the current alternate settings; None where there is no such endpoint."""

    def submit(self, urb: Urb) -> list[Completion]: ...
    def unlink(self, number: int) -> bool:
        """True: it was in flight and will never complete. False: it has completed, or never was."""

    def bus(self, event: BusEvent) -> list[Completion]: ...
    def local(self, input: object) -> list[Completion]:
        """An input from this side: a key, a disk. Raises a TwinhubError, and then nothing has changed."""

    def tick(self, now_ns: int) -> list[Completion]: ...
    @property
    def wake_at(self) -> int | None:
        """When it wants the next tick, ns on the driver's monotonic clock; 0 at once, None never."""

    def take_events(self) -> list[Told]:
        """What it told since it was last asked; the events are frozen dataclasses."""

    @property
    def inputs(self) -> tuple[type, ...]:
        """The local inputs it takes: frozen dataclasses."""

    def snapshot(self) -> dict[str, Any]:
        """Its whole state between two inputs, as plain values and bytes; events are output, not state."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where the snapshot was taken. Raises UsageError for one of another definition."""


class GadgetDevice:
    """A software device, made in a few lines by `compose`. It begins attached, in the default state.

    `owners`: configuration value → interface number → which of the `functions` is behind it. A function
    that owns no interface still gets requests to the device.
    """

    def __init__(
        self,
        descriptors: DescriptorSet,
        functions: Sequence[Function],
        owners: Mapping[int, Mapping[int, Function]],
    ) -> None:
        self.descriptors = descriptors
        self.functions = tuple(functions)
        self.attached = True
        self.suspended = False
        self._owners = owners
        self._pipes = Pipes()
        self._control = ControlPipe(descriptors, self)
        self._events: deque[Told] = deque(maxlen=MAX_EVENTS)
        for function in self.functions:
            function.attach_to(self._pipes, partial(self._tell, function.label))
        self._timed = [
            function for function in self.functions if type(function).wake_at is not Function.wake_at
        ]
        """Those that ever want to know the time."""

    # Facts

    @property
    def speed(self) -> Speed:
        return self.descriptors.speed

    @property
    def device_descriptor(self) -> DeviceDescriptor:
        return self.descriptors.device

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        return self.descriptors.configurations

    @property
    def configuration_value(self) -> int:
        return self._control.configuration.value if self._control.configuration else 0

    @property
    def inputs(self) -> tuple[type, ...]:
        return tuple(dict.fromkeys(kind for function in self.functions for kind in function.inputs))

    def coming(self, endpoint: int) -> int:
        """See `Function.coming`."""
        setting = next((each for each in self._control.settings if each.endpoint(endpoint)), None)
        owner = self._owner(setting.interface) if setting else None
        return owner.coming(endpoint) if owner else 0

    def string(self, index: int) -> str:
        return self.descriptors.strings.text(index)

    def transfer_type(self, endpoint: int) -> TransferType | None:
        """What no current setting has is looked up in all others: a transfer may be late for its setting."""
        if endpoint & 0x7F == 0:
            return TransferType.CONTROL
        pipe = self._pipes.find(endpoint)
        if pipe:
            return pipe.transfer_type
        everywhere = (s.endpoint(endpoint) for c in self.configurations for s in c.settings)
        return next((found.transfer_type for found in everywhere if found), None)

    # Inputs

    def submit(self, urb: Urb) -> list[Completion]:
        if not self.attached:
            return [Completion(urb.number, Status.NODEV, packets=urb.packets)]
        if urb.endpoint & 0x7F:
            return self._pipes.submit(urb)
        answer = self._control.request(urb.setup, urb.data) if urb.setup else None
        return [*self._pipes.take(), control_completion(urb, answer)]

    def unlink(self, number: int) -> bool:
        return self._pipes.unlink(number)

    def bus(self, event: BusEvent) -> list[Completion]:
        if event is BusEvent.ATTACH:
            self._pipes.forget_all()
        if event in (BusEvent.SUSPEND, BusEvent.RESUME):
            self.suspended = event is BusEvent.SUSPEND
        else:
            self.attached = event is not BusEvent.DETACH
            self.port_reset()
        return self._pipes.take()

    def local(self, input: object) -> list[Completion]:
        """An input for the first function that takes such, or, as `To`, for the one named."""
        inner = input.input if isinstance(input, To) else input
        self._taker(input).local(inner)
        if self.suspended and self._control.remote_wakeup:
            self._tell("", WakeUp())
        return self._pipes.take()

    def _taker(self, input: object) -> Function:
        asked = [f for f in self.functions if not isinstance(input, To) or f.label == input.function]
        if isinstance(input, To) and not asked:
            labels = ", ".join(f.label for f in self.functions)
            raise UsageError(f"this device has no function {input.function!r}; it has {labels}")
        inner = input.input if isinstance(input, To) else input
        takers = [function for function in asked if isinstance(inner, function.inputs)]
        if not takers:
            known = ", ".join(sorted({kind.__name__ for f in asked for kind in f.inputs})) or "nothing"
            raise UsageError(f"this device does not take {type(inner).__name__}; it takes {known}")
        return takers[0]

    def tick(self, now_ns: int) -> list[Completion]:
        for function in self._timed:
            function.tick(now_ns)
        return self._pipes.take()

    @property
    def wake_at(self) -> int | None:
        if not self._timed:
            return None
        return min((at for f in self._timed if (at := f.wake_at) is not None), default=None)

    def take_events(self) -> list[Told]:
        if not self._events:
            return []
        events = list(self._events)
        self._events.clear()
        return events

    # Behind the control pipe (control.Behind)

    def configure(self, configuration: Configuration | None) -> None:
        self._pipes.close_all(Status.SHUTDOWN)
        for function in self.functions:
            function.on_reset()
        for setting in self._control.settings:
            self._open(setting)
        self._tell("", Configured(configuration.value if configuration else 0))
        if configuration:
            for function in dict.fromkeys(self._owners.get(configuration.value, {}).values()):
                function.on_configured()

    def choose(self, old: AlternateSetting, new: AlternateSetting) -> None:
        for endpoint in old.endpoints:
            self._pipes.close(endpoint.address, Status.SHUTDOWN)
        self._open(new)
        owner = self._owner(new.interface)
        if owner:
            owner.on_alternate(new.interface, new.alternate)

    def halted(self, endpoint: int) -> bool | None:
        pipe = self._pipes.find(endpoint)
        return pipe.halted if pipe else None

    def set_halt(self, endpoint: int, halted: bool) -> None:
        if halted:
            self._pipes.halt(endpoint)
        else:
            self._pipes.clear_halt(endpoint)

    def ask_function(self, setup: SetupPacket, data: bytes) -> Answer:
        target = setup.index & 0xFF
        if setup.recipient is Recipient.INTERFACE:
            owner = self._owner(target)
            return owner.setup(setup, data) if owner else None
        if setup.recipient is Recipient.ENDPOINT:
            setting = next((s for s in self._control.settings if s.endpoint(target)), None)
            owner = self._owner(setting.interface) if setting else None
            return owner.setup(setup, data) if owner else None
        if setup.recipient is Recipient.DEVICE:
            answers = (function.setup(setup, data) for function in self.functions)
            return next((answer for answer in answers if answer is not None), None)
        return None

    def port_reset(self) -> None:
        self.suspended = False
        self._pipes.close_all(Status.SHUTDOWN)
        self._control.reset()
        for function in self.functions:
            function.on_reset()

    def _tell(self, function: str, event: object) -> None:
        self._events.append(Told(function, event))

    def _owner(self, interface: int) -> Function | None:
        return self._owners.get(self.configuration_value, {}).get(interface)

    def _open(self, setting: AlternateSetting) -> None:
        owner = self._owner(setting.interface)
        for endpoint in setting.endpoints:
            if owner:
                self._pipes.open(endpoint, owner)

    # Written down

    def snapshot(self) -> dict[str, Any]:
        return {
            "definition": self._definition,
            "attached": self.attached,
            "suspended": self.suspended,
            "control": self._control.snapshot(),
            "pipes": self._pipes.snapshot(),
            "functions": [function.snapshot() for function in self.functions],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        if state["definition"] != self._definition:
            raise UsageError("the snapshot is of a device with other descriptors")
        self._pipes.forget_all()
        self._events.clear()
        self.attached, self.suspended = state["attached"], state["suspended"]
        self._control.restore(state["control"])
        for setting in self._control.settings:
            self._open(setting)
        self._pipes.restore(state["pipes"])
        for function, saved in zip(self.functions, state["functions"], strict=True):
            function.restore(saved)

    @cached_property
    def _definition(self) -> str:
        """A digest of all descriptors: the same definition, the same digest."""
        table = sorted(self.descriptors.table.items())
        return sha256(repr((int(self.speed), table)).encode()).hexdigest()


def control_completion(urb: Urb, answer: Answer) -> Completion:
    """`answer` as the end of a control transfer: no more than its buffer holds; None is a stall."""
    if answer is None or urb.setup is None:
        return Completion(urb.number, Status.PIPE)
    if not urb.setup.request_type & 0x80:
        return Completion(urb.number, Status.OK, len(urb.data))
    data = answer[: urb.length]
    return Completion(urb.number, Status.OK, len(data), data)
