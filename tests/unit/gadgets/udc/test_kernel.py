"""The kernel's own functions, as kinds of a definition."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import ConfigError, Refused
from gadgets.definition import Definition, Part, parse
from gadgets.definition.kinds import KINDS, class_of
from gadgets.udc.kernel import Ecm, KernelFunction, MassStorage, Midi
from gadgets.udc.run import split

KERNEL = [kind for kind in KINDS if kind.startswith("kernel:")]


@pytest.mark.parametrize("kind", KERNEL)
def test_every_kernel_kind_is_named_by_its_driver_and_needs_endpoints(kind: str) -> None:
    function = class_of(kind)()
    assert isinstance(function, KernelFunction)
    assert kind == f"kernel:{function.driver}"
    assert function.in_endpoints + function.out_endpoints > 0


def test_only_what_is_given_is_written_as_configfs_reads_it() -> None:
    assert Ecm(host_addr="02:00:00:00:00:01").attributes == {"host_addr": "02:00:00:00:00:01"}
    assert MassStorage(file=Path("/disk"), ro=True, stall=False).attributes == {
        "stall": "0",
        "lun.0/ro": "1",
        "lun.0/cdrom": "0",
        "lun.0/removable": "1",
        "lun.0/nofua": "0",
        "lun.0/file": "/disk",
    }
    assert Midi(in_ports=2).attributes == {"in_ports": "2", "out_ports": "1"}


def test_a_camera_gives_at_least_a_frame_a_second() -> None:
    with pytest.raises(ConfigError, match="frames_a_second: found 0, wanted a whole number from 1 to 1000"):
        parse('[[function]]\nkind = "kernel:uvc"\nframes_a_second = 0')


def test_over_usbip_they_are_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"kernel:ncm is a function of the kernel .* run the gadget with --udc"):
        Definition("desk", functions=(Part("keyboard"), Part("kernel:ncm"))).build()


def test_on_a_controller_they_are_split_from_ours() -> None:
    definition = parse('[[function]]\nkind = "kernel:ncm"\nqmult = 5\n[[function]]\nkind = "keyboard"\n')
    gadget, kernel = split(definition)
    assert [function.label for function in gadget.functions] == ["keyboard"]
    assert [(function.driver, function.attributes) for function in kernel] == [("ncm", {"qmult": "5"})]


def test_a_wrong_option_and_an_unknown_driver_are_told_with_their_line() -> None:
    with pytest.raises(ConfigError, match=r"line 3: .*qmulti"):
        parse('[[function]]\nkind = "kernel:ncm"\nqmulti = 5\n')
    with pytest.raises(ConfigError, match=r"line 2: .*kernel:ncm"):
        parse('[[function]]\nkind = "kernel:nmc"\n')
