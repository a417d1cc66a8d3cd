"""The gamepad and the media keys as the host sees them."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from appliance.errors import UsageError
from gadgets.hid.buttons import Click, PressButtons
from gadgets.hid.gamepad import Gamepad, Hat, Stick, Trigger
from gadgets.hid.media_keys import MediaKeys, TapKeys
from tests.unit.gadgets.hid.hosts import fetched, host_of
from tests.unit.gadgets.host import Host


@pytest.fixture
def pad() -> Host:
    return host_of(Gamepad())


def seen(host: Host) -> list[tuple[int, ...]]:
    """Buttons, hat, x, y, rx, ry, z, rz."""
    return [struct.unpack("<HB4h2B", report) for report in fetched(host)]


def test_at_rest_everything_is_centred(pad: Host) -> None:
    assert pad.control("a1 01 0100 0000 0040") == bytes(13)


def test_all_controls_are_held_until_they_are_moved_again(pad: Host) -> None:
    for given in (
        Stick(-1, 0.5),
        Stick(1, 1, "right"),
        Trigger(1),
        Trigger(0.5, "right"),
        Hat("up-left"),
        PressButtons(("a", "thumbr")),
        Hat("centre"),
    ):
        pad.device.local(given)
    assert seen(pad) == [
        (0, 0, -32767, 16384, 0, 0, 0, 0),
        (0, 0, -32767, 16384, 32767, 32767, 0, 0),
        (0, 0, -32767, 16384, 32767, 32767, 255, 0),
        (0, 0, -32767, 16384, 32767, 32767, 255, 128),
        (0, 8, -32767, 16384, 32767, 32767, 255, 128),
        (0x4001, 8, -32767, 16384, 32767, 32767, 255, 128),
        (0x4001, 0, -32767, 16384, 32767, 32767, 255, 128),
    ]


UNSIDED: Any = "both"


@pytest.mark.parametrize(
    ("input", "says"),
    [
        (Stick(1.1, 0), "from -1 to 1"),
        (Stick(0, 0, UNSIDED), "no 'both'"),
        (Trigger(-0.1), "from 0 to 1"),
        (Hat(UNSIDED), "the hat knows no 'both', but centre, up,"),
        (Click("left"), "no button 'left'; there are a, b, c"),
    ],
)
def test_what_a_gamepad_cannot_do_is_refused(pad: Host, input: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        pad.device.local(input)
    assert seen(pad) == []


def test_media_keys_are_tapped_one_after_the_other() -> None:
    host = host_of(MediaKeys())
    host.device.local(TapKeys(("volumeup", "playpause")))
    assert [report.hex() for report in fetched(host)] == ["e900", "0000", "cd00", "0000"]


def test_an_unknown_media_key_is_refused_and_none_tapped() -> None:
    host = host_of(MediaKeys())
    with pytest.raises(UsageError, match="no media key 'louder'; there are power,"):
        host.device.local(TapKeys(("mute", "louder")))
    assert fetched(host) == []
