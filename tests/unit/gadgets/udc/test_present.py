"""`present`: what is refused, what is taken down, who has a gadget and a controller. Without FunctionFS."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import Busy, Refused, UsageError
from gadgets.definition import Definition, Part
from gadgets.udc.run import present, tree_name
from tests.unit.gadgets.udc.kernels import FakeConfigfs, add_controller

UDC = "dummy_udc.0"
NETWORK = Definition("Net.work", serial="0001", functions=(Part("kernel:ncm", {"qmult": 5}),))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeConfigfs:
    add_controller(tmp_path, UDC, "dummy_udc")
    return FakeConfigfs(tmp_path, monkeypatch)


def trees(kernel: FakeConfigfs) -> list[str]:
    return sorted(path.name for path in kernel.gadgets.iterdir())


def test_a_gadget_is_on_the_bus_until_the_context_ends(kernel: FakeConfigfs) -> None:
    with present(NETWORK, root=kernel.root) as presented:
        tree = kernel.tree("twinhub-net-work")
        assert presented.udc == tree["UDC"] == UDC
        assert tree["functions/ncm.0/qmult"] == "5"
        assert tree["strings/0x409/product"] == "Net.work"
    assert trees(kernel) == []


def test_a_gadget_is_presented_once_at_a_time(kernel: FakeConfigfs) -> None:
    with (
        present(NETWORK, root=kernel.root),
        pytest.raises(Busy, match="the gadget net-work is presented by another process already"),
        present(NETWORK, root=kernel.root),
    ):
        raise AssertionError


def test_a_controller_has_one_gadget_at_a_time(kernel: FakeConfigfs) -> None:
    other = Definition("other", functions=NETWORK.functions)
    with (
        present(NETWORK, root=kernel.root),
        pytest.raises(Busy, match=r"dummy_udc.0 has the gadget twinhub-net-work already"),
        present(other, root=kernel.root),
    ):
        raise AssertionError
    assert trees(kernel) == []


def test_what_crashed_processes_left_is_taken_down_and_nothing_else(kernel: FakeConfigfs) -> None:
    for name in ("twinhub-crashed", "twinhub-net-work", "g1"):
        kernel.mkdir(kernel.gadgets / name)
        kernel.mkdir(kernel.gadgets / name / "functions/ncm.0")
    (kernel.gadgets / "twinhub-crashed/UDC").write_text(UDC)
    with present(NETWORK, root=kernel.root):
        assert trees(kernel) == ["g1", "twinhub-net-work"]
    assert trees(kernel) == ["g1"]


def test_what_the_controller_cannot_do_is_refused_before_anything_is_made(kernel: FakeConfigfs) -> None:
    camera = Definition("camera", functions=(Part("kernel:uvc"),))
    with pytest.raises(Refused, match="kernel:uvc is isochronous"), present(camera, root=kernel.root):
        raise AssertionError
    with pytest.raises(UsageError, match="has no functions"), present(Definition("none"), root=kernel.root):
        raise AssertionError
    assert trees(kernel) == []


def test_the_session_of_a_vudc_is_ended_before_its_gadget_goes(kernel: FakeConfigfs) -> None:
    device = kernel.root / "sys/class/udc" / UDC / "device"
    (device / "usbip_status").write_text("1\n")
    (device / "usbip_sockfd").write_text("")
    with present(NETWORK, root=kernel.root):
        pass
    assert (device / "usbip_sockfd").read_text() == ""


@pytest.mark.parametrize(
    ("name", "tree"), [("desk", "desk"), ("Net work_2", "net-work-2"), ("..", "gadget"), ("x" * 31, "x" * 24)]
)
def test_a_name_becomes_one_that_configfs_can_have(name: str, tree: str) -> None:
    assert tree_name(name) == tree
