"""Facts out of a fake sysfs."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.inventory import sysfs
from appliance.inventory.descriptors import DEVICE_SIZE, chosen, configurations, interfaces_of
from appliance.inventory.model import UsbDevice, UsbEndpoint
from appliance.inventory.sysfs import clean, number, read_devices
from gadgets.usb.configuration import AlternateSetting, Configuration, emit
from gadgets.usb.descriptors import Endpoint
from gadgets.usb.urb import Speed, TransferType
from tests.fakesysfs import (
    DISK,
    KEYBOARD,
    SERIAL,
    add_device,
    add_hub,
    add_node,
    remove_device,
    set_attributes,
)


def only(root: Path, busid: str) -> UsbDevice:
    return read_devices(root)[busid]


def test_no_usb_at_all_is_no_device(tmp_path: Path) -> None:
    assert read_devices(tmp_path) == {}


def test_the_attributes_of_a_device_are_read(tmp_path: Path) -> None:
    add_device(
        tmp_path, "1-1.2", idVendor="046d", idProduct="c31c", bcdDevice="6402", speed="1.5",
        manufacturer="Logitech", product="USB Keyboard", serial="S42", removable="removable", version=" 1.10",
    )  # fmt: skip
    device = only(tmp_path, "1-1.2")
    assert (device.ids, device.bcd_device, device.speed) == ("046d:c31c", 0x6402, Speed.LOW)
    assert (device.manufacturer, device.product, device.serial) == ("Logitech", "USB Keyboard", "S42")
    assert (device.configuration_value, device.num_configurations, device.max_power_ma) == (1, 1, 100)
    assert (device.parent_busid, device.port, device.driver, device.removable) == ("1-1", 2, "usb", True)
    assert device.syspath == "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2"
    assert not device.is_hub
    assert not device.is_vhci
    assert device.usbip_status is None


def test_the_tree_comes_in_its_order_with_hubs_and_root_hubs(tmp_path: Path) -> None:
    for busid in ("1-1.10", "1-1.2", "1-2"):
        add_device(tmp_path, busid)
    devices = read_devices(tmp_path)
    assert list(devices) == ["usb1", "1-1", "1-1.2", "1-1.10", "1-2"]
    assert [d.busid for d in devices.values() if d.is_hub] == ["usb1", "1-1"]
    assert devices["usb1"].is_root
    assert devices["usb1"].ports == 4


def test_interfaces_and_endpoints_are_read_with_their_drivers(tmp_path: Path) -> None:
    add_device(tmp_path, "1-1", interfaces=[DISK], speed="480")
    (interface,) = only(tmp_path, "1-1").interfaces
    assert (interface.interface_class, interface.subclass, interface.protocol) == (8, 6, 0x50)
    assert interface.driver == "usb-storage"
    assert interface.endpoints == (
        UsbEndpoint(0x81, TransferType.BULK, 512),
        UsbEndpoint(0x02, TransferType.BULK, 512),
    )


def test_an_interface_is_told_in_its_current_alternate_setting(tmp_path: Path) -> None:
    busy = AlternateSetting(1, 1, 1, 2, endpoints=(Endpoint(0x01, 1, 0xC0),))
    folder = add_device(tmp_path, "1-1", interfaces=[AlternateSetting(1, 0, 1, 2), busy])
    assert only(tmp_path, "1-1").interfaces[0].endpoints == ()
    set_attributes(folder / "1-1:1.1", bAlternateSetting=" 1", interface="Speaker")
    (interface,) = only(tmp_path, "1-1").interfaces
    assert interface.endpoints == (UsbEndpoint(0x01, TransferType.ISOCHRONOUS, 0xC0),)
    assert (interface.alternate, interface.name) == (1, "Speaker")


def test_the_nodes_that_an_interface_brought_are_named(tmp_path: Path) -> None:
    folder = add_device(tmp_path, "1-1", interfaces=[SERIAL]) / "1-1:1.0"
    add_node(folder, "ttyUSB0/tty", "ttyUSB0")
    assert only(tmp_path, "1-1").interfaces[0].nodes == ("ttyUSB0",)


def test_a_partition_of_a_disk_is_a_node_and_its_queue_is_none(tmp_path: Path) -> None:
    folder = add_device(tmp_path, "1-1", interfaces=[DISK]) / "1-1:1.0"
    add_node(folder, "host2/target2:0:0/2:0:0:0/block", "sda")
    add_node(folder, "host2/target2:0:0/2:0:0:0/block/sda", "sda1")
    add_node(folder, "host2/target2:0:0/2:0:0:0/bsg", "bsg/2:0:0:0")
    assert only(tmp_path, "1-1").interfaces[0].nodes == ("sda", "sda1")


def test_a_device_bound_to_usbip_host_is_unconfigured_and_still_known(tmp_path: Path) -> None:
    add_device(tmp_path, "1-1", driver="usbip-host", interfaces=[KEYBOARD], usbip_status="2")
    device = only(tmp_path, "1-1")
    assert (device.driver, device.usbip_status, device.configuration_value) == ("usbip-host", 2, 0)
    assert [i.interface_class for i in device.interfaces] == [3]
    assert device.interfaces[0].driver is None
    assert device.max_power_ma == 100


def test_what_hangs_below_vhci_is_marked(tmp_path: Path) -> None:
    add_device(tmp_path, "3-1", controller="platform/vhci_hcd.0")
    devices = read_devices(tmp_path)
    assert devices["usb3"].is_vhci
    assert devices["3-1"].is_vhci


@pytest.mark.parametrize(
    ("controller", "place"),
    [
        ("pci0000:00/0000:00:14.0", "0000:00:14.0/1.2"),
        ("platform/scb/fd500000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0", "0000:01:00.0/1.2"),
        ("platform/soc/fe980000.usb", "fe980000.usb/1.2"),
        ("platform/axi/1000120000.pcie/1f00200000.usb/xhci-hcd.0", "1f00200000.usb/1.2"),
        ("platform/dummy_hcd.0", "dummy_hcd.0/1.2"),
    ],
)
def test_the_place_is_the_controllers_address_and_the_ports(
    tmp_path: Path, controller: str, place: str
) -> None:
    add_device(tmp_path, "1-1.2", controller=controller)
    assert only(tmp_path, "1-1.2").place == place


def test_the_place_survives_another_numbering_of_the_buses(tmp_path: Path) -> None:
    for boot, busid in (("first", "1-1.2"), ("second", "4-1.2")):
        add_device(tmp_path / boot, busid)
    assert only(tmp_path / "first", "1-1.2").identity == only(tmp_path / "second", "4-1.2").identity


def test_the_superspeed_half_of_a_controller_is_another_place(tmp_path: Path) -> None:
    add_hub(tmp_path, "usb2", speed="5000")
    add_device(tmp_path, "2-1", speed="5000", interfaces=[DISK])
    device = only(tmp_path, "2-1")
    assert device.place == "0000:00:14.0/ss/1"
    assert device.max_power_ma == 400, "units of 8 mA from SuperSpeed on"


def test_names_come_from_the_database_of_the_same_root(tmp_path: Path) -> None:
    ids = tmp_path / "usr/share/hwdata/usb.ids"
    ids.parent.mkdir(parents=True)
    ids.write_text("0627  Adomax\n\t0001  QEMU Tablet\nC 03  Human Interface Device\n")
    add_device(tmp_path, "1-1")
    device = only(tmp_path, "1-1")
    assert (device.vendor_name, device.product_name) == ("Adomax", "QEMU Tablet")
    assert device.class_name == device.interfaces[0].class_name == "Human Interface Device"


def test_a_hostile_string_cannot_reach_a_terminal(tmp_path: Path) -> None:
    add_device(tmp_path, "1-1", product=b"evil\x1b[2J\r\n\x00\xff\xe2\x80\xaename" + b"A" * 4000)
    product = only(tmp_path, "1-1").product
    assert product
    assert product.startswith("evil[2J�nameAAA")
    assert len(product) == sysfs.MAX_STRING


def test_an_empty_string_is_none(tmp_path: Path) -> None:
    add_device(tmp_path, "1-1", serial=" ", manufacturer="")
    assert only(tmp_path, "1-1").serial is None
    assert only(tmp_path, "1-1").manufacturer is None


@pytest.mark.parametrize("gone", ["devnum", "busnum", "speed", "idVendor", "bDeviceClass"])
def test_a_device_that_vanishes_while_it_is_read_is_absent(tmp_path: Path, gone: str) -> None:
    folder = add_device(tmp_path, "1-1")
    (folder / gone).unlink()
    assert "1-1" not in read_devices(tmp_path)


def test_a_link_that_leads_nowhere_any_more_is_no_device(tmp_path: Path) -> None:
    add_hub(tmp_path, "usb1")
    (tmp_path / "sys/bus/usb/devices/1-1").symlink_to("../../../../devices/gone")
    assert list(read_devices(tmp_path)) == ["usb1"]


def test_a_device_that_becomes_another_one_while_it_is_read_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = add_device(tmp_path, "1-1")

    def replug(path: Path) -> None:
        if path.name == folder.name:
            set_attributes(folder, devnum="99")

    monkeypatch.setattr(sysfs, "driver", replug)
    assert "1-1" not in read_devices(tmp_path)


def test_a_speed_that_the_kernel_does_not_know_yet_means_not_there_yet(tmp_path: Path) -> None:
    add_device(tmp_path, "1-1", speed="unknown")
    assert "1-1" not in read_devices(tmp_path)


def test_being_out_of_descriptors_is_not_taken_for_an_unplug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_device(tmp_path, "1-1")

    def full(self: Path, *args: object, **options: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="Too many open files"):
        read_devices(tmp_path)


def test_an_unplugged_hub_takes_along_what_hangs_on_it(tmp_path: Path) -> None:
    add_device(tmp_path, "1-1.2")
    remove_device(tmp_path, "1-1")
    assert list(read_devices(tmp_path)) == ["usb1"]


SERIAL_1 = replace(SERIAL, interface=1)
TWO = (
    bytes(DEVICE_SIZE) + emit(Configuration(1, (KEYBOARD,))) + emit(Configuration(2, (DISK,), max_power=0xFA))
)


@pytest.mark.parametrize(("value", "interface_class"), [(1, 3), (2, 8), (0, 3)])
def test_the_active_configuration_is_the_one_that_counts_else_the_first(
    value: int, interface_class: int
) -> None:
    configuration = chosen(TWO, value)
    assert configuration
    assert interfaces_of(configuration, {})[0].interface_class == interface_class


def test_what_follows_an_impossible_length_is_left_out() -> None:
    botched = bytearray(emit(Configuration(1, (KEYBOARD, SERIAL_1))))
    botched[-14] = 0  # bLength of the first endpoint of the second interface
    (configuration,) = configurations(bytes(DEVICE_SIZE) + botched)
    first, second = interfaces_of(configuration, {})
    assert (len(first.endpoints), len(second.endpoints)) == (1, 0)


@given(st.binary(max_size=200))
def test_any_descriptors_are_read_without_a_crash(tail: bytes) -> None:
    for raw in (tail, TWO[: len(TWO) // 2] + tail, TWO + tail):
        for configuration in configurations(raw):
            interfaces_of(configuration, {0: 1})


@given(st.binary(max_size=300))
def test_any_string_becomes_printable_and_bounded(value: bytes) -> None:
    text = clean(value)
    assert text is None or (text.isprintable() and 0 < len(text) <= sysfs.MAX_STRING)


@given(st.text(max_size=12), st.sampled_from([10, 16]))
def test_any_text_is_a_number_or_zero(text: str, base: int) -> None:
    assert number(text, base) >= 0


@pytest.mark.parametrize(
    ("text", "base", "value"), [("0627", 16, 0x627), ("1_0", 10, 0), ("-1", 10, 0), (None, 10, 0)]
)
def test_a_number_is_digits_only(text: str | None, base: int, value: int) -> None:
    assert number(text, base) == value
