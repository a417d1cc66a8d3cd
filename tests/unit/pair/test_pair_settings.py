"""What `[[group]]` may say: one group, or an error with its line."""

from __future__ import annotations

import pytest

from appliance.config import parse
from appliance.errors import ConfigError
from appliance.pair.model import MS, Group, Timers
from appliance.pair.settings import Target, group_of


def complaint(source: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(source)
    return str(caught.value)


GROUP = """
[[group]]
name = "bench"
hub = "1-1"
address = "192.168.7.100/24"
interface = "eth0"
selector = "gpio:/dev/gpiochip0:17"
vrid = 9
"""


@pytest.mark.parametrize(
    ("written", "instead", "sentence"),
    [
        ('name = "bench"', "", "line 2: [[group]] name: is missing; wanted a name of at most 31"),
        ("selector", "selectro", "line 7: [[group]] selectro: unknown key; did you mean 'selector'?"),
        ("gpio:/dev", "gipo:/dev", "line 7: [[group]] selector: there is no 'gipo'; did you mean 'gpio'?"),
        (
            '"gpio:/dev/gpiochip0:17"',
            '"gpio:"',
            "[[group]] selector: it does not say where; an example is gpio:",
        ),
        ('hub = "1-1"', "", "[[group]] of what does it consist? Give either `exports` or `hub`"),
        ('hub = "1-1"', 'hub = "1-1"\nexports = ["a"]', "line 4: [[group]] hub: of what does it consist?"),
        (".100/24", ".100", 'address: found "192.168.7.100", wanted an address with its network'),
        (".100/24", ".0/24", 'address: found "192.168.7.0/24", wanted an address with its network'),
        ("192.168.7.100/24", "127.0.0.1/8", 'address: found "127.0.0.1/8", wanted an address'),
        ('"eth0"', '"eth0 {"', 'interface: found "eth0 {", wanted the name of a network interface'),
        ("vrid = 9", "vrid = 256", "vrid: found 256, wanted a whole number from 1 to 255"),
        ("vrid = 9", "priority = 255", "priority: found 255, wanted a whole number from 1 to 254"),
        ("vrid = 9", "advert = 0.001", "advert: found 0.001, wanted seconds from 0.01 to 40"),
    ],
)
def test_a_wrong_group_is_told_with_its_key(written: str, instead: str, sentence: str) -> None:
    assert sentence in complaint(GROUP.replace(written, instead))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("10.0.0.1", Target("10.0.0.1")),
        ("10.0.0.1:22", Target("10.0.0.1", 22)),
        ("2001:db8::1", Target("2001:db8::1")),
        ("[2001:db8::1]:22", Target("2001:db8::1", 22)),
    ],
)
def test_a_target_is_pinged_or_has_a_port(written: str, meant: Target) -> None:
    (group,) = parse(GROUP.replace("vrid = 9", f'targets = ["{written}"]')).groups
    assert group.targets == (meant,)
    assert str(meant) == written


@pytest.mark.parametrize("wrong", ["host", "10.0.0.1:0", "10.0.0.1:65536", "[10.0.0.1", "10.0.0.1:", ":22"])
def test_what_is_no_target_is_told(wrong: str) -> None:
    said = complaint(GROUP.replace("vrid = 9", f'targets = ["{wrong}"]'))
    assert f'line 8: [[group]] targets: found ["{wrong}"], wanted a list of addresses to ping' in said


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ((), "line 11: [[group]] name: there is another 'bench' further up"),
        (("name",), "line 13: [[group]] address: 192.168.7.100 is the address of 'bench'"),
        (("name", "address"), "line 16: [[group]] vrid: 9 is that of 'bench' too"),
        (("name", "address", "vrid"), "line 12: [[group]] hub: 1-1 is the hub of 'bench'"),
        (("name", "address", "vrid", "hub"), None),
    ],
)
def test_two_groups_share_nothing(own: tuple[str, ...], sentence: str | None) -> None:
    changes = {"name": ('"bench"', '"two"'), "address": (".100", ".101"), "vrid": ("= 9", "= 8"),
               "hub": ('"1-1"', '"1-2"')}  # fmt: skip
    other = GROUP
    for key in own:
        other = other.replace(*changes[key])
    if sentence:
        assert sentence in complaint(GROUP + other)
    else:
        assert [group.name for group in parse(GROUP + other).groups] == ["bench", "two"]


def test_an_export_is_in_one_group() -> None:
    first = GROUP.replace('hub = "1-1"', 'exports = ["a", "b"]')
    other = first.replace('"bench"', '"two"').replace(".100", ".101").replace("= 9", "= 8")
    assert "[[group]] exports: 'a' is in 'bench'" in complaint(first + other)


def test_it_is_a_group_of_the_pairs_protocol() -> None:
    (table,) = parse(GROUP.replace("vrid = 9", "lease = 1.5\npreempt = true\npreempt_after = 60")).groups
    assert group_of(table, {"a": 100, "b": 50}) == Group(
        name="bench",
        address="192.168.7.100/24",
        interface="eth0",
        priorities={"a": 100, "b": 50},
        preempt=True,
        selector="gpio:/dev/gpiochip0:17",
        timers=Timers(lease=1500 * MS, renew=375 * MS, hold=60_000 * MS),
    )
