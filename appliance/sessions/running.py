"""A software device that is switched on: it, its companions, its timer, and the client it has at the moment.

The one place where inputs reach the device, one after the other: what they complete goes to the client, what
they tell goes to the companions and to whoever listens. Nothing is polled: one alarm serves the device's
ticks, the client's idle release and the log.

With a backup, each input is in the `Log` before the device has it. What a companion puts in while it hears of
an input is one of its own behind that, so the backup executes the same sequence without companions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from appliance.errors import TwinhubError, Unavailable
from appliance.loop import Ended, Loop
from appliance.sessions.recording import Recording
from appliance.sessions.state import SessionSpec
from appliance.usbip.wire import Unlink
from gadgets.definition import Gadget
from gadgets.faults.cable import Plugged, Unplugged
from gadgets.usb.companion import Companion, Flow
from gadgets.usb.device import BusEvent, Device, To, Told
from gadgets.usb.function import Function
from gadgets.usb.inputs import read_input
from gadgets.usb.urb import Completion, Urb

journal = logging.getLogger(__name__)


class Host(Protocol):
    """The client's side."""

    @property
    def spec(self) -> SessionSpec: ...
    @property
    def facts(self) -> Mapping[str, Any]:
        """Of its TCP connection, for who rebuilds it elsewhere; empty where nobody does."""

    def submitted(self, urb: Urb) -> None: ...
    def complete(self, completions: Iterable[Completion]) -> None: ...
    def unlinked(self, unlink: Unlink, cancelled: bool) -> None: ...
    def flush(self) -> None:
        """Send what is to be sent. Never raises: a client that has gone is seen by the loop."""

    def idle_at(self) -> int | None:
        """When it is to be released unless something moves, monotonic ns."""

    def release(self) -> None:
        """That moment has come: raises Ended."""


class Log(Protocol):
    """Where inputs are written before the device has them: see appliance/sessions/replication/master.py."""

    def begin(self, host: Host) -> None: ...
    def end(self, host: Host) -> None: ...
    def received(self, data: memoryview) -> None: ...
    def local(self, input: object) -> None: ...
    def refused(self, error: TwinhubError) -> None:
        """What the device made of the local input."""

    def tick(self, now: int) -> None: ...
    def told(self) -> None:
        """The companions have heard all; what they put in on that goes to the backup as one piece."""

    @property
    def wake_at(self) -> int | None:
        """When it wants `on_time`, monotonic ns."""

    def on_time(self, now: int) -> None: ...


class Running:
    """`listen` hears all that is told but what only flows to a companion. They hear their function's events
    first. Unless it is `live` it is a backup's copy, or frozen: silent, without companions and clock."""

    def __init__(
        self, loop: Loop, gadget: Gadget, listen: Callable[[Told], None], *, live: bool = True
    ) -> None:
        self.loop, self.gadget, self.listen = loop, gadget, listen
        self.device: Device = gadget.device
        self.host: Host | None = None
        self.log: Log | None = None
        self.live = live
        self.lease: int | None = None
        """Until when clients may be talked with, ns of CLOCK_BOOTTIME; None: for good"""
        self.ahead = 0
        """How far the device's clock is ahead of ours, ns: it goes on from another machine's"""
        self.plugged = True
        """False: a fault pulled it out, and no host may have it"""
        self.recording: Recording | None = None
        self.acting = False
        self.wake_at: int | None = None
        """The device's, when the alarm was set"""
        self.companions: dict[str, list[Companion]] = {}
        self.given: list[object] = []
        """by companions while frozen, within the credit that they have"""
        if live:
            try:
                for function in gadget.functions:
                    for companion in function.companions:
                        self.start(function, companion)
            except TwinhubError:
                self.close()
                raise
        self.arm()

    def start(self, function: Function, companion: Companion) -> None:
        companion.start(self.loop, partial(self.give, function.label))
        self.companions.setdefault(function.label, []).append(companion)

    def freeze(self) -> None:
        """Nothing reaches the device any more, but what is asked of it; until `go_live`."""
        self.live = False
        self.loop.at(0, None)

    def go_live(self) -> None:
        """A copy is the device from now on, or a frozen one goes on."""
        self.live = True
        if not self.companions:
            self.start_late()
        given, self.given = self.given, []
        for input in given:
            with suppress(TwinhubError):
                self.local(input)
        self.arm()

    def start_late(self) -> None:
        """Companions of a device that is in use. One that cannot start here is done without."""
        for function in self.gadget.functions:
            for companion in function.companions:
                try:
                    self.start(function, companion)
                except TwinhubError as error:
                    name = self.gadget.definition.name
                    journal.error("%s goes on without what %s is tied to: %s", name, function.label, error)
                else:
                    for event in function.so_far():
                        companion.hear(event)

    # Inputs

    def attach(self, host: Host) -> None:
        if self.log:
            self.log.begin(host)
        self.host = host
        self.act(self.device.bus(BusEvent.ATTACH))

    def detach(self) -> None:
        """What it completes now has nobody to go to."""
        if self.log and self.host:
            self.log.end(self.host)
        self.device.bus(BusEvent.DETACH)
        self.host = None
        self.act(())

    def take(self, sent: Iterable[Urb | Unlink]) -> None:
        """What the client sent, in its order; the answers go out together, and so does what is told."""
        assert self.host
        host, device = self.host, self.device
        told: list[Told] = []
        try:
            for each in sent:
                if isinstance(each, Urb):
                    host.submitted(each)
                    host.complete(device.submit(each))
                else:
                    host.unlinked(each, device.unlink(each.number))
                if events := device.take_events():
                    told += events
        finally:
            if told:
                self.tell(told)
        host.flush()
        if device.wake_at != self.wake_at or not self.plugged:
            self.arm()

    def give(self, function: str, input: object) -> None:
        """A companion's input to its function."""
        if self.live:
            self.local(To(function, input))
        else:
            self.given.append(To(function, input))

    def local(self, input: object) -> None:
        """Raises the TwinhubError with which the device refuses it."""
        if (log := self.log) is None:
            self.act(self.device.local(input))
            return
        log.local(input)
        try:
            completions = self.device.local(input)
        except TwinhubError as error:
            log.refused(error)
            raise
        self.act(completions)

    def local_plain(self, given: Mapping[str, Any], folder: Path | None = None) -> None:
        """`{"type_text": "hello", "layout": "de"}`; relative paths count from `folder`, by default the
        definition's. Raises UsageError for what the device does not take, Unavailable unless it is live."""
        if not self.live:
            raise Unavailable("this is a copy that waits, or it is being handed over; ask the master's")
        definition = self.gadget.definition
        self.local(read_input(self.device.inputs, given, definition.name, folder or definition.folder))

    def on_time(self) -> None:
        now = time.monotonic_ns()
        if self.host and not self.plugged:
            raise Ended("the device was unplugged by a fault")
        if self.host and is_due(self.host.idle_at(), now):
            self.host.release()
        if self.log and is_due(self.log.wake_at, now):
            self.log.on_time(now)
        if is_due(self.device.wake_at, now + self.ahead):
            self.tick(now + self.ahead)
        else:
            self.arm()

    def tick(self, now: int) -> None:
        """By the device's clock."""
        if self.log:
            self.log.tick(now)
        self.act(self.device.tick(now))

    @property
    def is_fenced(self) -> bool:
        return self.lease is not None and time.clock_gettime_ns(time.CLOCK_BOOTTIME) >= self.lease

    def now(self) -> int:
        """By the device's clock."""
        return time.monotonic_ns() + self.ahead

    # What follows from them

    def act(self, completions: Iterable[Completion]) -> None:
        """After an input. What a companion puts in while it hears of another is part of that one's turn."""
        if self.host:
            self.host.complete(completions)
        if self.acting:
            return
        self.tell(self.device.take_events())
        if self.host:
            self.host.flush()
        self.arm()

    def tell(self, events: list[Told]) -> None:
        """What they make a companion put in tells more."""
        self.acting = True
        try:
            while events:
                for told in events:
                    companions = self.companions.get(told.function, ())
                    for companion in companions:
                        companion.hear(told.event)
                    if isinstance(told.event, Plugged | Unplugged):
                        self.plugged = isinstance(told.event, Plugged)
                    if self.live and not (companions and isinstance(told.event, Flow)):
                        self.listen(told)
                events = self.device.take_events()
        finally:
            self.acting = False
            if self.log:
                self.log.told()

    def arm(self) -> None:
        """One alarm for what is due first. A release that has moved on since is armed when the alarm finds it
        not due yet."""
        if not self.live:
            return
        self.wake_at = self.device.wake_at
        due = None if self.wake_at is None else self.wake_at - self.ahead
        if self.host:
            due = sooner(due, self.host.idle_at() if self.plugged else 0)
        if self.log:
            due = sooner(due, self.log.wake_at)
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


def sooner(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else min(one, other)


def is_due(at: int | None, now: int) -> bool:
    return at is not None and now >= at
