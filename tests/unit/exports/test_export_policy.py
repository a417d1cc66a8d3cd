"""Who may connect, use an export, and take it from another."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from appliance.errors import Busy, Refused
from appliance.exports import policy
from appliance.exports.registry import Export, export_of
from appliance.exports.words import parse_rule

from .plugged import device

LAN = (ip_network("192.168.7.0/24"), ip_network("2001:db8::/64"))
BOB, EVE = ip_address("192.168.7.20"), ip_address("192.168.7.66")
HERE = ip_address("127.0.0.1")


def export(**options: object) -> Export:
    return export_of(device(), "dongle", parse_rule("share-3", {"any": True, **options}))


@pytest.mark.parametrize("peer", ["192.168.7.1", "2001:db8::1", "127.0.0.1", "127.8.8.8", "::1"])
def test_named_networks_and_loopback_may_connect(peer: str) -> None:
    assert policy.may_connect(ip_address(peer), LAN)


@pytest.mark.parametrize("peer", ["192.168.8.1", "2001:db8:1::1", "10.0.0.1", "fe80::1"])
def test_others_may_not_connect(peer: str) -> None:
    assert not policy.may_connect(ip_address(peer), LAN)


def test_only_loopback_may_connect_where_no_network_is_named() -> None:
    assert policy.may_connect(HERE, ())
    assert not policy.may_connect(BOB, ())


def test_an_export_without_an_allow_list_is_for_everyone_who_may_connect() -> None:
    policy.require_use(BOB, export())
    policy.require_use(HERE, export())


def test_a_refusal_names_the_rule_and_whom_it_admits() -> None:
    with pytest.raises(Refused) as caught:
        policy.require_use(EVE, export(allow=["192.168.7.20", "10.0.0.0/8"]))
    assert str(caught.value) == (
        "dongle is shared by rule share-3 with 192.168.7.20, 10.0.0.0/8 only, not with 192.168.7.66"
    )
    assert caught.value.usbip_status == 1


def test_an_allow_list_counts_for_loopback_too() -> None:
    assert not policy.may_use(HERE, export(allow=["192.168.7.20"]))
    assert policy.may_use(HERE, export(allow=["127.0.0.0/8"]))


@pytest.mark.parametrize(
    ("take_over", "peer", "may"),
    [
        ("never", BOB, False),
        ("never", EVE, False),
        ("same-host", BOB, True),
        ("same-host", EVE, False),
        ("anyone", BOB, True),
        ("anyone", EVE, True),
    ],
)
def test_who_may_take_what_bob_is_using(take_over: str, peer, may: bool) -> None:
    shared = export(take_over=take_over)
    if may:
        policy.require_take_over(peer, BOB, shared)
        return
    with pytest.raises(Busy, match=f'in use by {BOB}, and rule share-3 has take_over = "{take_over}"'):
        policy.require_take_over(peer, BOB, shared)
