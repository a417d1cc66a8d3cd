"""What a client is shown of a takeover, by class."""

from __future__ import annotations

import pytest

from appliance.exports.takeover import Disk, Pending, Verdict, policy


def device(ids: str, *interfaces: str) -> bytes:
    """A device of these IDs, and of interfaces written CLASS SUBCLASS PROTOCOL endpoints…, in hexadecimal; an
    endpoint is its address and type."""
    body = b""
    for number, interface in enumerate(interfaces):
        kind, *endpoints = interface.split()
        body += bytes((9, 4, number, 0, len(endpoints))) + bytes.fromhex(kind) + b"\0"
        body += b"".join(b"\7\5" + bytes.fromhex(endpoint) + b"\x40\0\4" for endpoint in endpoints)
    vendor, product = (int(number, 16).to_bytes(2, "little") for number in ids.split(":"))
    head = (9 + len(body)).to_bytes(2, "little") + bytes((len(interfaces), 1, 0, 0x80, 50))
    return b"\x12\1\0\2\0\0\0\x40" + vendor + product + b"\0\1\0\0\0\1" + b"\x09\2" + head + body


@pytest.mark.parametrize(
    ("ids", "interfaces", "verdict"),
    [
        ("0627:0001", ["030101 8103"], "hide"),
        ("046d:c52b", ["030101 8103", "030102 8203", "030000 8303"], "hide"),
        ("1209:0001", ["030000 8103 0203"], "replug"),
        ("1050:0407", ["030101 8103"], "replug"),
        ("1050:0407", ["0b0000 8202 0202"], "replug"),
        ("46f4:0001", ["080650 8102 0202"], "hide"),
        ("46f4:0001", ["080662 8102 0202"], "replug"),
        ("0403:6001", ["ffffff 8102 0202"], "hide"),
        ("0403:1234", ["ffffff 8102 0202"], "replug"),
        ("10c4:ea60", ["ff0000 8102 0202"], "hide"),
        ("1a86:7523", ["ff0102 8202 0202 8103"], "hide"),
        ("2341:0043", ["020201 8203", "0a0000 0402 8302"], "hide"),
        ("0525:a4a2", ["0202ff 8103", "0a0000 8202 0202"], "replug"),
        ("0525:a4a1", ["020600 8103", "0a0000 8202 0202"], "hide"),
        ("03f0:0001", ["070102 8102 0202"], "replug"),
        ("18d1:4ee1", ["060101 8102 0202 8303"], "replug"),
        ("0483:df11", ["fe0102"], "replug"),
        ("0d8c:0014", ["010100", "010200 0101", "fe0101"], "hide"),
        ("046d:0825", ["0e0100 8303", "0e0200 8101"], "hide"),
        ("0a12:0001", ["e00101 8103"], "replug"),
    ],
    ids=[
        "keyboard", "receiver", "FIDO", "known key that types", "smart card", "disk", "UAS", "FTDI",
        "other device of FTDI's", "CP210x", "CH34x", "CDC-ACM", "RNDIS", "CDC-ECM", "printer", "phone", "DFU",
        "sound card that can be updated", "camera", "Bluetooth",
    ],
)  # fmt: skip
def test_each_class_has_its_verdict(ids: str, interfaces: list[str], verdict: str) -> None:
    assert policy(device(ids, *interfaces), 1, {}).verdict == verdict


def test_a_device_is_as_strict_as_its_strictest_interface() -> None:
    found = policy(device("1209:0001", "030101 8103", "ff0000 8202"), 1, {})
    assert found.verdict is Verdict.REPLUG
    assert found.reasons == ("input device", "class ff, not known to keep nothing inside")


def test_an_operator_may_know_better() -> None:
    assert policy(device("1209:0001", "ff0000 8202"), 1, {}, "hide").verdict is Verdict.HIDE
    assert policy(device("0627:0001", "030101 8103"), 1, {}, "replug").verdict is Verdict.REPLUG


@pytest.mark.parametrize(("raw", "configuration"), [(b"", 1), (device("0627:0001", "030101 8103"), 0)])
def test_of_what_nothing_is_known_nothing_is_hidden(raw: bytes, configuration: int) -> None:
    assert policy(raw, configuration, {}).verdict is Verdict.REPLUG


def test_what_becomes_of_pending_urbs_goes_by_the_endpoints_interface() -> None:
    found = policy(device("46f4:0001", "080650 8102 0202", "030101 8303", "010200 0401"), 1, {})
    assert found.pending == {
        0x81: Pending.FAIL,
        0x02: Pending.FAIL,
        0x83: Pending.RESUBMIT,
        0x04: Pending.LOSE,
    }
    assert found.keys == {0x83}
    assert found.disks == (Disk(0, 0x81, 0x02),)


def test_the_setting_that_is_active_decides() -> None:
    raw = bytearray(device("46f4:0001", "080650 8102 0202", "080662 8302 0402"))
    second = raw.rindex(b"\x09\x04\x01\x00")
    raw[second + 2 : second + 4] = b"\x00\x01"
    assert policy(bytes(raw), 1, {}).verdict is Verdict.HIDE
    assert policy(bytes(raw), 1, {0: 1}).verdict is Verdict.REPLUG
