"""The boot keyboard as host and user see it. HID 1.11 §7, appendix B and F."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import TwinhubError, Unavailable, UsageError
from gadgets.hid.function import MAX_WAITING
from gadgets.hid.keyboard import Keyboard, Press, Release, TypeText, keyboard
from gadgets.hid.report import KEYBOARD_REPORT_DESCRIPTOR, Leds, keyboard_report
from gadgets.hid.usages import KEYS
from gadgets.usb.class_descriptors import HID
from gadgets.usb.compose import compose
from gadgets.usb.device import BusEvent, Configured, Told
from gadgets.usb.urb import Speed, Status
from tests.unit.gadgets.host import IDENTITY, Host

MS = 1_000_000


@pytest.fixture
def host() -> Host:
    """As Linux leaves it: configured, idle switched off."""
    host = Host(keyboard())
    host.control("21 0a 0000 0000 0000")
    host.device.take_events()
    return host


def fetched(host: Host) -> list[str]:
    """What the host's transfers bring until one has to wait; that one is unlinked."""
    reports = []
    while done := host.submit(0x81, 8):
        reports.append(done[0].data.hex(" ").removesuffix(" 00 00 00 00 00"))
    host.device.unlink(host.number)
    return reports


# What it says it is


def test_it_is_a_boot_keyboard_with_one_interrupt_endpoint(host: Host) -> None:
    (setting,) = host.device.configurations[0].settings
    assert (setting.interface_class, setting.subclass, setting.protocol) == (3, 1, 1)
    assert [(e.address, e.attributes, e.packet_size) for e in setting.endpoints] == [(0x81, 3, 8)]


def test_its_hid_descriptor_announces_its_report_descriptor(host: Host) -> None:
    announced = HID.parse(host.control("81 06 2100 0000 0009") or b"")
    assert announced.report_length == len(KEYBOARD_REPORT_DESCRIPTOR)
    assert host.control("81 06 2200 0000 00ff") == KEYBOARD_REPORT_DESCRIPTOR
    assert host.control("81 06 2300 0000 00ff") is None


@pytest.mark.parametrize("speed", [Speed.LOW, Speed.FULL, Speed.HIGH, Speed.SUPER])
def test_it_works_at_every_speed(speed: Speed) -> None:
    host = Host(keyboard(speed=speed))
    host.device.local(Press(("a",)))
    assert fetched(host) == ["00 00 04"]


# Typing


def test_typed_text_is_one_report_for_each_transfer(host: Host) -> None:
    host.device.local(TypeText("aB"))
    assert fetched(host) == ["00 00 04", "00 00 00", "02 00 05", "00 00 00"]


def test_a_waiting_transfer_gets_the_first_report_at_once(host: Host) -> None:
    assert host.submit(0x81, 8) == []
    (done,) = host.device.local(TypeText("a"))
    assert (done.number, done.data) == (host.number, keyboard_report([KEYS["a"]]))


def test_a_dead_key_comes_before_its_letter(host: Host) -> None:
    host.device.local(TypeText("ê", "de"))
    assert fetched(host) == ["00 00 35", "00 00 00", "00 00 08", "00 00 00"]


def test_keys_stay_down_until_released(host: Host) -> None:
    host.device.local(Press(("leftctrl", "c")))
    host.device.local(Press(("x",)))
    host.device.local(Release(("c",)))
    host.device.local(Release())
    assert fetched(host) == ["01 00 06", "01 00 06 1b 00 00 00 00", "01 00 1b", "00 00 00"]


def test_a_seventh_key_is_roll_over_and_modifiers_still_count(host: Host) -> None:
    host.device.local(Press(("leftshift", *"abcdef")))
    host.device.local(Press(("g",)))
    assert fetched(host) == ["02 00 04 05 06 07 08 09", "02 00 01 01 01 01 01 01"]


def test_typing_lets_go_of_held_keys(host: Host) -> None:
    host.device.local(Press(("leftshift",)))
    host.device.local(TypeText("a"))
    assert fetched(host) == ["02 00 00", "00 00 00", "00 00 04", "00 00 00"]


@pytest.mark.parametrize(
    ("input", "error", "says"),
    [
        (TypeText("a☃b"), UsageError, r"'us' cannot type '☃' \(character 2 of the text\)"),
        (TypeText("a", "xx"), UsageError, "no keyboard layout 'xx'; there are us, uk, de"),
        (TypeText("a" * (MAX_WAITING // 2 + 1)), UsageError, "20000 reports may wait"),
        (Press(("leftctl",)), UsageError, "did you mean 'leftctrl'"),
        (Release(("☃",)), UsageError, "no key '☃'"),
    ],
)
def test_what_cannot_be_typed_is_refused_and_nothing_of_it_typed(
    host: Host, input: object, error: type[TwinhubError], says: str
) -> None:
    host.device.local(Press(("a",)))
    before = host.device.snapshot()
    with pytest.raises(error, match=says):
        host.device.local(input)
    assert host.device.snapshot() == before


def test_without_a_host_typing_is_refused() -> None:
    with pytest.raises(Unavailable, match="no host"):
        keyboard().local(TypeText("a"))


def test_a_halt_keeps_what_is_typed_for_later(host: Host) -> None:
    host.control("02 03 0000 0081 0000")
    host.device.local(TypeText("a"))
    assert host.submit(0x81, 8)[0].status == Status.PIPE
    host.control("02 01 0000 0081 0000")
    assert fetched(host) == ["00 00 04", "00 00 00"]


def test_a_new_host_gets_nothing_of_what_was_typed_to_the_last(host: Host) -> None:
    host.device.local(TypeText("secret"))
    host.device.bus(BusEvent.ATTACH)
    assert fetched(Host(host.device)) == []


def test_a_typing_rate_is_kept_by_the_clock_it_is_told() -> None:
    """Ten keys a second are a report every 50 ms."""
    host = Host(compose(IDENTITY, [Keyboard(keys_per_second=10)]))
    host.control("21 0a 0000 0000 0000")
    host.device.local(TypeText("ab"))
    (done,) = host.submit(0x81, 8)
    assert done.data == keyboard_report([KEYS["a"]])
    assert host.submit(0x81, 8) == []
    assert host.device.wake_at == 0
    assert host.device.tick(1000 * MS) == []
    assert host.device.wake_at == 1050 * MS
    (done,) = host.device.tick(1050 * MS)
    assert done.data == keyboard_report([])


@pytest.mark.parametrize("rate", [-1, 1001, float("nan")])
def test_a_typing_rate_has_its_limits(rate: float) -> None:
    with pytest.raises(UsageError, match="keys_per_second is a number from 0"):
        Keyboard(keys_per_second=rate)


def test_text_is_typed_for_the_layout_the_keyboard_has() -> None:
    host = Host(compose(IDENTITY, [Keyboard(layout="fr")]))
    host.device.local(TypeText("a"))
    assert fetched(host) == ["00 00 14", "00 00 00"]
    with pytest.raises(UsageError, match="no keyboard layout 'klingon'"):
        Keyboard(layout="klingon")


# Requests


def test_lights_are_told_once(host: Host) -> None:
    for _ in range(2):
        assert host.control("21 09 0200 0000 0001", b"\x02") == b""
    assert host.device.take_events() == [Told("keyboard", Leds(caps_lock=True))]


@pytest.mark.parametrize(
    ("request_line", "data"),
    [
        ("21 09 0200 0000 0002", b"\x02\x00"),
        ("21 09 0100 0000 0008", bytes(8)),
        ("21 09 0300 0000 0001", b"\x00"),
        ("a1 01 0300 0000 0008", b""),
        ("21 0b 0002 0000 0000", b""),
        ("21 0a 0001 0000 0000", b""),
        ("21 0f 0000 0000 0000", b""),
    ],
)
def test_what_a_keyboard_does_not_know_it_stalls(host: Host, request_line: str, data: bytes) -> None:
    assert host.control(request_line, data) is None


def test_get_report_tells_the_lights_too(host: Host) -> None:
    host.control("21 09 0200 0000 0001", b"\x05")
    assert host.control("a1 01 0200 0000 0001") == b"\x05"


def test_get_report_tells_what_was_last_fetched(host: Host) -> None:
    host.device.local(TypeText("a"))
    assert host.control("a1 01 0100 0000 0008") == bytes(8)
    host.submit(0x81, 8)
    assert host.control("a1 01 0100 0000 0008") == keyboard_report([KEYS["a"]])


def test_protocol_is_report_after_reset_and_may_be_boot(host: Host) -> None:
    assert host.control("a1 03 0000 0000 0001") == b"\x01"
    assert host.control("21 0b 0000 0000 0000") == b""
    assert host.control("a1 03 0000 0000 0001") == b"\x00"
    host.device.bus(BusEvent.RESET)
    assert Host(host.device).control("a1 03 0000 0000 0001") == b"\x01"


# Idle


def test_an_idle_keyboard_repeats_its_report_by_the_clock_it_is_told(host: Host) -> None:
    host.device.local(Press(("a",)))
    fetched(host)
    assert host.control("21 0a 0200 0000 0000") == b""
    assert host.control("a1 02 0000 0000 0001") == b"\x02"
    host.submit(0x81, 8)
    assert host.device.wake_at == 0
    assert host.device.tick(1000 * MS) == []
    assert host.device.wake_at == 1008 * MS
    assert host.device.tick(1007 * MS) == []
    (done,) = host.device.tick(1008 * MS)
    assert done.data == keyboard_report([KEYS["a"]])


def test_repetitions_do_not_pile_up_while_the_host_does_not_look() -> None:
    host = Host(keyboard())
    for step in range(5):
        host.device.tick((1 + step * 500) * MS)
    assert fetched(host) == ["00 00 00"]


def test_without_an_idle_rate_it_wants_no_clock(host: Host) -> None:
    host.device.local(TypeText("a"))
    fetched(host)
    assert host.device.wake_at is None


def test_an_unconfigured_keyboard_wants_no_clock() -> None:
    device = keyboard()
    assert device.wake_at is None
    Host(device)
    assert (device.wake_at, device.take_events()) == (0, [Told("", Configured(1))])
    device.bus(BusEvent.DETACH)
    assert device.wake_at is None


@given(st.text(max_size=30), st.sampled_from(["us", "de", "fr", "fr-windows"]))
def test_any_text_is_typed_wholly_or_refused_wholly(text: str, layout: str) -> None:
    host = Host(keyboard())
    with contextlib.suppress(UsageError):
        host.device.local(TypeText(text, layout))
    reports = fetched(host)
    assert len(reports) % 2 == 0
    assert set(reports[1::2]) <= {"00 00 00"}
