"""What keepalived is told about the groups."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import parse
from appliance.errors import UsageError
from appliance.pair import keepalived
from appliance.pair.keepalived import Instance, Link, Places, configuration, instance_of

LINK = Link("192.168.7.1", "192.168.7.2")
BENCH = Instance("bench", 9, "eth0", "192.168.7.100/24", 150, 0.02)
KEYS = Instance("keys", 10, "eth0", "192.168.7.101/24", 50, 1)

GOLDEN = """\
# Written by twinhub; it is written anew whenever the groups change.
global_defs {
    router_id twinhub
    enable_script_security
    vrrp_version 3
    vrrp_notify_fifo /run/x/transitions root
    dynamic_interfaces
    vrrp_check_unicast_src
    vrrp_garp_interval 0.02
    vrrp_garp_master_repeat 5
    vrrp_garp_master_delay 1
    vrrp_garp_master_refresh 30
    vrrp_garp_master_refresh_repeat 1
    vrrp_no_swap
    max_auto_priority -1
}

track_file bench {
    file "/run/x/bench.health"
    weight 1
}
vrrp_instance bench {
    state BACKUP
    interface eth0
    virtual_router_id 9
    priority 150
    advert_int 0.02
    nopreempt
    unicast_src_ip 192.168.7.1
    unicast_ttl 255
    unicast_peer {
        192.168.7.2 min_ttl 255 max_ttl 255
    }
    track_file {
        bench
    }
    virtual_ipaddress {
        192.168.7.100/24 dev eth0
    }
}
"""


def test_a_group_is_an_instance_with_its_health_in_a_file() -> None:
    assert configuration([BENCH], LINK, Places(Path("/run/x"))) == GOLDEN


def test_two_groups_have_a_section_each_and_priorities_of_their_own() -> None:
    text = configuration([BENCH, KEYS], LINK, Places(Path("/run/x")))
    assert text.startswith(GOLDEN)
    assert "    virtual_router_id 10\n    priority 50\n    advert_int 1.00\n    nopreempt\n" in text


def test_a_group_of_the_configuration_is_an_instance() -> None:
    (group,) = parse("""
        [[group]]
        name = "bench"
        hub = "1-1"
        address = "192.168.7.100/24"
        interface = "eth0"
        selector = "arbiter:/dev/ttyACM0"
        priority = 150
        vrid = 9
    """).groups
    assert instance_of(group) == BENCH


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("keepalived"), reason="needs root and keepalived")
def test_keepalived_has_nothing_to_say_against_it(tmp_path: Path) -> None:
    places = Places(tmp_path)
    for one in (BENCH, KEYS):
        places.health(one.name).write_text("0\n")
    places.configuration.write_text(configuration([BENCH, KEYS], LINK, places))
    command = ["keepalived", "--config-test", f"--use-file={places.configuration}"]
    tested = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (tested.returncode, tested.stderr) == (0, "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a b"}, {"name": "x }"}, {"interface": "eth0\n}"}, {"interface": "a" * 16}, {"vrid": 0},
        {"vrid": 256}, {"priority": 255}, {"advert": float("nan")},
        {"advert": 0.001}, {"address": "192.168.7.100"},
    ],
)  # fmt: skip
def test_what_could_break_out_of_its_place_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="cannot be a group of keepalived's"):
        replace(BENCH, **wrong)  # type: ignore[arg-type]


TEXTS = st.text(max_size=20) | st.text("0123456789.:/abc%\n }", max_size=20)


@given(TEXTS | st.just("bench"), TEXTS | st.just("eth0"), TEXTS | st.just("10.0.0.1/24"))
def test_no_text_breaks_out_of_its_place(name: str, interface: str, address: str) -> None:
    try:
        one = replace(BENCH, name=name, interface=interface, address=address)
        configuration([one], LINK, Places(Path("/run/x")))
    except UsageError:
        return
    text = configuration([one], LINK, Places(Path("/run/x")))
    assert len(text.splitlines()) == len(GOLDEN.splitlines())


@pytest.mark.parametrize(
    ("own", "sibling"),
    [
        ("192.168.7.1", "192.168.7.1"),
        ("192.168.7.1", "::1"),
        ("x", "::1"),
        ("fe80::1%a }", "fe80::2"),
        ("", ""),
    ],
)
def test_a_link_is_between_two_addresses_of_one_family(own: str, sibling: str) -> None:
    with pytest.raises(UsageError):
        Link(own, sibling)


def test_what_it_may_leave_behind_is_written_down() -> None:
    assert keepalived.addresses([BENCH, KEYS]) == "192.168.7.100/24 eth0\n192.168.7.101/24 eth0\n"
