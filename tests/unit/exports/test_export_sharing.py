"""`twinhub share`, `unshare` and `suggest`, before anything is carried out."""

from __future__ import annotations

import tomllib

import pytest

from appliance.errors import NotFound, Refused, UsageError
from appliance.exports.registry import Exports
from appliance.exports.rules import DEFAULTS, Rule
from appliance.exports.sharing import Unsharing, matched, pinned, suggest, unshare
from appliance.exports.words import parse_rule

from .plugged import device, hub, keyboard, plugged

DEVICES = plugged(
    hub("1-1"), device("1-1.2"), keyboard("1-1.4"), device("1-3", "1234:5678", "V1", is_vhci=True)
)


def shared(*tables: dict[str, object], source: str = "share") -> Exports:
    made = Exports(parse_rule(f"{source}-{n}", table) for n, table in enumerate(tables, 1))
    made.update(DEVICES, bound=())
    return made


def rule(**table: object) -> Rule:
    return parse_rule("share-1", table)


def test_sharing_a_busid_pins_the_device_that_is_there_now() -> None:
    assert pinned({"busid": "1-1.2", "name": "lab"}, DEVICES) == {"identity": "0403:6001:A1", "name": "lab"}


def test_sharing_by_anything_else_stays_as_written() -> None:
    assert pinned({"hub": "1-1"}, DEVICES) == {"hub": "1-1"}


@pytest.mark.parametrize("busid", ["dongle", "", 7, [], None])
def test_what_is_no_busid_is_left_to_the_rules_own_judgement(busid: object) -> None:
    assert pinned({"busid": busid}, DEVICES) == {"busid": busid}


def test_a_place_and_an_identity_together_stay_two_conditions() -> None:
    both = {"busid": "1-1.2", "identity": "0403:6001:A1"}
    assert pinned(both, DEVICES) == both


def test_sharing_an_empty_place_says_how_to_share_the_port() -> None:
    with pytest.raises(NotFound, match=r"'twinhub share --port 1-1\.3' shares whatever will be"):
        pinned({"busid": "1-1.3"}, DEVICES)


def test_a_hub_is_refused_and_the_way_to_what_is_behind_it_told() -> None:
    with pytest.raises(Refused, match=r"1-1 .* is a hub, which cannot be shared; 'twinhub share --hub 1-1'"):
        pinned({"busid": "1-1"}, DEVICES)
    with pytest.raises(Refused, match="is a hub"):
        matched(rule(device="0424:9514"), DEVICES)


def test_what_is_itself_imported_is_refused() -> None:
    with pytest.raises(Refused, match="is itself imported over USB/IP"):
        matched(rule(serial="V1"), DEVICES)


def test_a_rule_for_what_may_come_matches_nothing_now() -> None:
    assert matched(rule(serial="unknown"), DEVICES) == []
    assert matched(rule(port="1-1.3"), DEVICES) == []


def test_a_rule_tells_what_it_matches_now() -> None:
    assert [d.busid for d in matched(rule(hub="1-1"), DEVICES)] == ["1-1.2", "1-1.4"]


def test_what_is_no_hub_cannot_be_shared_as_one() -> None:
    with pytest.raises(UsageError, match=r"1-1\.2 .* is not a hub; 'twinhub share 1-1\.2' shares it"):
        matched(rule(hub="1-1.2"), DEVICES)


def test_unsharing_a_device_forgets_its_rule() -> None:
    assert unshare("1-1.2", shared({"identity": "0403:6001:A1"}), DEVICES) == Unsharing(("share-1",))


def test_unsharing_a_device_of_a_hub_excludes_only_that_device() -> None:
    exports = shared({"hub": "1-1"})
    assert unshare("1-1.2", exports, DEVICES) == Unsharing((), {"identity": "0403:6001:A1", "exclude": True})


def test_unsharing_a_device_undoes_all_that_shares_it() -> None:
    exports = shared({"serial": "A1", "name": "lab"}, {"hub": "1-1"})
    assert unshare("lab", exports, DEVICES) == Unsharing(
        ("share-1",), {"identity": "0403:6001:A1", "exclude": True}
    )


def test_a_device_shared_by_the_configuration_is_excluded() -> None:
    exports = shared({"serial": "A1"}, source="config")
    assert unshare("1-1.2", exports, DEVICES).add == {"identity": "0403:6001:A1", "exclude": True}


def test_unsharing_a_rule_forgets_it() -> None:
    assert unshare("share-1", shared({"hub": "1-1"}), DEVICES) == Unsharing(("share-1",))


def test_a_rule_of_the_configuration_is_for_the_editor() -> None:
    with pytest.raises(Refused, match="config-1 stands in the configuration file"):
        unshare("config-1", shared({"any": True}, source="config"), DEVICES)


def test_a_gadget_is_for_the_editor_too() -> None:
    exports = shared()
    exports.add_gadget("keyboard", lambda: pytest.fail("nobody asked"), DEFAULTS)
    exports.update(DEVICES, bound=())
    with pytest.raises(Refused, match=r"\[gadgets\]"):
        unshare("keyboard", exports, DEVICES)


def test_what_is_not_shared_cannot_be_unshared() -> None:
    with pytest.raises(NotFound):
        unshare("1-1.2", shared(), DEVICES)


def test_a_suggestion_is_toml_that_matches_exactly_that_device() -> None:
    for chosen in (DEVICES["1-1.2"], DEVICES["1-1.4"]):
        (table,) = tomllib.loads(suggest(chosen))["share"]
        assert [d.busid for d in matched(rule(**table), DEVICES)] == [chosen.busid]


def test_a_suggestion_names_the_device_and_the_command() -> None:
    assert suggest(DEVICES["1-1.2"], "lab") == (
        "# FT232R USB UART, now at 1-1.2: twinhub share --identity=0403:6001:A1 --name=lab\n"
        "[[share]]\n"
        'identity = "0403:6001:A1"\n'
        'name = "lab"\n'
    )


def test_a_hub_has_no_suggestion() -> None:
    with pytest.raises(Refused, match="is a hub"):
        suggest(DEVICES["1-1"])
