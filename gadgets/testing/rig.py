"""`Rig`: a gadget in a test: what it is told, what it tells, and what its host did with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Protocol, TypeVar

from appliance.errors import Timeout
from gadgets.definition import Gadget
from gadgets.testing.diary import Diary, Transfer
from gadgets.testing.host import Host
from gadgets.usb.device import Device, Told

T = TypeVar("T")


class Driver(Protocol):
    """What brings a host's transfers to the gadget."""

    @property
    def diary(self) -> Diary: ...
    def local(self, input: object) -> None: ...
    def wait(self, done: Callable[[], bool], timeout: float) -> bool: ...


class Rig:
    def __init__(self, gadget: Gadget, driver: Driver) -> None:
        self.gadget = gadget
        self._driver = driver

    @property
    def device(self) -> Device:
        return self.gadget.device

    def send(self, input: object = None, /, **fields: Any) -> None:
        """A local input: `send(type_text="hello", layout="de")`, a mapping, or a record. Raises what the
        gadget refuses it with."""
        given = input if input is not None else fields
        self._driver.local(self.gadget.input(given) if isinstance(given, Mapping) else given)

    @property
    def events(self) -> list[object]:
        """All that it told, oldest first."""
        return [told.event for told in self.told]

    @property
    def told(self) -> list[Told]:
        """The same, with the label of the function that told."""
        return list(self._driver.diary.events)

    @property
    def requests(self) -> list[Transfer]:
        """All transfers of the host, oldest first, those that wait too."""
        return list(self._driver.diary.transfers)

    def requested(self, request_type: int, request: int) -> list[Transfer]:
        """Those control requests."""
        return [each for each in self.requests if each.request == (request_type, request)]

    def forget(self) -> None:
        """What has happened up to now does not count."""
        self._driver.diary.events.clear()
        self._driver.diary.transfers.clear()

    def wait_for(self, wanted: type[T] | Callable[[], Any], timeout: float = 5.0) -> Any:
        """The first event of that type, or what the function gives once it is true. Raises Timeout."""
        kind = wanted if isinstance(wanted, type) else None
        look = wanted if kind is None else lambda: [each for each in self.events if isinstance(each, kind)]
        found: list[Any] = []

        def done() -> bool:
            found[:] = [look()]
            return bool(found[0])

        if not self._driver.wait(done, timeout):
            what = kind.__name__ if kind else "what was waited for"
            told = ", ".join(type(each).__name__ for each in self.events) or "nothing"
            raise Timeout(f"no {what} within {timeout:g} s; the gadget told {told}")
        return found[0][0] if kind else found[0]


class InProcess(Rig):
    """Its host is in this process (`host`); `usb` is the gadget as software written on pyusb sees it."""

    def __init__(self, gadget: Gadget) -> None:
        self.host = Host(gadget.device)
        super().__init__(gadget, self.host)

    @cached_property
    def usb(self) -> Any:
        """A usb.core.Device."""
        from usb.core import Device as UsbDevice

        from gadgets.testing.pyusb import Backend

        return UsbDevice(self.host, Backend([self.host]))
