"""The endpoints that each speed allows. USB 2.0 §5.5 to §5.8, §9.6.6; USB 3.2 §9.6.7."""

from __future__ import annotations

import pytest

from appliance.errors import UsageError
from gadgets.usb.descriptors import COMPANION, Endpoint, SuperSpeedCompanion
from gadgets.usb.numbering import Numbering
from gadgets.usb.strings import Strings
from gadgets.usb.urb import ENDPOINT_IN, Speed


def at(speed: Speed) -> Numbering:
    return Numbering(speed, Strings())


def companion(endpoint: Endpoint) -> SuperSpeedCompanion:
    (descriptor,) = endpoint.extra
    return COMPANION.parse(descriptor)


@pytest.mark.parametrize(("speed", "size"), [(Speed.FULL, 64), (Speed.HIGH, 512), (Speed.SUPER, 1024)])
def test_bulk_packets_have_the_size_of_their_speed(speed: Speed, size: int) -> None:
    assert (at(speed).bulk_in().packet_size, at(speed).bulk_out().packet_size) == (size, size)


def test_bursts_are_for_superspeed() -> None:
    assert companion(at(Speed.SUPER).bulk_in(burst=15)) == SuperSpeedCompanion(max_burst=15)
    assert at(Speed.HIGH).bulk_in(burst=15).extra == ()
    with pytest.raises(UsageError, match="0 to 15"):
        at(Speed.SUPER).bulk_out(burst=16)


@pytest.mark.parametrize(
    ("speed", "max_packet_size", "interval"),
    [(Speed.FULL, 1023, 1), (Speed.HIGH, 0x0C00, 4), (Speed.SUPER, 1024, 4)],
)
def test_isochronous_packets_are_what_the_speed_allows(
    speed: Speed, max_packet_size: int, interval: int
) -> None:
    endpoint = at(speed).isochronous(ENDPOINT_IN, 1024, 1000, transactions=2, burst=1)
    assert (endpoint.address, endpoint.max_packet_size, endpoint.interval) == (
        0x81,
        max_packet_size,
        interval,
    )
    assert [COMPANION.parse(each) for each in endpoint.extra] == (
        [SuperSpeedCompanion(1, 1, 4096)] if speed is Speed.SUPER else []
    )


def test_low_speed_has_neither_bulk_nor_isochronous_endpoints() -> None:
    with pytest.raises(UsageError, match="no bulk"):
        at(Speed.LOW).bulk_in()
    with pytest.raises(UsageError, match="no isochronous"):
        at(Speed.LOW).isochronous(ENDPOINT_IN, 8)


@pytest.mark.parametrize(("size", "transactions"), [(0, 1), (1025, 1), (64, 0), (64, 4)])
def test_an_isochronous_endpoint_that_cannot_be_is_refused(size: int, transactions: int) -> None:
    with pytest.raises(UsageError, match="1 to 1024 bytes, 1 to 3"):
        at(Speed.HIGH).isochronous(0, size, transactions=transactions)


def test_an_interval_is_rounded_down_to_what_there_is() -> None:
    assert at(Speed.HIGH).isochronous(0, 64, 125).interval == 1
    assert at(Speed.HIGH).isochronous(0, 64, 300).interval == 2
    assert at(Speed.FULL).isochronous(0, 64, 125).interval == 1
    assert at(Speed.FULL).isochronous(0, 64, 10**9).interval == 16
