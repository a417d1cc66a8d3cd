"""Inventory, rules and gadgets become exports."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import NotFound, UsageError
from appliance.exports.registry import Exports, plan, record
from appliance.exports.rules import DEFAULTS
from appliance.exports.words import parse_rule
from appliance.usbip.wire import InterfaceRecord
from gadgets.usb.urb import Speed

from .plugged import device, hub, keyboard, plugged

HUB = parse_rule("share-1", {"hub": "1-1"})
ANY = parse_rule("config-1", {"any": True})


def gadget_record():
    return record(keyboard("9-1", product="Software keyboard"), "ignored")


def exports(*rules, **remembered: str) -> Exports:
    return Exports(rules, remembered)


def test_what_a_rule_matches_is_to_be_bound_and_the_rest_given_back() -> None:
    devices = plugged(hub("1-1"), device("1-1.2"), keyboard("1-2"))
    made = plan(devices, [HUB], bound={"1-2"})
    assert [(e.name, e.kind, e.rule) for e in made.exports] == [("ft232r-usb-uart-A1", "device", "share-1")]
    assert (made.to_bind, made.to_unbind) == (("1-1.2",), ("1-2",))


def test_what_is_bound_and_shared_stays_as_it_is() -> None:
    made = plan(plugged(hub("1-1"), device("1-1.2")), [HUB], bound={"1-1.2"})
    assert (made.to_bind, made.to_unbind) == ((), ())


def test_what_is_unplugged_needs_no_unbinding() -> None:
    assert plan({}, [ANY], bound={"1-1.2"}).to_unbind == ()


def test_an_excluding_rule_takes_a_device_out_of_those_below() -> None:
    exclude = parse_rule("share-2", {"class": "hid", "exclude": True})
    made = plan(plugged(device("1-1.2"), keyboard("1-1.4")), [exclude, HUB], bound={"1-1.2", "1-1.4"})
    assert [e.device.busid for e in made.exports] == ["1-1.2"]
    assert made.to_unbind == ("1-1.4",)


def test_a_new_device_behind_a_shared_hub_is_shared() -> None:
    shared = exports(HUB)
    shared.update(plugged(hub("1-1")), bound=())
    assert shared.update(plugged(hub("1-1"), device("1-1.3")), bound=()).to_bind == ("1-1.3",)


def test_an_export_carries_the_options_of_its_rule() -> None:
    rule = parse_rule("share-1", {"any": True, "mode": "direct", "name": "lab"})
    (export,) = plan(plugged(device()), [rule], bound=()).exports
    assert (export.name, export.options.mode) == ("lab", "direct")


def test_a_record_tells_what_usbipd_tells_under_our_name() -> None:
    told = record(keyboard("1-1.4", bcd_device=0x0100, speed=Speed.HIGH), "kbd")
    assert told.path == "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1.4"
    assert (told.busid, told.busnum, told.devnum, told.speed) == ("kbd", 1, 3, Speed.HIGH)
    assert (told.vendor_id, told.product_id, told.bcd_device) == (0x0627, 0x0001, 0x0100)
    assert (told.configuration_value, told.num_configurations) == (1, 1)
    assert told.interfaces == (InterfaceRecord(3, 1, 1),)


def test_a_gadget_is_an_export_like_any_other() -> None:
    shared = exports(ANY)
    shared.add_gadget("keyboard", gadget_record, DEFAULTS)
    shared.update(plugged(device()), bound=())
    found = shared.find("keyboard")
    assert (found.kind, found.device, found.record().busid) == ("gadget", None, "keyboard")


def test_no_device_takes_the_name_of_a_gadget() -> None:
    shared = exports(parse_rule("share-1", {"any": True, "name": "keyboard"}))
    shared.add_gadget("keyboard", gadget_record, DEFAULTS)
    made = shared.update(plugged(device()), bound=())
    assert made.exports[0].kind == "gadget"
    assert made.exports[1].name.startswith("keyboard-")


def test_a_gadget_needs_a_name_that_fits() -> None:
    with pytest.raises(UsageError, match="wanted a name of at most 31"):
        exports().add_gadget("1-1", gadget_record, DEFAULTS)


def test_an_export_is_found_by_name_and_by_busid_and_answers_to_what_was_asked() -> None:
    shared = exports(ANY)
    shared.update(plugged(device("1-1.2")), bound=())
    by_name, by_busid = shared.find("ft232r-usb-uart-A1"), shared.find("1-1.2")
    assert by_name == by_busid
    assert by_name.record().busid == "ft232r-usb-uart-A1"
    assert by_busid.record("1-1.2").busid == "1-1.2"


@pytest.mark.parametrize("name", ["nothing", "1-9", "1-1.4", ""])
def test_what_is_not_shared_is_not_found(name: str) -> None:
    shared = exports(parse_rule("share-1", {"busid": "1-1.2"}))
    shared.update(plugged(device("1-1.2"), keyboard("1-1.4")), bound=())
    with pytest.raises(NotFound, match="no export is called"):
        shared.find(name)


def test_a_name_outlives_a_move_to_another_port() -> None:
    shared = exports(ANY)
    first = shared.update(plugged(device("1-1.2")), bound=()).exports[0].name
    shared.update({}, bound=())
    assert shared.update(plugged(device("2-3")), bound=()).exports[0].name == first


def test_a_name_outlives_a_restart_although_a_twin_came_first() -> None:
    one, other = device("1-1", serial=None), device("1-2", serial=None)
    before = exports(ANY)
    names = before.update(plugged(one), bound=()).names | before.update(plugged(one, other), bound=()).names
    after = Exports([ANY], names)
    after.update(plugged(other), bound=())
    assert after.find("1-2").name == before.find("1-2").name


def test_a_device_keeps_its_name_when_a_clone_with_its_serial_number_is_plugged_in() -> None:
    shared = exports(ANY)
    shared.update(plugged(device("1-2")), bound=())
    name = shared.find("1-2").name
    shared.update(plugged(device("1-1"), device("1-2")), bound=())
    assert shared.find("1-2").name == name


def test_why_a_device_is_not_shared_is_told() -> None:
    exclude = parse_rule("share-2", {"device": "0627:0001", "exclude": True})
    shared = exports(exclude, HUB)
    told = {
        d.busid: shared.why_not(d)
        for d in (hub("1-1"), device("1-1.2"), device("1-1.3", removable=False), keyboard(), device("2-1"))
    }
    assert told["1-1.2"] is None
    assert "'twinhub share --hub 1-1' shares what is behind it" in (told["1-1"] or "")
    assert "1-1.3 is built in" in (told["1-1.3"] or "")
    assert told["1-1.4"] == "1-1.4 is excluded by rule share-2"
    assert told["2-1"] == "2-1 is matched by no rule"


DEVICES = st.lists(
    st.builds(
        device,
        st.from_regex(r"[12]-[1-3](\.[1-3])?", fullmatch=True),
        st.sampled_from(["0403:6001", "0627:0001"]),
        st.sampled_from([None, "A1", "B2", "0000"]),
        product=st.sampled_from([None, "Pen", "1-1", "Pen 2"]),
    ),
    unique_by=lambda d: d.busid,
    max_size=6,
)
RULES = st.lists(
    st.sampled_from(
        [
            {"any": True},
            {"any": True, "name": "lab"},
            {"hub": "1-1", "exclude": True},
            {"device": "0403:6001", "name": "pen"},
        ]
    ),
    max_size=3,
)


@given(st.lists(DEVICES, max_size=4), RULES)
def test_whatever_is_plugged_in_and_out_names_are_unique_and_nobody_present_is_renamed(
    history: list[list], tables: list[dict[str, object]]
) -> None:
    shared = Exports([parse_rule(f"config-{n}", table) for n, table in enumerate(tables)])
    before: dict[str, tuple[object, str]] = {}
    for present in history:
        made = shared.update(plugged(*present), bound=())
        now = {e.device.busid: ((e.device.ids, e.device.serial), e.name) for e in made.exports}
        assert len({name for _, name in now.values()}) == len(now)
        for busid in before.keys() & now.keys():
            if before[busid][0] == now[busid][0]:
                assert before[busid][1] == now[busid][1]
        before = now


def test_exports_that_are_alike_are_equal_so_that_changes_show() -> None:
    devices = plugged(device())
    shared = exports(ANY)
    first = shared.update(devices, bound=()).exports
    assert shared.update(devices, bound=()).exports == first
    changed = {busid: replace(d, driver="usbip-host") for busid, d in devices.items()}
    assert shared.update(changed, bound=()).exports != first
