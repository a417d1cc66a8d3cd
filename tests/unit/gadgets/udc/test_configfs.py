"""Gadget trees in configfs: built, bound, taken down, whatever state they were left in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import NotFound, UsageError
from gadgets.udc.configfs import Configfs, OsDescriptors, Tree
from gadgets.udc.kernel import MassStorage, Ncm, Uvc
from tests.unit.gadgets.udc.kernels import FakeConfigfs

TREE = Tree(
    "desk",
    {"idVendor": "0x1209", "max_speed": "high-speed"},
    {0x409: {"manufacturer": "Twinhub", "product": "Desk"}, 0x407: {"product": "Tisch"}},
    {"MaxPower": "100"},
    (Ncm(ifname="usb%d"), MassStorage(file=Path("/srv/disk.img"), stall=False)),
    os_descriptors=OsDescriptors(),
)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeConfigfs:
    return FakeConfigfs(tmp_path, monkeypatch)


@pytest.fixture
def configfs(kernel: FakeConfigfs) -> Configfs:
    return Configfs(kernel.root, kernel)


def test_a_tree_has_ids_strings_configuration_and_functions_ours_first(
    kernel: FakeConfigfs, configfs: Configfs
) -> None:
    where = configfs.build(TREE)
    assert kernel.mounted == {where: "twinhub-desk"}
    assert kernel.tree("twinhub-desk") == {
        "UDC": "",
        "idVendor": "0x1209",
        "max_speed": "high-speed",
        "strings/0x409/manufacturer": "Twinhub",
        "strings/0x409/product": "Desk",
        "strings/0x407/product": "Tisch",
        "configs/c.1/MaxPower": "100",
        "configs/c.1/ffs.twinhub-desk": "-> functions/ffs.twinhub-desk",
        "configs/c.1/ncm.0": "-> functions/ncm.0",
        "configs/c.1/mass_storage.1": "-> functions/mass_storage.1",
        "functions/ncm.0/ifname": "usb%d",
        "functions/mass_storage.1/stall": "0",
        "functions/mass_storage.1/lun.0/ro": "0",
        "functions/mass_storage.1/lun.0/cdrom": "0",
        "functions/mass_storage.1/lun.0/removable": "1",
        "functions/mass_storage.1/lun.0/nofua": "0",
        "functions/mass_storage.1/lun.0/file": "/srv/disk.img",
        "os_desc/use": "1",
        "os_desc/b_vendor_code": "0xcd",
        "os_desc/qw_sign": "MSFT100",
        "os_desc/c.1": "-> configs/c.1",
    }


def test_taking_down_leaves_nothing_and_may_be_done_twice(kernel: FakeConfigfs, configfs: Configfs) -> None:
    configfs.build(TREE)
    configfs.bind("desk", "dummy_udc.0")
    for _ in range(2):
        configfs.take_down("desk")
        assert list(kernel.gadgets.iterdir()) == []
        assert kernel.mounted == {}


def test_a_tree_of_the_same_name_is_taken_down_before_the_new_one(
    kernel: FakeConfigfs, configfs: Configfs
) -> None:
    configfs.build(TREE)
    configfs.bind("desk", "dummy_udc.0")
    configfs.build(replace(TREE, strings={}, kernel=(), os_descriptors=None))
    assert "functions/ncm.0/ifname" not in kernel.tree("twinhub-desk")
    assert configfs.holder("dummy_udc.0") is None


def test_trees_of_others_are_not_ours(kernel: FakeConfigfs, configfs: Configfs) -> None:
    kernel.mkdir(kernel.gadgets / "g1")
    (kernel.gadgets / "g1/UDC").write_text("fe980000.usb\n")
    configfs.build(TREE)
    assert configfs.ours() == ["desk"]
    assert configfs.holder("fe980000.usb") == "g1"


def test_what_cannot_be_made_leaves_nothing_and_is_named(kernel: FakeConfigfs, configfs: Configfs) -> None:
    kernel.refuse = {"mass_storage.1"}
    with pytest.raises(NotFound, match="cannot make the kernel's function mass_storage"):
        configfs.build(TREE)
    assert list(kernel.gadgets.iterdir()) == []
    assert kernel.mounted == {}


def test_a_name_that_configfs_could_not_have_is_refused(configfs: Configfs) -> None:
    for name in ("", "a/b", "..", "x" * 25, "Ä"):
        with pytest.raises(UsageError, match="no name for a gadget"):
            configfs.build(replace(TREE, name=name))


def test_a_device_comes_back_under_another_serial_number(kernel: FakeConfigfs, configfs: Configfs) -> None:
    configfs.build(TREE)
    configfs.bind("desk", "dummy_udc.0")
    configfs.unbind("desk")
    configfs.rename_serial("desk", "0002")
    configfs.bind("desk", "dummy_udc.0")
    tree = kernel.tree("twinhub-desk")
    assert tree["strings/0x409/serialnumber"] == tree["strings/0x407/serialnumber"] == "0002"
    assert configfs.holder("dummy_udc.0") == "twinhub-desk"


def test_a_camera_has_its_headers_linked(kernel: FakeConfigfs, configfs: Configfs) -> None:
    configfs.build(replace(TREE, kernel=(Uvc(width=320, height=240, frames_a_second=10),)))
    tree = kernel.tree("twinhub-desk")
    assert tree["functions/uvc.0/streaming/uncompressed/u/f/dwFrameInterval"] == "1000000"
    assert tree["functions/uvc.0/streaming/class/hs/h"] == "-> functions/uvc.0/streaming/header/h"
    configfs.take_down("desk")
    assert list(kernel.gadgets.iterdir()) == []
