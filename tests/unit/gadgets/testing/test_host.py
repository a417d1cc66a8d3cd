"""A host in this process: what it asks of a gadget, what it is answered, and what the test sees of it."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest
import usb.core

from appliance.errors import ConfigError, NotFound, Timeout, UsageError
from gadgets.definition import Definition, Part
from gadgets.hid.keyboard import Keyboard, TypeText
from gadgets.hid.report import Leds
from gadgets.testing import InProcess, TransferFailed
from gadgets.testing.making import make
from gadgets.testing.plugin import MakeGadget
from gadgets.usb.device import Configured
from gadgets.usb.urb import Status
from tests.unit.gadgets.host import Bench, Say

HERE = Path(__file__).parent


@pytest.fixture
def bench() -> InProcess:
    return InProcess(make([Bench()], {}, HERE))


def test_a_gadget_is_plugged_in_and_configured(bench: InProcess) -> None:
    assert bench.device.configuration_value == 1
    assert bench.events == [Configured(1)]
    assert [each.request for each in bench.requests] == [(0x00, 0x09)]


def test_transfers_go_both_ways(bench: InProcess) -> None:
    assert bench.host.write(0x01, b"hello") == 5
    bench.send(Say(b"answer"))
    assert bench.host.read(0x81, 64) == b"answer"
    assert bench.host.control(0xC0, 0x5C, length=3) == b"ans"
    assert bench.host.control(0x40, 0x5B, data=b"told") == b""
    assert [each.data for each in bench.requests[1:]] == [b"hello", b"answer", b"ans", b"told"]


def test_a_stall_is_told_by_its_status(bench: InProcess) -> None:
    with pytest.raises(TransferFailed, match=r"c0 77 0000 0000 0001 failed: PIPE") as raised:
        bench.host.control(0xC0, 0x77, length=1)
    assert raised.value.status == Status.PIPE
    assert bench.requests[-1].status == Status.PIPE


def test_what_is_not_answered_in_time_is_taken_back(bench: InProcess) -> None:
    with pytest.raises(Timeout, match="endpoint 81 was not answered within"):
        bench.host.read(0x81, 64, timeout=0.01)
    assert bench.requests[-1].status == Status.CONNRESET
    bench.send(say="text:later")
    assert bench.host.read(0x81, 64) == b"later"


def test_a_reader_in_another_thread_gets_what_the_test_sends(bench: InProcess) -> None:
    heard: list[bytes] = []
    reader = Thread(target=lambda: heard.append(bench.host.read(0x81, 64, timeout=None)))
    reader.start()
    bench.wait_for(lambda: bench.requests[-1].endpoint == 0x81)
    bench.send(Say(b"now"))
    reader.join()
    assert heard == [b"now"]


def test_time_passes_for_the_device_while_its_host_waits(gadget: MakeGadget) -> None:
    keyboard = gadget("keyboard", faults=({"kind": "delay", "seconds": 0.01, "endpoint": 0x81},))
    keyboard.send(type_text="a")
    assert keyboard.host.read(0x81, 8)[2] == 4


def test_inputs_are_records_mappings_or_words(gadget: MakeGadget) -> None:
    keyboard = gadget("keyboard")
    keyboard.send(TypeText("a"))
    keyboard.send({"type_text": "a"})
    keyboard.send(type_text="a", function="keyboard")
    assert [keyboard.host.read(0x81, 8)[2] for _ in range(6)] == [4, 0] * 3
    with pytest.raises(UsageError, match="did you mean 'type_text'"):
        keyboard.send(type_txt="a")


def test_events_are_waited_for(gadget: MakeGadget) -> None:
    keyboard = gadget("keyboard")
    keyboard.host.control(0x21, 0x09, 0x0200, data=b"\x02")
    assert keyboard.wait_for(Leds).caps_lock
    keyboard.forget()
    with pytest.raises(Timeout, match=r"no Leds within .* s; the gadget told nothing"):
        keyboard.wait_for(Leds, timeout=0.01)


def test_a_reset_begins_anew(bench: InProcess) -> None:
    bench.host.reset()
    assert bench.events == [Configured(1), Configured(1)]
    bench.host.detach()
    with pytest.raises(TransferFailed, match="NODEV"):
        bench.host.write(0x01, b"hello")


# What a test may ask for


def test_a_gadget_comes_from_wherever_it_is_said(gadget: MakeGadget, tmp_path: Path) -> None:
    file = tmp_path / "desk.toml"
    file.write_text('[[function]]\nkind = "keyboard"')
    for what in (
        "keyboard",
        str(file),
        file,
        '[[function]]\nkind = "keyboard"',
        Definition("desk", functions=(Part("keyboard"),)),
        Keyboard(),
    ):
        assert [function.label for function in gadget(what).gadget.functions] == ["keyboard"]


def test_what_cannot_be_is_told(gadget: MakeGadget) -> None:
    with pytest.raises(NotFound, match="did you mean 'keyboard'"):
        gadget("keybord")
    with pytest.raises(ConfigError, match="cannot read"):
        gadget("none.toml")
    with pytest.raises(UsageError, match="one definition"):
        gadget("keyboard", "mouse")
    with pytest.raises(UsageError, match="unexpected keyword argument 'sped'"):
        gadget("keyboard", sped="full")


# By pyusb


def test_pyusb_finds_the_gadgets_of_the_test_and_nothing_else(gadget: MakeGadget) -> None:
    gadget("keyboard"), gadget("mouse")
    assert [found.product for found in usb.core.find(find_all=True)] == ["Twinhub Keyboard", "Twinhub Mouse"]


def test_pyusb_sees_all_descriptors(gadget: MakeGadget) -> None:
    found = gadget("gadget-zero").usb
    assert (found.idVendor, found.idProduct, found.speed) == (0x0525, 0xA4A0, 3)
    (configuration,) = found
    kinds = [[endpoint.bmAttributes & 3 for endpoint in setting] for setting in configuration.interfaces()]
    assert [sorted(setting) for setting in kinds] == [[2, 2], [1, 1, 2, 2], [2, 2, 3, 3]]
    assert "Gadget Zero" in found.product
    assert found.get_active_configuration().bConfigurationValue == 1


def test_pyusb_transfers(gadget: MakeGadget) -> None:
    found = gadget("loopback").usb
    found.set_configuration()
    found.set_interface_altsetting(0, 0)
    assert found.write(0x01, b"there and back") == 14
    assert found.read(0x81, 64).tobytes() == b"there and back"
    with pytest.raises(usb.core.USBTimeoutError):
        found.read(0x81, 64, timeout=10)
    with pytest.raises(usb.core.USBError) as raised:
        found.ctrl_transfer(0xC1, 0x33, 0, 0, 4)
    assert (raised.value.errno, raised.value.backend_error_code) == (32, -9)
    found.clear_halt(0x81)
    found.reset()
    assert not found.is_kernel_driver_active(0)


def test_pyusb_transfers_isochronously(gadget: MakeGadget) -> None:
    found = gadget("gadget-zero").usb
    found.set_interface_altsetting(0, 1)
    (setting,) = (s for s in found.get_active_configuration().interfaces() if s.bAlternateSetting == 1)
    into = next(e for e in setting if e.bmAttributes & 3 == 1 and e.bEndpointAddress & 0x80)
    out = next(e for e in setting if e.bmAttributes & 3 == 1 and not e.bEndpointAddress & 0x80)
    assert len(into.read(4 * into.wMaxPacketSize)) == 4 * into.wMaxPacketSize
    assert out.write(bytes(2000)) == 2000
