"""The shell around pyudev, with a monitor that misbehaves as netlink does."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import pyudev

from appliance.inventory import uevents
from appliance.inventory.uevents import Uevents


class Monitor:
    """Stands in for pyudev.Monitor: gives what was put in, then nothing."""

    def __init__(self, *events: object) -> None:
        self.events = list(events)
        self.source: str | None = None
        self.filters: list[str] = []

    def poll(self, timeout: float) -> object:
        assert timeout == 0, "anything else would block the event loop"
        event = self.events.pop(0) if self.events else None
        if isinstance(event, OSError):
            raise event
        return event

    def filter_by(self, subsystem: str) -> None:
        self.filters.append(subsystem)

    def start(self) -> None:
        pass

    def set_receive_buffer_size(self, size: int) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")


def test_everything_that_waits_is_drained() -> None:
    monitor = Monitor("add", "bind", "change")
    Uevents(monitor).drain()
    assert monitor.events == []


def test_an_overflow_is_drained_like_an_event_since_the_listener_looks_again_anyway() -> None:
    monitor = Monitor("add", OSError(errno.ENOBUFS, "No buffer space available"), "remove")
    Uevents(monitor).drain()
    assert monitor.events == []


def test_an_endless_stream_of_events_cannot_hold_the_loop() -> None:
    monitor = Monitor(*["add"] * (uevents.DRAIN_AT_ONCE + 1))
    Uevents(monitor).drain()
    assert monitor.events == ["add"]


def test_any_other_error_is_the_end_of_the_events() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        Uevents(Monitor(OSError(errno.EBADF, "Bad file descriptor"))).drain()


@pytest.mark.parametrize(("has_udevd", "source"), [(True, "udev"), (False, "kernel")])
def test_without_udevd_the_kernel_is_listened_to(
    has_udevd: bool, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = Monitor()

    def from_netlink(context: object, source: str) -> Monitor:
        monitor.source = source
        return monitor

    monkeypatch.setattr(pyudev.Monitor, "from_netlink", from_netlink)
    monkeypatch.setattr(Path, "exists", lambda path: has_udevd)
    assert uevents.listen()
    assert monitor.source == source
    assert "usb" in monitor.filters


def test_where_netlink_is_forbidden_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def from_netlink(context: object, source: str) -> Monitor:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(pyudev.Monitor, "from_netlink", from_netlink)
    assert uevents.listen() is None
    (record,) = caplog.records
    assert "Operation not permitted" in record.getMessage()
