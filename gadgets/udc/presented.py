"""A gadget that is on a controller: its device, its companions, its timer, on one loop. Nothing is polled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from appliance.loop import IN, Loop
from gadgets.definition import Gadget
from gadgets.faults.cable import Plugged, Unplugged
from gadgets.udc.bridge import Bridge
from gadgets.usb.device import To, Told
from gadgets.usb.urb import Completion


class Source(Protocol):
    """Where the kernel's events come from: functionfs.FunctionFs."""

    bridge: Bridge

    @property
    def eventfd(self) -> Any: ...
    def process(self) -> None: ...


class Cable(Protocol):
    """Between controller and host, for the faults that pull at it."""

    def unplug(self) -> None: ...
    def plug(self, serial: str) -> None:
        """`serial`: the number it comes back with, if another one."""


class Presented:
    """`source` None: the gadget consists of the kernel's functions alone, and nothing is to be done."""

    def __init__(
        self,
        loop: Loop,
        gadget: Gadget,
        source: Source | None,
        cable: Cable,
        listen: Callable[[Told], None],
        udc: str = "",
    ) -> None:
        self.loop, self.gadget, self.source, self.cable, self.listen = loop, gadget, source, cable, listen
        self.udc = udc
        self.companions = gadget.companions
        for label, companions in self.companions.items():
            for companion in companions:
                companion.start(loop, partial(self.give, label))
        if source:
            loop.watch(source.eventfd.fileno(), IN, self.on_events)
        self.acting = False
        self.act(())

    def run(self) -> None:
        """Until something is raised, by a signal's handler for one."""
        self.loop.run()

    def local(self, input: object) -> None:
        """Raises the TwinhubError with which the device refuses it."""
        self.act(self.gadget.device.local(input))

    def local_plain(self, given: Mapping[str, Any]) -> None:
        """`{"type_text": "hello", "layout": "de"}`. Raises UsageError for what the device does not take."""
        self.local(self.gadget.input(given))

    def give(self, function: str, input: object) -> None:
        """A companion's input to its function."""
        self.local(To(function, input))

    def on_events(self, events: int) -> None:
        assert self.source
        self.source.process()
        self.act(())

    def on_time(self) -> None:
        self.act(self.gadget.device.tick(time.monotonic_ns()))

    def act(self, completions: Iterable[Completion]) -> None:
        """After an input: to the host what it completed, to all others what it told. What a companion gives
        while it hears is part of that turn."""
        if self.source:
            self.source.bridge.finish(completions)
        if self.acting:
            return
        self.acting = True
        try:
            self.tell()
        finally:
            self.acting = False
        due = self.gadget.device.wake_at
        self.loop.at(due or 0, None if due is None else self.on_time)

    def tell(self) -> None:
        while events := self.gadget.device.take_events():
            for told in events:
                for companion in self.companions.get(told.function, ()):
                    companion.hear(told.event)
                if isinstance(told.event, Unplugged):
                    self.cable.unplug()
                elif isinstance(told.event, Plugged):
                    self.cable.plug(told.event.serial)
                self.listen(told)

    def stats(self) -> dict[str, object]:
        """What the companions say of themselves, by function."""
        return {label: [each.stats() for each in own] for label, own in self.companions.items() if own}

    def close(self) -> None:
        for companions in self.companions.values():
            for companion in companions:
                companion.close()
