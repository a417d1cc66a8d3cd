"""Export names are well-formed, unique, stable, and the same whatever the order of plugging in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.exports.names import Claim, assign, is_busid, is_name, propose
from appliance.usbip.wire import pack_name

NAMES = st.from_regex(r"[a-c]{1,3}(-[0-9]{1,2})?", fullmatch=True)
CLAIMS = st.lists(
    st.builds(Claim, st.sampled_from("ABCDEFGH"), NAMES, st.none() | NAMES),
    unique_by=lambda claim: claim.identity,
    max_size=8,
)


@pytest.mark.parametrize("name", ["a", "dongle", "0403:6001", "A.b_c:d-1", "x" * 31, "1-1-1"])
def test_a_name_may_be(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", "x" * 32, "-x", ".", "..", "a b", "a/b", "é", "a\n", "1-1", "1-1.2", "usb1", "٣"]
)
def test_a_name_may_not_be(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize("busid", ["1-1", "1-1.2.3.4", "12-14", "usb1"])
def test_a_busid_is_what_the_kernel_calls_a_device_or_a_root_hub(busid: str) -> None:
    assert is_busid(busid)


@pytest.mark.parametrize(
    ("product", "serial", "name"),
    [
        ("FT232R USB UART", "A50285BI", "ft232r-usb-uart-A50285BI"),
        ("FT232R USB UART", None, "ft232r-usb-uart"),
        (None, None, "0403:6001"),
        (None, "A1", "0403:6001-A1"),
        ("™", None, "0403:6001"),
        ("1-1", None, "0403:6001"),
        ("usb1", None, "0403:6001"),
        ("1", "2", "0403:6001-2"),
        ("An endlessly long name of a product", None, "an-endlessly-long-name-of-a-pro"),
        ("An endlessly long name of a product", "A50285BI", "an-endlessly-long-name-A50285BI"),
    ],
)
def test_a_name_is_made_of_product_and_serial_number(
    product: str | None, serial: str | None, name: str
) -> None:
    assert propose(product, "0403:6001", serial) == name


def test_a_serial_number_that_does_not_fit_is_told_by_its_digest() -> None:
    one, other = (propose("Disk", "0403:6001", serial) for serial in ("/dev/1", "/dev/2"))
    assert re.fullmatch("disk-[0-9a-f]{8}", one)
    assert one != other


@given(st.none() | st.text(max_size=300), st.none() | st.text(max_size=300))
def test_whatever_a_device_says_of_itself_makes_a_name(product: str | None, serial: str | None) -> None:
    name = propose(product, "0403:6001", serial)
    assert is_name(name)
    assert pack_name(name) == name.encode()


@given(CLAIMS, st.sets(NAMES))
def test_every_claim_gets_a_name_of_its_own_and_none_of_a_gadget(
    claims: list[Claim], taken: set[str]
) -> None:
    names = assign(claims, {}, taken)
    assert names.keys() == {claim.identity for claim in claims}
    assert len(set(names.values())) == len(names)
    assert not set(names.values()) & taken
    assert all(map(is_name, names.values()))


@given(CLAIMS, st.randoms())
def test_the_order_of_plugging_in_does_not_matter(claims: list[Claim], random) -> None:
    shuffled = list(claims)
    random.shuffle(shuffled)
    assert assign(claims, {}) == assign(shuffled, {})


@given(CLAIMS)
def test_names_are_the_same_after_a_restart(claims: list[Claim]) -> None:
    names = assign(claims, {})
    assert assign(claims, names) == names


@given(CLAIMS, st.data())
def test_a_replug_brings_the_name_back(claims: list[Claim], data: st.DataObject) -> None:
    remembered = assign(claims, {})
    if claims:
        gone = data.draw(st.sampled_from(claims))
        remembered |= assign([claim for claim in claims if claim is not gone], remembered)
    assert assign(claims, remembered) == remembered


def test_of_two_alike_the_second_has_a_digest_of_its_own_behind_the_name() -> None:
    names = assign([Claim("A", "pen"), Claim("B", "pen")], {})
    assert names["A"] == "pen"
    assert re.fullmatch("pen-[0-9a-f]{8}", names["B"])


def test_a_device_does_not_get_the_remembered_name_of_an_absent_one() -> None:
    assert assign([Claim("B", "pen")], {"A": "pen"})["B"] != "pen"


def test_but_a_name_that_the_operator_chose_goes_to_the_device_that_is_there() -> None:
    assert assign([Claim("B", "pen", chosen="lab")], {"A": "lab"}) == {"B": "lab"}


def test_what_the_operator_chose_comes_before_what_devices_propose() -> None:
    names = assign([Claim("A", "lab"), Claim("B", "pen", chosen="lab")], {})
    assert names["B"] == "lab"
    assert names["A"] != "lab"


def test_a_second_device_of_a_named_rule_keeps_its_name_when_the_first_is_gone() -> None:
    both = assign([Claim("A", "pen", chosen="lab"), Claim("B", "pen", chosen="lab")], {})
    assert assign([Claim("B", "pen", chosen="lab")], both) == {"B": both["B"]}


def test_a_newly_chosen_name_replaces_the_old_one() -> None:
    assert assign([Claim("A", "pen", chosen="lab", held="pen")], {"A": "pen"}) == {"A": "lab"}


def test_a_plugged_in_device_keeps_its_name_when_a_twin_changes_its_identity() -> None:
    names = assign([Claim("A@1", "pen"), Claim("A@2", "pen", held="pen")], {"A": "pen"})
    assert names["A@2"] == "pen"
    assert names["A@1"] != "pen"
