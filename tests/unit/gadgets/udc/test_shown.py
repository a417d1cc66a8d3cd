"""What FunctionFS and configfs are told of a device."""

from __future__ import annotations

from gadgets.hid.keyboard import Keyboard
from gadgets.testdevice.sourcesink import SourceSink
from gadgets.udc.configfs import OsDescriptors
from gadgets.udc.descriptors import shown
from gadgets.udc.tree import tree_of
from gadgets.usb.compose import Identity, compose
from gadgets.usb.descriptor_set import DescriptorSet
from gadgets.usb.urb import Speed

GERMAN, ENGLISH = 0x0407, 0x0409
IDENTITY = Identity(0x1209, 0x0002, "Twinhub", {ENGLISH: "Bench", GERMAN: "Prüfstand"}, "0001", 0x0203)


def bulk() -> SourceSink:
    return SourceSink(isochronous=False, interrupt=False)


def described(speed: Speed = Speed.HIGH, identity: Identity = IDENTITY) -> DescriptorSet:
    return compose(identity, [Keyboard(), bulk()], speed=speed, max_power_ma=300).descriptors


def test_a_high_speed_device_is_also_described_at_full_speed() -> None:
    told = shown(described())
    assert told.super == ()
    assert len(told.full) == len(told.high)
    packets = [
        [int.from_bytes(each[4:6], "little") for each in speed if each[1] == 5]
        for speed in (told.full, told.high)
    ]
    assert packets == [[8, 64, 64], [8, 512, 512]]


def test_other_speeds_are_described_alone() -> None:
    full, fast = shown(described(Speed.FULL)), shown(described(Speed.SUPER))
    assert full.full
    assert (full.high, full.super, fast.full, fast.high) == ((), (), (), ())
    assert [each[1] for each in fast.super][-4:] == [5, 0x30, 5, 0x30], "each endpoint has its companion"


def test_strings_are_numbered_from_one_in_the_order_of_the_device_in_every_language() -> None:
    told = shown(described())
    names = [each[8] for each in told.high if each[1] == 4]
    assert told.strings == {
        ENGLISH: ["Keyboard", told.strings[ENGLISH][1]],
        GERMAN: ["Keyboard", told.strings[GERMAN][1]],
    }
    assert names == [1, 2]


def test_a_device_without_strings_has_none() -> None:
    device = compose(Identity(1, 2), [], speed=Speed.FULL).descriptors
    assert shown(device).strings == {}


def test_the_tree_has_the_devices_identity() -> None:
    tree = tree_of("bench", described(), (), shown(described()))
    assert tree.attributes == {
        "idVendor": "0x1209",
        "idProduct": "0x0002",
        "bcdDevice": "0x0203",
        "bDeviceClass": "0x00",
        "bDeviceSubClass": "0x00",
        "bDeviceProtocol": "0x00",
        "max_speed": "high-speed",
    }
    assert tree.strings == {
        ENGLISH: {"manufacturer": "Twinhub", "product": "Bench", "serialnumber": "0001"},
        GERMAN: {"manufacturer": "Twinhub", "product": "Prüfstand", "serialnumber": "0001"},
    }
    assert tree.configuration == {"bmAttributes": "0x80", "MaxPower": "300"}


def test_power_is_told_in_milliampere_at_every_speed() -> None:
    tree = tree_of("bench", described(Speed.SUPER), (), shown(described()))
    assert tree.configuration["MaxPower"] == "296"


def test_vendor_specific_interfaces_are_announced_to_windows_where_a_guid_is_given() -> None:
    told = shown(described(), "{8b2cf5f1-5f2f-4e0f-a7f8-3c0f1d6c2a94}")
    assert told.winusb == (1,)
    assert tree_of("bench", described(), (), told).os_descriptors == OsDescriptors()
    assert tree_of("bench", described(), (), shown(described())).os_descriptors is None
