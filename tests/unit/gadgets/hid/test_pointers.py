"""Mouse and tablet as host and user see them. HID 1.11 appendix B.2."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import UsageError
from gadgets.hid.buttons import Click, PressButtons, ReleaseButtons
from gadgets.hid.mouse import Mouse, Move, Scroll, steps
from gadgets.hid.tablet import MoveTo, PointAt, Tablet
from gadgets.usb.device import BusEvent
from tests.unit.gadgets.hid.hosts import fetched, host_of
from tests.unit.gadgets.host import Host

Seen = list[tuple[int, ...]]


def mouse_seen(host: Host) -> Seen:
    """Buttons, x, y, wheel, pan."""
    return [struct.unpack("<B4b", report) for report in fetched(host)]


def tablet_seen(host: Host) -> Seen:
    return [struct.unpack("<BHH2b", report) for report in fetched(host)]


@pytest.fixture
def mouse() -> Host:
    return host_of(Mouse())


@pytest.fixture
def tablet() -> Host:
    return host_of(Tablet())


# Mouse


def test_it_is_a_boot_mouse(mouse: Host) -> None:
    (setting,) = mouse.device.configurations[0].settings
    assert (setting.interface_class, setting.subclass, setting.protocol) == (3, 1, 2)
    assert [e.packet_size for e in setting.endpoints] == [5]


def test_it_moves_clicks_and_scrolls(mouse: Host) -> None:
    for given_ in (Move(5, -3), Click(), Scroll(1), Scroll(0, -2)):
        mouse.device.local(given_)
    assert mouse_seen(mouse) == [
        (0, 5, -3, 0, 0),
        (1, 0, 0, 0, 0),
        (0, 0, 0, 0, 0),
        (0, 0, 0, 1, 0),
        (0, 0, 0, 0, -2),
    ]


def test_it_drags(mouse: Host) -> None:
    for given_ in (PressButtons(("left", "extra")), Move(1), ReleaseButtons(("left",)), ReleaseButtons()):
        mouse.device.local(given_)
    assert [seen[0] for seen in mouse_seen(mouse)] == [0x11, 0x11, 0x10, 0]


def test_a_double_click_with_a_held_button(mouse: Host) -> None:
    mouse.device.local(PressButtons(("right",)))
    mouse.device.local(Click("middle", 2))
    assert [seen[0] for seen in mouse_seen(mouse)] == [2, 6, 2, 6, 2]


def test_a_large_move_is_several_small_ones_in_a_straight_line(mouse: Host) -> None:
    mouse.device.local(Move(300, -6))
    assert mouse_seen(mouse) == [(0, 100, -2, 0, 0)] * 3


@given(st.integers(-2000, 2000), st.integers(-2000, 2000))
def test_steps_add_up_and_fit(x: int, y: int) -> None:
    taken = list(steps(x, y))
    assert (sum(dx for dx, _ in taken), sum(dy for _, dy in taken)) == (x, y)
    assert all(abs(dx) <= 127 and abs(dy) <= 127 for dx, dy in taken)
    assert len(taken) == max(-(-max(abs(x), abs(y)) // 127), 1)


def test_the_boot_protocol_knows_no_wheels(mouse: Host) -> None:
    assert mouse.control("21 0b 0000 0000 0000") == b""
    mouse.device.local(Move(1, 2))
    assert fetched(mouse) == [b"\0\1\2"]
    assert mouse.control("a1 01 0100 0000 0008") == b"\0\1\2"


@pytest.mark.parametrize(
    ("input", "says"),
    [
        (Click("lft"), "no button 'lft'; there are left, right, middle"),
        (Click(count=0), "once or more"),
        (PressButtons(("left", "a")), "no button 'a'"),
        (Move(10**9), "at most 20000 reports may wait"),
        (Click(count=10**9), "at most 20000 reports may wait"),
    ],
)
def test_what_a_mouse_cannot_do_is_refused(mouse: Host, input: object, says: str) -> None:
    mouse.device.local(PressButtons(("right",)))
    before = mouse.device.snapshot()
    with pytest.raises(UsageError, match=says):
        mouse.device.local(input)
    assert mouse.device.snapshot() == before


def test_a_new_host_sees_no_button_held(mouse: Host) -> None:
    mouse.device.local(PressButtons(("left",)))
    mouse.device.bus(BusEvent.ATTACH)
    again = Host(mouse.device)
    again.device.local(Move(1))
    assert [seen[0] for seen in mouse_seen(again)] == [0]


# Tablet


def test_a_tablet_is_where_it_is_told_to_be(tablet: Host) -> None:
    for given_ in (MoveTo(0, 32767), PointAt(0.5, 0), Click("right"), Scroll(-1, 1)):
        tablet.device.local(given_)
    assert tablet_seen(tablet) == [
        (0, 0, 32767, 0, 0),
        (0, 16384, 0, 0, 0),
        (2, 16384, 0, 0, 0),
        (0, 16384, 0, 0, 0),
        (0, 16384, 0, -1, 1),
    ]


@pytest.mark.parametrize(
    "outside", [MoveTo(-1, 0), MoveTo(0, 32768), PointAt(1.01, 0), PointAt(0, float("nan"))]
)
def test_a_tablet_has_edges(tablet: Host, outside: object) -> None:
    with pytest.raises(UsageError, match="is outside"):
        tablet.device.local(outside)
    assert tablet_seen(tablet) == []
