"""A software device that is switched on: it, its companions, its timer, and the client it has at the moment.

The one place where inputs reach the device, one after the other: what they complete goes to the client, what
they tell goes to the companions and to whoever listens. Nothing is polled: one alarm serves the device's
ticks and the client's idle release.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from appliance.errors import TwinhubError
from appliance.loop import Ended, Loop
from appliance.sessions.recording import Recording
from appliance.usbip.wire import Unlink
from gadgets.definition import Gadget
from gadgets.faults.cable import Plugged, Unplugged
from gadgets.usb.companion import Companion, Flow
from gadgets.usb.device import BusEvent, Device, To, Told
from gadgets.usb.inputs import read_input
from gadgets.usb.urb import Completion, Urb


class Host(Protocol):
    """The client's side."""

    def submitted(self, urb: Urb) -> None: ...
    def complete(self, completions: Iterable[Completion]) -> None: ...
    def unlinked(self, unlink: Unlink, cancelled: bool) -> None: ...
    def flush(self) -> None:
        """Send what is to be sent. Never raises: a client that has gone is seen by the loop."""

    def idle_at(self) -> int | None:
        """When it is to be released unless something moves, monotonic ns."""

    def release(self) -> None:
        """That moment has come: raises Ended."""


class Running:
    """`listen` hears all that is told but what only flows to a companion. They hear their function's events
    first."""

    def __init__(self, loop: Loop, gadget: Gadget, listen: Callable[[Told], None]) -> None:
        self.loop, self.gadget, self.listen = loop, gadget, listen
        self.device: Device = gadget.device
        self.host: Host | None = None
        self.plugged = True
        """False: a fault pulled it out, and no host may have it"""
        self.recording: Recording | None = None
        self.acting = False
        self.wake_at: int | None = None
        """The device's, when the alarm was set"""
        self.companions: dict[str, list[Companion]] = {}
        try:
            for label, companions in gadget.companions.items():
                for companion in companions:
                    companion.start(loop, partial(self.give, label))
                    self.companions.setdefault(label, []).append(companion)
        except TwinhubError:
            self.close()
            raise
        self.arm()

    # Inputs

    def attach(self, host: Host) -> None:
        self.host = host
        self.act(self.device.bus(BusEvent.ATTACH))

    def detach(self) -> None:
        """What it completes now has nobody to go to."""
        self.device.bus(BusEvent.DETACH)
        self.host = None
        self.act(())

    def take(self, sent: Iterable[Urb | Unlink]) -> None:
        """What the client sent, in its order; the answers go out together."""
        assert self.host
        host, device = self.host, self.device
        self.acting = True
        try:
            for each in sent:
                if isinstance(each, Urb):
                    host.submitted(each)
                    host.complete(device.submit(each))
                else:
                    host.unlinked(each, device.unlink(each.number))
                if events := device.take_events():
                    self.tell(events)
        finally:
            self.acting = False
        host.flush()
        if device.wake_at != self.wake_at or not self.plugged:
            self.arm()

    def give(self, function: str, input: object) -> None:
        """A companion's input to its function."""
        self.local(To(function, input))

    def local(self, input: object) -> None:
        """Raises the TwinhubError with which the device refuses it."""
        self.act(self.device.local(input))

    def local_plain(self, given: Mapping[str, Any], folder: Path | None = None) -> None:
        """`{"type_text": "hello", "layout": "de"}`; relative paths count from `folder`, by default the
        definition's. Raises UsageError for what the device does not take."""
        definition = self.gadget.definition
        self.local(read_input(self.device.inputs, given, definition.name, folder or definition.folder))

    def on_time(self) -> None:
        now = time.monotonic_ns()
        if self.host and not self.plugged:
            raise Ended("the device was unplugged by a fault")
        if self.host and is_due(self.host.idle_at(), now):
            self.host.release()
        if is_due(self.device.wake_at, now):
            self.act(self.device.tick(now))
        else:
            self.arm()

    # What follows from them

    def act(self, completions: Iterable[Completion]) -> None:
        """After an input. What a companion puts in while it hears of another is part of that one's turn."""
        if self.host:
            self.host.complete(completions)
        if self.acting:
            return
        self.acting = True
        try:
            self.tell(self.device.take_events())
        finally:
            self.acting = False
        if self.host:
            self.host.flush()
        self.arm()

    def tell(self, events: list[Told]) -> None:
        """What they make a companion put in tells more."""
        while events:
            for told in events:
                companions = self.companions.get(told.function, ())
                for companion in companions:
                    companion.hear(told.event)
                if isinstance(told.event, Plugged | Unplugged):
                    self.plugged = isinstance(told.event, Plugged)
                if not (companions and isinstance(told.event, Flow)):
                    self.listen(told)
            events = self.device.take_events()

    def arm(self) -> None:
        """One alarm for what is due first. A release that has moved on since is armed when the alarm finds it
        not due yet."""
        due = self.wake_at = self.device.wake_at
        if self.host:
            release = self.host.idle_at() if self.plugged else 0
            due = release if due is None else due if release is None else min(due, release)
        self.loop.at(due or 0, None if due is None else self.on_time)

    # Recording

    def record(self, fd: int) -> None:
        """Write a recording (`gadgets.replay`) to this pipe or socket, from now on."""
        self.end_recording("another recording begins")
        self.recording = Recording(self.loop, self.device, self.gadget.definition, fd, self.unread)
        self.device = self.recording.recorder

    def end_recording(self, reason: str) -> Recording | None:
        """The one that there was. Its last bytes go out as its reader takes them."""
        recording, self.recording = self.recording, None
        if recording:
            self.device = recording.recorder.device
            recording.end(reason)
        return recording

    def unread(self) -> None:
        self.end_recording("nobody reads it any more")

    def close(self) -> None:
        recording = self.end_recording("the gadget ends")
        if recording:
            recording.drain()
        for companions in self.companions.values():
            for companion in companions:
                companion.close()
        self.gadget.close()


def is_due(at: int | None, now: int) -> bool:
    return at is not None and now >= at
