from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import UsageError
from appliance.kernel.paths import BUSID, checked_busid
from tests.unit.kernel.fakekernel import FakeKernel


@pytest.mark.parametrize("busid", ["1-1", "2-1.4", "10-12.7.1.2.3.4"])
def test_busids_are_a_bus_and_a_chain_of_ports(busid: str) -> None:
    assert checked_busid(busid) == busid


@pytest.mark.parametrize(
    "busid",
    [
        "",
        "1",
        "usb1",
        "1-",
        "1-0",
        "1-1.",
        "1-1\n",
        "1-1/..",
        "../1-1",
        "1-1:1.0",
        "٣-١",
        "1-1.1.1.1.1.1.1",
        "1-1 2-2",
    ],
)
def test_nothing_else_is_a_busid(busid: str) -> None:
    with pytest.raises(UsageError, match="not a busid"):
        checked_busid(busid)


@given(st.text())
def test_what_passes_for_a_busid_stays_inside_its_folder(text: str) -> None:
    try:
        busid = checked_busid(text)
    except UsageError:
        return
    assert "/" not in busid
    assert ".." not in busid


@given(st.from_regex(BUSID, fullmatch=True))
def test_every_busid_fits_the_wire(busid: str) -> None:
    assert len(checked_busid(busid)) <= 31


def test_a_path_is_never_made_of_what_is_no_busid(kernel: FakeKernel) -> None:
    with pytest.raises(UsageError):
        kernel.device("../../../../etc")


def test_write_never_creates_a_file(kernel: FakeKernel) -> None:
    with pytest.raises(FileNotFoundError):
        kernel.write(kernel.bus("devices/1-1/nothing"), "1")
    assert not kernel.bus("devices/1-1/nothing").exists()
