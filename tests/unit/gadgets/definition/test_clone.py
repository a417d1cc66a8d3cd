"""A captured descriptor set becomes a definition, which gives the same descriptors, byte for byte."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import NotFound, UsageError
from gadgets.definition import Definition, Gadget, Part, Pinned, catalogue, parse
from gadgets.definition.clone import Captured, clone
from gadgets.definition.sysfs import read_captured
from gadgets.definition.writing import to_toml
from gadgets.usb.device import GadgetDevice
from gadgets.usb.raw import GotData, GotRequest
from gadgets.usb.shape import DescriptorType
from gadgets.usb.strings import parse_languages, parse_string
from gadgets.usb.urb import Speed
from tests.unit.gadgets.definition.captures import CAPTURES
from tests.unit.gadgets.host import Host

Table = dict[tuple[int, int, int], bytes]
QUALIFIERS = (DescriptorType.DEVICE_QUALIFIER, DescriptorType.OTHER_SPEED_CONFIGURATION)


def table_of(definition: Definition) -> Table:
    """Without what is only said at high speed of another, which no capture has."""
    with definition.build() as gadget:
        return {k: data for k, data in gadget.bare.descriptors.table.items() if k[0] not in QUALIFIERS}


def captured_from(definition: Definition) -> Captured:
    with definition.build() as gadget:
        return capture_of(gadget.bare)


def capture_of(device: GadgetDevice) -> Captured:
    """As a host reads it."""
    table = device.descriptors.table
    strings: dict[int, dict[int, str]] = {}
    for language in parse_languages(table.get((3, 0, 0), b"\2\3")):
        for (kind, index, code), data in table.items():
            if kind == DescriptorType.STRING and index and code == language:
                strings.setdefault(index, {})[language] = parse_string(data)
    whole = [table[1, 0, 0], *(data for (kind, _, _), data in table.items() if kind == 2)]
    reports = {
        setting.interface: getattr(owner, "report_descriptor", b"")
        for owner in device.functions
        for setting in device.configurations[0].settings
        if setting.interface_class == 3 and device._owners[1][setting.interface] is owner
    }
    return Captured(b"".join(whole), device.speed, strings, table.get((15, 0, 0), b""), reports)


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_gadget_of_the_catalogue_can_be_cloned_by_another(name: str) -> None:
    original = catalogue()[name]
    text = to_toml(clone(captured_from(original), name))
    assert table_of(parse(text)) == table_of(original)


@pytest.mark.parametrize("name", ["keyboard", "mouse", "tablet", "gamepad", "desk", "fido-key"])
def test_what_we_know_is_written_by_its_kind_alone(name: str) -> None:
    original = catalogue()[name]
    copy = clone(captured_from(original), name)
    assert copy.pinned is None
    assert [part.kind for part in copy.functions] == [part.kind for part in original.functions]


@pytest.mark.parametrize("captured", CAPTURES.values(), ids=CAPTURES)
def test_a_real_device_comes_back_byte_for_byte(captured: Captured) -> None:
    definition = parse(to_toml(clone(captured)))
    table = table_of(definition)
    whole = [data for (kind, _, _), data in table.items() if kind in (1, 2)]
    assert b"".join(whole) == captured.descriptors
    with definition.build() as gadget:
        for index, text in captured.strings.items():
            assert gadget.device.string(index) == text
        Host(gadget.device)


def test_a_security_key_is_known_by_its_report_descriptor() -> None:
    (part,) = clone(CAPTURES["a security key"]).functions
    assert part == Part("fido", interfaces=(0,))


def test_any_other_hid_device_has_its_own_report_descriptor() -> None:
    vendor = bytes.fromhex("06 00ff 0901 a101 0920 1500 26ff00 7508 9540 8102 0921 9540 9102 c0")
    captured = replace(CAPTURES["a security key"], report_descriptors={0: vendor})
    (part,) = clone(captured).functions
    assert part == Part("hid", {"descriptor": vendor.hex(), "out_endpoint": True}, interfaces=(0,))
    host = Host(clone(captured).build().device)
    assert host.control("81 06 2200 0000 00ff") == vendor


DISK = bytes.fromhex(
    "1201000200000040810767550001010203010902200001010080fa 090400000208065000 07058402000200 07050302000200"
)


def test_a_disk_is_a_disk_behind_the_endpoints_it_had() -> None:
    definition = clone(Captured(DISK, Speed.HIGH))
    assert [part.kind for part in definition.functions] == ["disk"]
    with definition.build() as gadget:
        host = Host(gadget.device)
        assert host.control("a1 fe 0000 0000 0001") == b"\0"
        inquiry = b"USBC" + bytes.fromhex("01000000 24000000 80 00 06 120000002400") + bytes(10)
        assert host.submit(0x03, data=inquiry)[-1].status == 0
        assert host.submit(0x84, 36)[-1].actual_length == 36


def test_a_device_that_says_it_draws_too_much_is_cloned_as_it_is() -> None:
    captured = CAPTURES["QEMU's keyboard"]
    thirsty = replace(captured, descriptors=captured.descriptors[:26] + b"\xff" + captured.descriptors[27:])
    assert clone(thirsty).build().device.configurations[0].max_power == 0xFF


def raw_gadget(**options: object) -> Gadget:
    pinned = Pinned(DISK[:18], (DISK[18:],))
    part = Part("raw", options, interfaces=(0,))
    return Definition("x", functions=(part,), pinned=pinned).build()


def test_what_we_do_not_know_answers_what_it_was_given_answers_for() -> None:
    gadget = raw_gadget(replies=[{"request_type": 0xA1, "request": 0xFE, "data": "03"}])
    host = Host(gadget.device)
    gadget.device.take_events()
    assert host.control("a1 fe 0000 0000 0001") == b"\3"
    assert host.control("a1 fd 0000 0000 0001") is None
    told = [each.event for each in gadget.device.take_events() if isinstance(each.event, GotRequest)]
    assert [event.answered for event in told] == [True, False]


def test_what_we_do_not_know_takes_data_and_sends_what_it_is_told_to() -> None:
    gadget = raw_gadget()
    host = Host(gadget.device)
    gadget.device.take_events()
    assert host.submit(0x03, data=b"hello")[-1].actual_length == 5
    assert [each.event for each in gadget.device.take_events()] == [GotData(3, b"hello", 5)]
    assert host.submit(0x84, 64) == []
    (completion,) = gadget.device.local(gadget.input({"send_data": "text:answer", "endpoint": 0x84}))
    assert completion.data == b"answer"
    with pytest.raises(UsageError, match="goes the other way"):
        gadget.device.local(gadget.input({"send_data": "00", "endpoint": 3}))


def test_interfaces_without_a_function_are_taken_and_left_waiting() -> None:
    gadget = Definition("x", pinned=Pinned(DISK[:18], (DISK[18:],))).build()
    host = Host(gadget.device)
    assert host.submit(0x03, data=b"hello")[-1].status == 0
    assert host.submit(0x84, 64) == []


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((Part("raw", interfaces=(7,)),), "no 7 is pinned"),
        ((Part("raw", interfaces=(0,)), Part("raw", interfaces=(0,))), "0 has a function already"),
        ((Part("keyboard", interfaces=(0,)),), "one more interrupt endpoint IN than is pinned"),
        ((Part("raw", interfaces=(0,)), Part("loopback")), "one more bulk endpoint IN"),
    ],
)
def test_a_function_that_does_not_fit_is_told(parts: tuple[Part, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Definition("x", functions=parts, pinned=Pinned(DISK[:18], (DISK[18:],))).build()


@pytest.mark.parametrize("cut", [0, 17, 18, 26, len(DISK) - 1])
def test_half_a_capture_is_refused(cut: int) -> None:
    with pytest.raises(UsageError, match="cannot clone"):
        clone(Captured(DISK[:cut], Speed.HIGH))


@given(
    st.sampled_from(sorted(CAPTURES)),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4),
)
def test_any_capture_is_cloned_or_refused(name: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(CAPTURES[name].descriptors)
    for at, value in changes:
        data[at % len(data)] = value
    with suppress(UsageError):
        definition = parse(to_toml(clone(replace(CAPTURES[name], descriptors=bytes(data)))))
        assert definition.pinned is None or definition.pinned.device + b"".join(
            definition.pinned.configurations
        ) == bytes(data)


def test_sysfs_has_all_that_a_clone_needs(tmp_path: Path) -> None:
    folder = tmp_path / "1-1"
    key = CAPTURES["a security key"]
    for name, data in {
        "descriptors": key.descriptors,
        "speed": b"12\n",
        "bConfigurationValue": b"1\n",
        "manufacturer": b"Yubico\n",
        "product": b"Security Key by Yubico\n",
        "1-1:1.0/0003:1050:0120.0001/report_descriptor": key.report_descriptors[0],
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    assert read_captured(folder) == key
    with pytest.raises(NotFound, match="no USB device"):
        read_captured(tmp_path)
