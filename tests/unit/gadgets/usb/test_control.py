"""Chapter 9 as a host sees it. USB 2.0 §9.4, USB 3.2 §9.4."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadgets.usb.capabilities import parse_bos
from gadgets.usb.configuration import emit, parse_configuration
from gadgets.usb.descriptors import DEVICE, QUALIFIER
from gadgets.usb.device import BusEvent, GadgetDevice
from gadgets.usb.strings import parse_languages, parse_string
from gadgets.usb.urb import SetupPacket, Speed, Status
from tests.unit.gadgets.host import Host, bench, setup_of


@pytest.fixture
def host() -> Host:
    return Host(bench(remote_wakeup=True)[0])


@pytest.fixture
def super_host() -> Host:
    return Host(bench(Speed.SUPER)[0])


# Descriptors


def test_the_device_descriptor_says_who_it_is(host: Host) -> None:
    device = DEVICE.parse(host.control("80 06 0100 0000 00ff") or b"")
    assert (device.vendor_id, device.product_id, device.num_configurations) == (0x1209, 0x0002, 1)
    assert device == host.device.device_descriptor


def test_no_answer_is_longer_than_asked_for(host: Host) -> None:
    assert host.control("80 06 0200 0000 0009") == (host.control("80 06 0200 0000 ffff") or b"")[:9]
    assert host.control("80 06 0100 0000 0000") == b""


def test_no_answer_is_longer_than_the_buffer_of_the_transfer(host: Host) -> None:
    (completion,) = host.submit(0x80, 4, setup=setup_of("80 06 0100 0000 0012"))
    assert (completion.status, completion.actual_length, len(completion.data)) == (0, 4, 4)


def test_the_configuration_is_the_tree_it_was_made_of(host: Host) -> None:
    assert parse_configuration(host.control("80 06 0200 0000 ffff") or b"") == host.device.configurations[0]


def test_strings_come_in_each_language_and_in_no_other(host: Host) -> None:
    product = host.device.device_descriptor.product_index
    assert parse_languages(host.control("80 06 0300 0000 00ff") or b"") == [0x0409, 0x0407]
    assert parse_string(host.control(f"80 06 03{product:02x} 0409 00ff") or b"") == "Bench"
    assert parse_string(host.control(f"80 06 03{product:02x} 0407 00ff") or b"") == "Prüfstand"
    assert host.control(f"80 06 03{product:02x} 040c 00ff") is None


def test_a_high_speed_device_has_no_bos_and_a_superspeed_device_has(host: Host, super_host: Host) -> None:
    assert host.control("80 06 0f00 0000 00ff") is None
    assert len(parse_bos(super_host.control("80 06 0f00 0000 00ff") or b"")) == 2


def test_a_device_that_knows_no_other_speed_stalls_the_qualifier() -> None:
    host = Host(bench(Speed.FULL)[0])
    assert host.control("80 06 0600 0000 000a") is None
    assert host.control("80 06 0700 0000 00ff") is None


def test_a_high_speed_device_tells_what_it_would_be_at_full_speed(host: Host) -> None:
    """Which every one must. USB 2.0 §9.6.2"""
    qualifier = QUALIFIER.parse(host.control("80 06 0600 0000 000a") or b"")
    assert (qualifier.bcd_usb, qualifier.max_packet_size, qualifier.num_configurations) == (0x0200, 64, 1)
    answer = host.control("80 06 0700 0000 ffff") or b""
    assert bytes((answer[0], 2)) + answer[2:] == emit(
        bench(Speed.FULL, remote_wakeup=True)[0].configurations[0]
    )
    assert host.control("80 06 0701 0000 ffff") is None


def test_a_high_speed_device_that_cannot_be_at_full_speed_has_a_qualifier_all_the_same() -> None:
    known = bench()[0].descriptors
    host = Host(GadgetDevice(replace(known, other_speed=()), [], {}))
    assert QUALIFIER.parse(host.control("80 06 0600 0000 000a") or b"").num_configurations == 0
    assert host.control("80 06 0700 0000 ffff") is None


def test_a_device_of_two_speeds_tells_of_the_other() -> None:
    known = bench()[0].descriptors
    other = replace(known.configurations[0], max_power=1)
    device = GadgetDevice(replace(known, other_speed=(other,)), [], {})
    host = Host(device)
    qualifier = QUALIFIER.parse(host.control("80 06 0600 0000 000a") or b"")
    assert (qualifier.bcd_usb, qualifier.num_configurations) == (0x0200, 1)
    answer = host.control("80 06 0700 0000 ffff") or b""
    assert answer[1] == 7
    assert parse_configuration(bytes((answer[0], 2)) + answer[2:]) == other


@pytest.mark.parametrize("what", ["80 06 2200 0000 0040", "80 06 0201 0000 0040", "80 06 0500 0000 0007"])
def test_a_descriptor_that_is_not_there_stalls(host: Host, what: str) -> None:
    assert host.control(what) is None


def test_descriptors_cannot_be_set(host: Host) -> None:
    assert host.control("00 07 0100 0000 0001", b"x") is None


# States


def test_a_new_device_is_not_configured_and_has_no_interfaces() -> None:
    host = Host(bench()[0], configured=False)
    assert host.control("80 08 0000 0000 0001") == b"\x00"
    assert host.control("81 0a 0000 0000 0001") is None
    assert host.control("82 00 0000 0081 0002") is None
    assert host.submit(0x81, 512)[0].status == Status.PIPE


def test_set_configuration_is_told_back_and_undone(host: Host) -> None:
    assert host.control("80 08 0000 0000 0001") == b"\x01"
    assert host.control("00 09 0002 0000 0000") is None
    assert host.control("80 08 0000 0000 0001") == b"\x01"
    assert host.control("00 09 0000 0000 0000") == b""
    assert host.control("80 08 0000 0000 0001") == b"\x00"


def test_each_configuration_is_served_by_its_own_functions() -> None:
    """Descriptors with two configurations, of which only the first has functions."""
    known, function = bench()
    first = known.descriptors.configurations[0]
    descriptors = replace(known.descriptors, configurations=(first, replace(first, value=7)))
    host = Host(GadgetDevice(descriptors, [function], {1: {0: function}}))
    assert host.control("c1 5c 0000 0000 0010") == b"answer"
    assert host.control("00 09 0007 0000 0000") == b""
    assert host.control("c1 5c 0000 0000 0010") is None


def test_set_address_is_accepted_before_configuration_only() -> None:
    host = Host(bench()[0], configured=False)
    assert host.control("00 05 0005 0000 0000") == b""
    assert host.control("00 05 0080 0000 0000") is None
    assert host.control("00 09 0001 0000 0000") == b""
    assert host.control("00 05 0006 0000 0000") is None


@pytest.mark.parametrize("port", ["0000", "0001"])
def test_a_port_reset_sent_through_resets(host: Host, port: str) -> None:
    (parked,) = [host.number + 1]
    assert host.submit(0x81, 512) == []
    flushed, reset = host.submit(0x00, setup=setup_of(f"23 03 0004 {port} 0000"))
    assert (flushed.number, flushed.status) == (parked, Status.SHUTDOWN)
    assert (reset.number, reset.status) == (host.number, 0)
    assert host.control("80 08 0000 0000 0001") == b"\x00"


def test_other_port_features_stall(host: Host) -> None:
    assert host.control("23 03 0008 0001 0000") is None


# Interfaces


def test_alternate_settings_switch_and_their_endpoints_with_them(host: Host) -> None:
    assert host.control("81 0a 0000 0000 0001") == b"\x00"
    assert host.control("01 0b 0001 0000 0000") == b""
    assert host.control("81 0a 0000 0000 0001") == b"\x01"
    assert host.control("82 00 0000 0081 0002") is None
    assert host.control("82 00 0000 0082 0002") == b"\x00\x00"


@pytest.mark.parametrize("what", ["01 0b 0002 0000 0000", "01 0b 0000 0001 0000", "81 0a 0000 0001 0001"])
def test_an_interface_or_setting_that_is_not_there_stalls(host: Host, what: str) -> None:
    assert host.control(what) is None


def test_set_interface_clears_halts_and_flushes_even_for_the_same_setting(host: Host) -> None:
    host.control("02 03 0000 0081 0000")
    number = host.number + 1
    host.submit(0x01, data=b"taken")
    assert host.control("01 0b 0000 0000 0000") == b""
    assert host.control("82 00 0000 0081 0002") == b"\x00\x00"
    assert host.submit(0x81, 512) == []
    flushed = host.setup(setup_of("01 0b 0000 0000 0000"))[0]
    assert (flushed.number, flushed.status) == (number + 3, Status.SHUTDOWN)


# Features and status


def test_status_tells_power_and_remote_wakeup(host: Host) -> None:
    assert host.control("80 00 0000 0000 0002") == b"\x00\x00"
    assert host.control("00 03 0001 0000 0000") == b""
    assert host.control("80 00 0000 0000 0002") == b"\x02\x00"
    assert host.control("00 01 0001 0000 0000") == b""
    assert host.control("80 00 0000 0000 0002") == b"\x00\x00"
    assert host.control("81 00 0000 0000 0002") == b"\x00\x00"
    assert Host(bench(self_powered=True)[0]).control("80 00 0000 0000 0002") == b"\x01\x00"


def test_remote_wakeup_stalls_where_the_configuration_has_none() -> None:
    assert Host(bench()[0]).control("00 03 0001 0000 0000") is None


def test_test_mode_and_unknown_features_stall(host: Host) -> None:
    assert host.control("00 03 0002 0100 0000") is None
    assert host.control("00 03 0063 0000 0000") is None
    assert host.control("02 03 0001 0081 0000") is None


def test_halt_is_set_seen_and_cleared(host: Host) -> None:
    assert host.control("02 03 0000 0081 0000") == b""
    assert host.control("82 00 0000 0081 0002") == b"\x01\x00"
    assert host.submit(0x81, 512)[0].status == Status.PIPE
    assert host.control("02 01 0000 0081 0000") == b""
    assert host.control("82 00 0000 0081 0002") == b"\x00\x00"
    assert host.submit(0x81, 512) == []


def test_set_configuration_clears_halts(host: Host) -> None:
    host.control("02 03 0000 0081 0000")
    host.control("00 09 0001 0000 0000")
    assert host.control("82 00 0000 0081 0002") == b"\x00\x00"


def test_endpoint_zero_has_a_status_and_never_halts(host: Host) -> None:
    assert host.control("82 00 0000 0000 0002") == b"\x00\x00"
    assert host.control("02 01 0000 0080 0000") == b""
    assert host.control("02 03 0000 0000 0000") is None


def test_isochronous_and_absent_endpoints_cannot_be_halted(host: Host) -> None:
    host.control("01 0b 0001 0000 0000")
    assert host.control("02 03 0000 0082 0000") is None
    assert host.control("02 03 0000 0085 0000") is None


def test_superspeed_knows_its_own_requests(host: Host, super_host: Host) -> None:
    for request in (
        "00 30 0000 0000 0006",
        "00 31 0028 0000 0000",
        "00 03 0030 0000 0000",
        "01 03 0000 0100 0000",
    ):
        assert host.control(request, bytes(int(request[-4:], 16))) is None
        assert super_host.control(request, bytes(int(request[-4:], 16))) == b""
    assert super_host.control("80 00 0000 0000 0002") == b"\x04\x00"
    assert super_host.control("01 01 0000 0000 0000") == b""


def test_superspeed_functions_may_wake_the_host_if_they_can_and_are_allowed() -> None:
    host = Host(bench(Speed.SUPER, remote_wakeup=True)[0])
    assert host.control("81 00 0000 0000 0002") == b"\x01\x00"
    assert host.control("01 03 0000 0300 0000") == b""
    assert host.control("81 00 0000 0000 0002") == b"\x03\x00"
    assert host.control("01 01 0000 0000 0000") == b""
    assert host.control("81 00 0000 0000 0002") == b"\x01\x00"


# Who answers what


def test_requests_reach_the_function_that_owns_interface_or_endpoint(host: Host) -> None:
    for recipient in ("a1 5c 0000 0000", "c2 5c 0000 0081", "c0 5c 0000 0000"):
        assert host.control(f"{recipient} 0003") == b"ans"


def test_requests_to_what_nobody_owns_stall(host: Host) -> None:
    for recipient in ("a1 5c 0000 0001", "c2 5c 0000 0085", "a3 5c 0000 0000", "e1 5c 0000 0000"):
        assert host.control(f"{recipient} 0003") is None


def test_an_out_request_carries_its_data_and_counts_it(host: Host) -> None:
    (completion,) = host.setup(setup_of("41 5b 0000 0000 0004"), b"four")
    assert (completion.status, completion.actual_length, completion.data) == (0, 4, b"")
    assert host.device.functions[0].snapshot()["heard"] == [b"four"]


def test_an_urb_to_endpoint_zero_without_a_setup_packet_stalls(host: Host) -> None:
    assert host.submit(0x80, 8)[0].status == Status.PIPE


@given(
    st.lists(
        st.tuples(
            st.builds(
                SetupPacket,
                st.sampled_from([0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x23]) | st.integers(0, 255),
                st.integers(0, 12) | st.integers(0, 255),
                st.sampled_from([0, 1, 4, 0x100, 0x200, 0x300]) | st.integers(0, 0xFFFF),
                st.sampled_from([0, 1, 0x81, 0x82, 0x0409]) | st.integers(0, 0xFFFF),
                st.sampled_from([0, 2, 18]) | st.integers(0, 0xFFFF),
            ),
            st.binary(max_size=16),
        ),
        max_size=30,
    ),
    st.sampled_from([Speed.FULL, Speed.HIGH, Speed.SUPER]),
)
def test_whatever_a_host_asks_it_is_answered_in_bounds(
    asked: list[tuple[SetupPacket, bytes]], speed: Speed
) -> None:
    host = Host(bench(speed)[0])
    for setup, data in asked:
        completion = host.setup(setup, data)[-1]
        assert completion.number == host.number
        assert completion.status in (Status.OK, Status.PIPE)
        assert len(completion.data) <= setup.length
        assert completion.data == b"" or setup.request_type & 0x80
    host.device.bus(BusEvent.RESET)
    assert host.control("00 09 0001 0000 0000") == b""


def test_a_device_without_configurations_still_answers() -> None:
    known = bench()[0].descriptors
    host = Host(GadgetDevice(replace(known, configurations=()), [], {}), configured=False)
    assert host.control("80 00 0000 0000 0002") == b"\x00\x00"
    assert host.control("00 09 0001 0000 0000") is None
