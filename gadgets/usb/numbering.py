"""Who gets which interface number, endpoint address and string index in a composite device."""

from __future__ import annotations

from appliance.errors import UsageError
from gadgets.usb.descriptors import COMPANION, Endpoint, SuperSpeedCompanion
from gadgets.usb.strings import Strings, Text
from gadgets.usb.urb import ENDPOINT_IN, Speed, TransferType

_BULK_PACKET = {Speed.FULL: 64, Speed.HIGH: 512, Speed.SUPER: 1024, Speed.SUPER_PLUS: 1024}
_LARGEST_PERIODIC = {Speed.LOW: 8, Speed.FULL: 64}
_LARGEST_ISOCHRONOUS = {Speed.FULL: 1023, Speed.HIGH: 1024, Speed.SUPER: 1024, Speed.SUPER_PLUS: 1024}
_ENDPOINTS_EACH_WAY = 15


class Numbering:
    """Hands out numbers, each once, to the functions of one configuration; knows what `speed` allows."""

    def __init__(self, speed: Speed, strings: Strings) -> None:
        self.speed = speed
        self._strings = strings
        self._interfaces = 0
        self._endpoints = {0: 0, ENDPOINT_IN: 0}

    def interface(self) -> int:
        self._interfaces += 1
        return self._interfaces - 1

    def string(self, text: Text) -> int:
        return self._strings.add(text)

    def bulk_in(self, burst: int = 0) -> Endpoint:
        """`burst`: packets beyond the first in a row, 0 to 15, from SuperSpeed on; ignored below."""
        return self._bulk(ENDPOINT_IN, burst)

    def bulk_out(self, burst: int = 0) -> Endpoint:
        return self._bulk(0, burst)

    def interrupt_in(self, size: int, interval_ms: int) -> Endpoint:
        """Packets of at most `size` bytes, asked for every `interval_ms` (rounded down to what there is)."""
        return self._interrupt(ENDPOINT_IN, size, interval_ms)

    def interrupt_out(self, size: int, interval_ms: int) -> Endpoint:
        return self._interrupt(0, size, interval_ms)

    def isochronous(
        self, direction: int, size: int, interval_us: int = 1000, *, transactions: int = 1, burst: int = 0
    ) -> Endpoint:
        """Packets of at most `size` bytes (less where the speed has less), `transactions` (1 to 3) of them an
        interval from high speed on, and each of these a burst of 1 + `burst` from SuperSpeed on."""
        largest = _LARGEST_ISOCHRONOUS.get(self.speed)
        if largest is None:
            raise UsageError("a low-speed device has no isochronous endpoints; choose another speed")
        if not 1 <= size <= 1024 or not 1 <= transactions <= 3:
            raise UsageError("an isochronous endpoint has packets of 1 to 1024 bytes, 1 to 3 an interval")
        size = min(size, largest)
        more = (transactions - 1) << 11 if self.speed is Speed.HIGH else 0
        frame = 1000 if self.speed < Speed.HIGH else 125
        return Endpoint(
            self.address(direction),
            TransferType.ISOCHRONOUS,
            size | more,
            min(max(interval_us // frame, 1).bit_length(), 16),
            extra=self._companion(size * transactions * (burst + 1), burst, transactions - 1),
        )

    def address(self, direction: int) -> int:
        """The next free one; `direction` is ENDPOINT_IN or 0. For endpoints of a shape not known here."""
        self._endpoints[direction] += 1
        if self._endpoints[direction] > _ENDPOINTS_EACH_WAY:
            raise UsageError("a device has at most 15 endpoints in each direction; use fewer functions")
        return direction | self._endpoints[direction]

    def _bulk(self, direction: int, burst: int) -> Endpoint:
        size = _BULK_PACKET.get(self.speed)
        if size is None:
            raise UsageError("a low-speed device has no bulk endpoints; choose another speed")
        return Endpoint(self.address(direction), TransferType.BULK, size, extra=self._companion(0, burst))

    def _interrupt(self, direction: int, size: int, interval_ms: int) -> Endpoint:
        largest = _LARGEST_PERIODIC.get(self.speed, 1024)
        if not 0 < size <= largest:
            raise UsageError(
                f"an interrupt endpoint at {self.speed.name.lower()} speed holds 1 to {largest} bytes"
            )
        return Endpoint(
            self.address(direction),
            TransferType.INTERRUPT,
            size,
            self._interval(interval_ms),
            extra=self._companion(size),
        )

    def _interval(self, milliseconds: int) -> int:
        """bInterval: frames of 1 ms, or from high speed on 2^(n-1) microframes of 125 µs. USB 2.0 §9.6.6."""
        if self.speed < Speed.HIGH:
            return min(max(milliseconds, 1), 255)
        return min((max(milliseconds, 1) * 8).bit_length(), 16)

    def _companion(self, bytes_per_interval: int, burst: int = 0, attributes: int = 0) -> tuple[bytes, ...]:
        if not 0 <= burst <= 15:
            raise UsageError("a burst has 0 to 15 packets beyond the first")
        if self.speed < Speed.SUPER:
            return ()
        return (COMPANION.emit(SuperSpeedCompanion(burst, attributes, bytes_per_interval)),)
