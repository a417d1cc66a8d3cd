from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Busy, DeviceFailed, NotFound, NotPermitted, Unavailable, UsageError
from appliance.kernel import vhci
from appliance.kernel.vhci import Port, PortStatus, Remote
from gadgets.usb.urb import Speed
from tests.unit.kernel.fakekernel import HEADER, FakeKernel

FREE_HS = "hs  0000 004 000 00000000 000000 0-0"
USED_HS = "hs  0001 006 003 00010003 000005 3-2"
FREE_SS = "ss  0008 004 000 00000000 000000 0-0"
LATER_HS = "hs  0016 004 000 00000000 000000 0-0"
THERE = Remote("pi.example", "3240", "dongle")


@pytest.fixture
def machine(tmp_path: Path) -> FakeKernel:
    fake = FakeKernel(tmp_path)
    fake.controller(FREE_HS, USED_HS, FREE_SS)
    fake.controller(LATER_HS, number=1)
    return fake


def attributes(kernel: FakeKernel) -> dict[str, str]:
    return {path.rpartition("/")[2]: text for path, text in kernel.written}


def test_a_status_line_says_what_is_on_the_port() -> None:
    [port] = vhci.parse_status(HEADER + USED_HS + "\n")
    assert port == Port(1, superspeed=False, status=PortStatus.USED, speed=3, devid=0x10003, busid="3-2")


def test_a_controller_that_is_not_ready_has_long_zeros() -> None:
    [port] = vhci.parse_status(HEADER + "ss  0008 005 000 00000000 0000000000000000 0-0\n")
    assert port.status is PortStatus.CONNECTING


@pytest.mark.parametrize(
    "line", ["0000 004 000 00000000 000000 0-0", "hs  0000 009 000 00000000 000000 0-0", "", "?"]
)
def test_a_status_of_another_shape_is_an_error_that_quotes_it(line: str) -> None:
    with pytest.raises(DeviceFailed, match="status of vhci_hcd"):
        vhci.parse_status(f"{HEADER}{line}\n")


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        vhci.parse_status(text)
    except DeviceFailed:
        pass


@given(
    st.lists(
        st.builds(
            Port,
            number=st.integers(0, 127),
            superspeed=st.booleans(),
            status=st.sampled_from(PortStatus),
            speed=st.integers(0, 6),
            devid=st.integers(0, (1 << 32) - 1),
            busid=st.sampled_from(["0-0", "3-1", "10-4.2"]),
        )
    )
)
def test_what_the_kernel_prints_is_read_back(ports: list[Port]) -> None:
    lines = (
        f"{('hs', 'ss')[p.superspeed]}  {p.number:04} {p.status:03d} {p.speed:03} {p.devid:08x} 7 {p.busid}"
        for p in ports
    )
    assert vhci.parse_status("\n".join([HEADER.strip(), *lines])) == ports


def test_ports_shows_what_is_attached_and_to_whom(machine: FakeKernel) -> None:
    vhci.remember(machine, 1, THERE)
    [port] = vhci.ports(machine)
    assert (port.number, port.remote) == (1, THERE)


def test_ports_of_every_controller_are_seen(machine: FakeKernel) -> None:
    assert sorted(port.number for port in vhci.all_ports(machine)) == [0, 1, 8, 16]


def test_without_the_module_ports_says_how_to_load_it(kernel: FakeKernel) -> None:
    with pytest.raises(Unavailable, match="modprobe vhci-hcd"):
        vhci.ports(kernel)


@pytest.mark.parametrize(
    ("speed", "written"),
    [
        (Speed.LOW, "0 5 65538 1"),
        (Speed.HIGH, "0 5 65538 3"),
        (Speed.SUPER, "8 5 65538 5"),
        (Speed.SUPER_PLUS, "8 5 65538 5"),
    ],
)
def test_attach_takes_the_first_free_port_of_the_right_kind(
    machine: FakeKernel, speed: Speed, written: str
) -> None:
    port = vhci.attach(machine, fd=5, devid=0x10002, speed=speed, remote=THERE)
    assert attributes(machine) == {"attach": written}
    assert vhci.recall(machine, port) == THERE


def test_attach_tries_the_next_port_when_somebody_was_faster(
    machine: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(self: FakeKernel, path: Path, text: str) -> None:
        if text.startswith("0 "):
            raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(FakeKernel, "write", write)
    assert vhci.attach(machine, fd=5, devid=1, speed=Speed.FULL, remote=THERE) == 16


def test_attach_is_busy_when_no_port_is_free(machine: FakeKernel) -> None:
    machine.controller(USED_HS)
    machine.controller(number=1)
    with pytest.raises(Busy, match="no SuperSpeed port"):
        vhci.attach(machine, fd=5, devid=1, speed=Speed.SUPER, remote=THERE)


def test_attach_without_root_says_so(machine: FakeKernel) -> None:
    machine.failing["vhci_hcd.0/attach"] = errno.EACCES
    with pytest.raises(NotPermitted, match=r"attach dongle of pi\.example"):
        vhci.attach(machine, fd=5, devid=1, speed=Speed.HIGH, remote=THERE)


def test_detach_unplugs_the_port_and_forgets_it(machine: FakeKernel) -> None:
    vhci.remember(machine, 1, THERE)
    vhci.detach(machine, 1)
    assert attributes(machine) == {"detach": "1"}
    assert not machine.port_record(1).parent.exists()


@pytest.mark.parametrize("number", [0, 99, -1])
def test_detaching_a_port_with_nothing_on_it_is_an_error(machine: FakeKernel, number: int) -> None:
    with pytest.raises(NotFound, match="twinhub ports"):
        vhci.detach(machine, number)


def test_records_are_those_of_the_usbip_command(machine: FakeKernel) -> None:
    vhci.remember(machine, 3, THERE)
    assert machine.port_record(3) == machine.root / "var/run/vhci_hcd/port3"
    assert machine.port_record(3).read_text() == "pi.example 3240 dongle\n"


@pytest.mark.parametrize("content", [b"", b"one two\n", b"a b c d\n", b"\xff\xfe \n"])
def test_a_record_that_makes_no_sense_is_no_record(machine: FakeKernel, content: bytes) -> None:
    machine.port_record(3).parent.mkdir(parents=True)
    machine.port_record(3).write_bytes(content)
    assert vhci.recall(machine, 3) is None


def test_a_host_with_a_space_cannot_spoil_a_record(machine: FakeKernel) -> None:
    with pytest.raises(UsageError, match="no spaces"):
        vhci.remember(machine, 3, Remote("a b", "3240", "dongle"))
