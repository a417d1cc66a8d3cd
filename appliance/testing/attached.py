"""A gadget attached to this machine's own kernel: a socket pair between vhci_hcd and the gadget."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from typing import Any

from appliance.errors import NotFound, Timeout, Unavailable
from appliance.kernel import modules, vhci
from appliance.kernel.paths import Kernel
from appliance.loop import IN, Ended, Loop
from appliance.sessions.running import Running
from appliance.sessions.software import Software
from appliance.sessions.state import SessionSpec, SessionState
from appliance.usbip.wire import Unlink
from gadgets.definition import Gadget
from gadgets.testing.diary import Diary
from gadgets.testing.rig import Rig
from gadgets.usb.device import Told
from gadgets.usb.urb import Completion, Urb

DEVID = 1 << 16 | 1
LOOK = 0.05
"""Seconds between two looks at what the kernel made of it."""
PLUGGED_IN = 20.0
"""Seconds in which the kernel must have enumerated the device."""


class Observed(Software):
    """What the kernel did, in a diary."""

    def __init__(self, *about: Any, diary: Diary, moved: Callable[[], None]) -> None:
        self.diary, self.moved = diary, moved
        super().__init__(*about)

    def submitted(self, urb: Urb) -> None:
        self.diary.submitted(urb)
        super().submitted(urb)

    def unlinked(self, unlink: Unlink, cancelled: bool) -> None:
        if cancelled:
            self.diary.unlinked(unlink.number)
        super().unlinked(unlink, cancelled)

    def complete(self, completions: Iterable[Completion]) -> None:
        completions = list(completions)
        self.diary.completed(completions)
        super().complete(completions)

    def flush(self) -> None:
        super().flush()
        self.moved()


class LocalKernel:
    """Serves the gadget to this machine's kernel, by a thread of its own, from `start` to `close`."""

    def __init__(self, gadget: Gadget, kernel: Kernel) -> None:
        self.gadget, self.kernel = gadget, kernel
        self.diary = Diary()
        self._changed = Condition()
        self._calls: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._loop = Loop()
        self._loop.watch(self._wake, IN, self._on_wake)
        self._running = Running(self._loop, gadget, self._listen)
        self._ours, theirs = socket.socketpair()
        self._software = self._serve()
        self._thread = Thread(target=self._run, name="twinhub-attached", daemon=True)
        self._thread.start()
        try:
            with theirs:
                remote = vhci.Remote("localhost", "0", gadget.definition.name)
                speed = gadget.device.speed
                self.port: int | None = vhci.attach(kernel, theirs.fileno(), DEVID, speed, remote)
        except BaseException:
            self.port = None
            self.close()
            raise

    def _serve(self) -> Observed:
        name, speed = self.gadget.definition.name, self.gadget.device.speed
        spec = SessionSpec("attached", name, "gadget", "this machine", time.time(), devid=DEVID, speed=speed)
        return Observed(
            SessionState.begin(spec), self._ours, self._running, diary=self.diary, moved=self._moved
        )

    # What a rig needs

    def local(self, input: object) -> None:
        """On the thread that owns the device. Raises what the device refuses it with."""
        if not self._thread.is_alive():
            raise Unavailable("the kernel has let go of the gadget")
        done: Future[None] = Future()
        self._calls.append((lambda: self._running.local(input), done))
        os.eventfd_write(self._wake, 1)
        done.result()

    def wait(self, done: Callable[[], bool], timeout: float) -> bool:
        """The kernel is looked at now and then, too: what it does with the device is not told here."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not done():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, LOOK))
        return True

    @property
    def busid(self) -> str | None:
        """The kernel's name of the device; None while it does not have one."""
        found = (port for port in vhci.all_ports(self.kernel) if port.number == self.port)
        port = next(found, None)
        return port.busid if port and port.status is vhci.PortStatus.USED else None

    def close(self) -> None:
        """Unplug it, and wait until the kernel has let go."""
        if self.port is not None:
            with suppress(NotFound):
                vhci.detach(self.kernel, self.port)
        else:
            self._ours.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._software.close()
        self._running.close()
        self._loop.close()
        self._ours.close()
        os.close(self._wake)

    # On the thread

    def _run(self) -> None:
        try:
            self._loop.run()
        except Ended:
            self._moved()

    def _on_wake(self, events: int) -> None:
        os.eventfd_read(self._wake)
        while self._calls:
            call, done = self._calls.popleft()
            try:
                call()
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(None)

    def _listen(self, told: Told) -> None:
        self.diary.events.append(told)

    def _moved(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Attached(Rig):
    """A rig whose host is this machine's kernel. `syspath` is where it has the device."""

    def __init__(self, gadget: Gadget, kernel: Kernel | None = None) -> None:
        kernel = kernel or Kernel()
        modules.load_all(kernel, modules.IMPORTING)
        self.host = LocalKernel(gadget, kernel)
        super().__init__(gadget, self.host)
        try:
            self.wait_for(lambda: gadget.device.configuration_value, PLUGGED_IN)
        except Timeout:
            self.host.close()
            raise

    @property
    def syspath(self) -> Path:
        """/sys/bus/usb/devices/3-1. Raises NotFound once it is gone."""
        busid = self.host.busid
        if busid is None:
            raise NotFound("the kernel has no such device any more")
        return self.host.kernel.root / "sys/bus/usb/devices" / busid
