"""Controllers as sysfs shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import NotFound, Unavailable
from gadgets.udc.capabilities import Controller, Limits, controller, controllers
from gadgets.usb.urb import Speed
from tests.unit.gadgets.udc.kernels import add_controller


def test_controllers_have_a_driver_a_speed_and_limits(tmp_path: Path) -> None:
    add_controller(tmp_path, "dummy_udc.0", "dummy_udc", "super-speed")
    add_controller(tmp_path, "fe980000.usb", "dwc2")
    add_controller(tmp_path, "xhci-dbc", "of-the-future", "UNKNOWN")
    dummy, dwc2, other = controllers(tmp_path)
    assert dummy == Controller("dummy_udc.0", "dummy_udc", Speed.SUPER)
    assert (dwc2.fastest, dwc2.limits.in_endpoints) == (Speed.HIGH, 7)
    assert other == Controller("xhci-dbc", "of-the-future", Speed.HIGH)
    assert other.limits == Limits()


def test_the_only_one_need_not_be_named(tmp_path: Path) -> None:
    add_controller(tmp_path, "fe980000.usb", "dwc2")
    assert controller(tmp_path, "").name == controller(tmp_path, "fe980000.usb").name == "fe980000.usb"


def test_what_there_is_is_told_when_the_name_is_missing_or_wrong(tmp_path: Path) -> None:
    add_controller(tmp_path, "dummy_udc.0", "dummy_udc")
    with pytest.raises(
        NotFound, match=r"there is no USB device controller 'fe980000.usb'; there is dummy_udc.0"
    ):
        controller(tmp_path, "fe980000.usb")
    add_controller(tmp_path, "dummy_udc.1", "dummy_udc")
    with pytest.raises(NotFound, match=r"which .*\? There are dummy_udc.0, dummy_udc.1"):
        controller(tmp_path, "")


def test_without_any_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"dtoverlay=dwc2,dr_mode=peripheral.*modprobe dummy_hcd"):
        controller(tmp_path, "")
