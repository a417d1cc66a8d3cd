from __future__ import annotations

import errno
import os
import socket

import pytest

from appliance.errors import (
    Busy,
    DeviceFailed,
    NotFound,
    NotPermitted,
    Refused,
    TwinhubError,
    Unavailable,
    UsageError,
)
from appliance.kernel import stub
from appliance.kernel.stub import StubStatus
from tests.unit.kernel.fakekernel import FakeKernel


def test_bind_takes_the_device_from_its_driver_and_gives_it_to_usbip_host(kernel: FakeKernel) -> None:
    stub.bind(kernel, "1-1")
    assert kernel.driver_of("1-1") == "usbip-host"
    assert kernel.written == [
        ("bus/usb/drivers/usbip-host/match_busid", "add 1-1"),
        ("bus/usb/drivers/usb/unbind", "1-1"),
        ("bus/usb/drivers/usbip-host/bind", "1-1"),
    ]


def test_binding_what_is_bound_writes_nothing(kernel: FakeKernel) -> None:
    stub.bind(kernel, "1-1")
    kernel.written.clear()
    stub.bind(kernel, "1-1")
    assert kernel.written == []


def test_binding_a_bound_device_in_the_error_state_binds_it_anew(kernel: FakeKernel) -> None:
    stub.bind(kernel, "1-1")
    (kernel.device("1-1") / "usbip_status").write_text("3\n")
    stub.bind(kernel, "1-1")
    assert stub.status(kernel, "1-1") is StubStatus.AVAILABLE


def test_a_device_without_a_driver_can_be_bound(kernel: FakeKernel) -> None:
    kernel.give("1-1", None)
    stub.bind(kernel, "1-1")
    assert kernel.driver_of("1-1") == "usbip-host"


@pytest.mark.parametrize("failing", ["usb/unbind", "usbip-host/bind"])
def test_when_binding_fails_the_device_keeps_its_own_driver(kernel: FakeKernel, failing: str) -> None:
    kernel.failing[failing] = errno.EIO
    with pytest.raises(DeviceFailed, match=r"1-1.*Input/output error"):
        stub.bind(kernel, "1-1")
    assert kernel.driver_of("1-1") == "usb"


def test_hubs_are_refused_and_left_alone(kernel: FakeKernel) -> None:
    kernel.plug("1-2", device_class="09")
    with pytest.raises(Refused, match="hub"):
        stub.bind(kernel, "1-2")
    assert kernel.written == []


def test_what_was_imported_is_not_exported_again(kernel: FakeKernel) -> None:
    kernel.plug("5-1", below="platform/vhci_hcd.0/usb5")
    with pytest.raises(Refused, match="imported"):
        stub.bind(kernel, "5-1")
    assert kernel.written == []


def test_without_the_module_bind_says_how_to_load_it(kernel: FakeKernel) -> None:
    kernel.bus("drivers", "usbip-host").rmdir()
    with pytest.raises(Unavailable, match="modprobe usbip-host"):
        stub.bind(kernel, "1-1")
    assert kernel.driver_of("1-1") == "usb"


def test_the_seventeenth_device_is_told_of_the_kernels_limit(kernel: FakeKernel) -> None:
    for port in range(2, 18):
        kernel.plug(f"2-{port}")
        stub.bind(kernel, f"2-{port}")
    with pytest.raises(Unavailable, match="at most 16"):
        stub.bind(kernel, "1-1")
    assert kernel.driver_of("1-1") == "usb"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, NotPermitted),
        (errno.EROFS, NotPermitted),
        (errno.ENODEV, NotFound),
        (errno.EBUSY, Busy),
    ],
)
def test_what_the_kernel_says_no_with_becomes_an_error_of_ours(
    kernel: FakeKernel, number: int, kind: type[TwinhubError]
) -> None:
    kernel.failing["usbip-host/match_busid"] = number
    with pytest.raises(kind, match=os.strerror(number)):
        stub.bind(kernel, "1-1")


def test_unbind_gives_the_device_back_and_frees_its_slot(kernel: FakeKernel) -> None:
    stub.bind(kernel, "1-1")
    kernel.written.clear()
    stub.unbind(kernel, "1-1")
    assert kernel.driver_of("1-1") == "usb"
    assert kernel.table == []
    assert [text for _, text in kernel.written] == ["1-1", "del 1-1", "1-1"]


def test_unbinding_what_has_its_own_driver_writes_nothing(kernel: FakeKernel) -> None:
    stub.unbind(kernel, "1-1")
    assert kernel.written == []


def test_when_rebind_fails_every_driver_is_asked(kernel: FakeKernel) -> None:
    stub.bind(kernel, "1-1")
    kernel.failing["usbip-host/rebind"] = errno.ENODEV
    stub.unbind(kernel, "1-1")
    assert kernel.driver_of("1-1") == "usb"


def test_a_device_that_no_driver_takes_back_is_reported(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.bind(kernel, "1-1")
    give = FakeKernel.give
    monkeypatch.setattr(FakeKernel, "give", lambda self, busid, driver: give(self, busid, None))
    with pytest.raises(DeviceFailed, match="no driver took 1-1 back"):
        stub.unbind(kernel, "1-1")


def test_hand_over_writes_the_number_of_the_descriptor(kernel: FakeKernel) -> None:
    stub.bind(kernel, "1-1")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stub.hand_over(kernel, "1-1", theirs.fileno())
        assert kernel.written[-1] == ("bus/usb/devices/1-1/usbip_sockfd", str(theirs.fileno()))
    assert stub.status(kernel, "1-1") is StubStatus.USED


def test_a_device_in_use_is_busy(kernel: FakeKernel) -> None:
    stub.bind(kernel, "1-1")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stub.hand_over(kernel, "1-1", theirs.fileno())
        with pytest.raises(Busy, match="in use"):
            stub.hand_over(kernel, "1-1", theirs.fileno())


def test_hand_over_heals_a_device_in_the_error_state(kernel: FakeKernel) -> None:
    stub.bind(kernel, "1-1")
    (kernel.device("1-1") / "usbip_status").write_text("3\n")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stub.hand_over(kernel, "1-1", theirs.fileno())
    assert stub.status(kernel, "1-1") is StubStatus.USED


def test_a_device_that_stays_in_the_error_state_has_failed(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.bind(kernel, "1-1")
    monkeypatch.setattr(stub, "status", lambda *_: StubStatus.ERROR)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(DeviceFailed, match="error state"):
        stub.hand_over(kernel, "1-1", theirs.fileno())


def test_only_stream_sockets_are_handed_over(kernel: FakeKernel) -> None:
    stub.bind(kernel, "1-1")
    reader, writer = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        for fd in (reader, datagram.fileno(), 1 << 20):
            with pytest.raises(UsageError, match="stream socket"):
                stub.hand_over(kernel, "1-1", fd)
    os.close(reader)
    os.close(writer)
    assert stub.status(kernel, "1-1") is StubStatus.AVAILABLE


def test_end_frees_the_device_and_a_second_end_does_nothing(kernel: FakeKernel) -> None:
    stub.bind(kernel, "1-1")
    (kernel.device("1-1") / "usbip_status").write_text("2\n")
    stub.end(kernel, "1-1")
    stub.end(kernel, "1-1")
    assert [text for path, text in kernel.written if path.endswith("usbip_sockfd")] == ["-1"]


def test_a_session_that_ends_by_itself_meanwhile_is_no_error(kernel: FakeKernel) -> None:
    stub.bind(kernel, "1-1")
    (kernel.device("1-1") / "usbip_status").write_text("2\n")
    kernel.failing["1-1/usbip_sockfd"] = errno.EINVAL
    stub.end(kernel, "1-1")


def test_a_device_that_is_not_bound_has_no_status(kernel: FakeKernel) -> None:
    with pytest.raises(NotFound, match="twinhub share 1-1"):
        stub.status(kernel, "1-1")


def test_a_device_that_is_not_plugged_in_is_not_found(kernel: FakeKernel) -> None:
    for operation in (stub.bind, stub.unbind, stub.end, stub.status):
        with pytest.raises(NotFound, match="no device is plugged in at 4-2"):
            operation(kernel, "4-2")
