"""Any report descriptor, and what HID lets several reports do. HID 1.11 §7.2."""

from __future__ import annotations

import pytest

from appliance.errors import TwinhubError, Unavailable, UsageError
from gadgets.hid.custom import Custom, FeatureReport, InputReport, OutputReport
from gadgets.usb.compose import compose
from gadgets.usb.device import BusEvent
from gadgets.usb.urb import Speed
from tests.unit.gadgets.hid.hosts import fetched, host_of, told
from tests.unit.gadgets.host import IDENTITY, Host

MS = 1_000_000
THREE = """
Usage Page (0xFF00), Usage (1), Collection (Application)
    Logical Minimum (0), Logical Maximum (255), Report Size (8)
    Report ID (1), Usage (1), Report Count (2), Input (Data, Variable, Absolute)
    Report ID (2), Usage (2), Report Count (3), Input (Data, Variable, Absolute)
    Usage (3), Report Count (1), Output (Data, Variable, Absolute)
    Report ID (3), Usage (4), Report Count (4), Feature (Data, Variable, Absolute)
End Collection
"""


@pytest.fixture
def host() -> Host:
    return host_of(Custom(descriptor=THREE, name="Three", out_endpoint=True))


def test_it_has_the_endpoints_that_were_asked_for(host: Host) -> None:
    (setting,) = host.device.configurations[0].settings
    assert [(e.address, e.packet_size, e.interval) for e in setting.endpoints] == [(0x81, 4, 10), (1, 2, 10)]
    (plain,) = compose(IDENTITY, [Custom(descriptor=THREE)]).configurations[0].settings
    assert [e.address for e in plain.endpoints] == [0x81]


def test_it_may_be_a_boot_device() -> None:
    device = compose(IDENTITY, [Custom(descriptor=THREE, boot="mouse")])
    (setting,) = device.configurations[0].settings
    assert (setting.subclass, setting.protocol) == (1, 2)


def test_a_report_longer_than_a_packet_comes_in_one_transfer() -> None:
    long = "Report Size (8), Report Count (300), Input (Data, Variable)"
    for speed, packet in ((Speed.LOW, 8), (Speed.FULL, 64), (Speed.HIGH, 64)):
        host = host_of(Custom(descriptor=long), speed)
        assert host.device.configurations[0].settings[0].endpoints[0].packet_size == packet
        host.device.local(InputReport(bytes(range(100)) * 3))
        assert fetched(host) == [bytes(range(100)) * 3]


# From here


def test_input_reports_are_fetched_in_order(host: Host) -> None:
    for data in (b"\1ab", b"\2abc", b"\1cd"):
        host.device.local(InputReport(data))
    assert fetched(host) == [b"\1ab", b"\2abc", b"\1cd"]


def test_get_report_tells_the_last_of_each_kind_and_id(host: Host) -> None:
    assert host.control("a1 01 0102 0000 0008") == b"\2\0\0\0"
    host.device.local(InputReport(b"\1ab"))
    host.device.local(FeatureReport(b"\3wxyz"))
    fetched(host)
    assert host.control("a1 01 0101 0000 0008") == b"\1ab"
    assert host.control("a1 01 0102 0000 0008") == b"\2\0\0\0"
    assert host.control("a1 01 0303 0000 0008") == b"\3wxyz"
    assert host.control("a1 01 0303 0000 0002") == b"\3w"


@pytest.mark.parametrize(
    ("input", "error", "says"),
    [
        (
            InputReport(b"\1a"),
            UsageError,
            "no input report of this device; it has 3 bytes with id 1, 4 bytes",
        ),
        (InputReport(b"\3wxyz"), UsageError, "no input report"),
        (InputReport(b""), UsageError, "0 bytes, is no input report"),
        (FeatureReport(b"\1ab"), UsageError, "no feature report of this device; it has 5 bytes with id 3"),
    ],
)
def test_a_report_that_is_none_is_refused(
    host: Host, input: object, error: type[TwinhubError], says: str
) -> None:
    before = host.device.snapshot()
    with pytest.raises(error, match=says):
        host.device.local(input)
    assert host.device.snapshot() == before


def test_a_feature_can_be_set_before_a_host_comes_and_stays_for_the_next() -> None:
    device = compose(IDENTITY, [Custom(descriptor=THREE)])
    device.local(FeatureReport(b"\3wxyz"))
    host = Host(device)
    assert host.control("21 09 0303 0000 0005", b"\3host") == b""
    device.bus(BusEvent.ATTACH)
    assert Host(device).control("a1 01 0303 0000 0008") == b"\3wxyz"


def test_without_a_host_no_input_report_can_be_sent() -> None:
    with pytest.raises(Unavailable, match="no host"):
        compose(IDENTITY, [Custom(descriptor=THREE)]).local(InputReport(b"\1ab"))


# From the host


def test_what_the_host_sets_is_told_and_comes_back(host: Host) -> None:
    assert host.control("21 09 0202 0000 0002", b"\2o") == b""
    assert host.control("21 09 0303 0000 0005", b"\3feat") == b""
    assert told(host) == [OutputReport(b"\2o"), FeatureReport(b"\3feat")]
    assert host.control("a1 01 0202 0000 0008") == b"\2o"
    assert host.control("a1 01 0303 0000 0008") == b"\3feat"


def test_output_reports_come_by_the_endpoint_too(host: Host) -> None:
    (done,) = host.submit(1, data=b"\2o")
    assert (done.status, done.actual_length) == (0, 2)
    assert told(host) == [OutputReport(b"\2o")]


def test_what_is_no_output_report_is_dropped(host: Host) -> None:
    for data in (b"", b"\2", b"\2ab", b"\1o", b"\3feat"):
        (done,) = host.submit(1, data=data)
        assert done.status == 0
    assert told(host) == []


@pytest.mark.parametrize(
    ("request_line", "data"),
    [
        ("21 09 0101 0000 0003", b"\1ab"),
        ("21 09 0202 0000 0001", b"\2"),
        ("21 09 0202 0000 0002", b"\1o"),
        ("21 09 0402 0000 0002", b"\2o"),
        ("a1 01 0100 0000 0008", b""),
        ("a1 01 0002 0000 0008", b""),
        ("a1 01 0302 0000 0008", b""),
        ("a1 02 0000 0000 0001", b""),
        ("21 0a 0403 0000 0000", b""),
        ("a1 03 0000 0000 0001", b""),
    ],
)
def test_requests_for_what_there_is_not_are_stalled(host: Host, request_line: str, data: bytes) -> None:
    assert host.control(request_line, data) is None


# Idle


def test_each_report_id_has_its_own_idle_rate(host: Host) -> None:
    assert host.control("21 0a 0202 0000 0000") == b""
    assert host.control("a1 02 0002 0000 0001") == b"\2"
    assert host.control("a1 02 0001 0000 0001") == b"\0"
    host.device.tick(1000 * MS)
    assert host.device.wake_at == 1008 * MS
    host.device.tick(1008 * MS)
    assert fetched(host) == [b"\2\0\0\0"]


def test_the_idle_rate_of_id_zero_is_that_of_all(host: Host) -> None:
    assert host.control("21 0a 0500 0000 0000") == b""
    assert [host.control(f"a1 02 {number:04x} 0000 0001") for number in (1, 2)] == [b"\5", b"\5"]


# Definitions


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"descriptor": "Usage (Mouse)"}, "there is no 'Mouse' here"),
        ({"descriptor": "Collection (Physical)"}, "does not end all"),
        ({"descriptor": THREE, "boot": "joystick"}, "boot is 'keyboard', 'mouse' or ''"),
    ],
)
def test_a_wrong_definition_is_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Custom(**options)  # type: ignore[arg-type]
