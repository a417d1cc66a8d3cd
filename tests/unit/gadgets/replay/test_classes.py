"""A session of every gadget of the catalogue, recorded and replayed: as it is, and with seeded faults."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from appliance.errors import TwinhubError
from gadgets.definition import Definition, catalogue
from gadgets.replay.player import Report, replay
from gadgets.replay.recorder import Recorder
from gadgets.replay.recording import Given, Recording
from gadgets.usb.configuration import AlternateSetting
from gadgets.usb.device import BusEvent
from gadgets.usb.inputs import read_input
from gadgets.usb.urb import TransferType
from tests.unit.gadgets.host import Host, iso

FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "corrupt", "bits": 2, "chance": 0.3},
    {"kind": "short", "length": 5, "chance": 0.1},
    {"kind": "stall", "chance": 0.05},
    {"kind": "delay", "seconds": 0.01, "chance": 0.2},
    {"kind": "disconnect", "nth": 90},
)

INPUTS: dict[str, tuple[dict[str, Any], ...]] = {
    "keyboard": ({"press": ["leftshift", "a"]}, {"type_text": "Grüße", "layout": "de"}),
    "mouse": ({"move": 300, "dy": -5}, {"click": "left"}, {"scroll": 2}),
    "tablet": ({"move_to": 100, "y": 200}, {"point_at": 0.5, "y": 0.25}),
    "gamepad": ({"press_buttons": ["a"]}, {"stick": 0.5, "y": 1.0}, {"hat": "up"}),
    "media-keys": ({"tap_keys": ["mute"]},),
    "disk": (
        {"spoil_blocks": 2, "last": 2},
        {"write_protect": True},
        {"not_ready": True},
        {"eject": 0, "force": True},
    ),
    "serial": ({"send": "text:hello"}, {"set_lines": True}, {"break": True}),
}


CTAPHID_INIT = bytes.fromhex("ffffffff 86 0008 0011223344556677").ljust(64, b"\0")


def command(tag: int, data: bytes, length: int) -> bytes:
    """A CBW for LUN 0. BOT 5.1."""
    return struct.pack("<4sIIBBB16s", b"USBC", tag, length, 0x80, 0, len(data), data)


def use_disk(host: Host, setting: AlternateSetting) -> None:
    source = next(e.address for e in setting.endpoints if e.address & 0x80)
    sink = next(e.address for e in setting.endpoints if not e.address & 0x80)
    host.control(f"a1 fe 0000 {setting.interface:04x} 0001")
    for tag, (data, length) in enumerate(
        [
            (bytes.fromhex("120000002400"), 36),
            (bytes(6), 0),
            (bytes.fromhex("030000001200"), 18),
            (bytes.fromhex("25000000000000000000"), 8),
            (bytes.fromhex("28000000000000000800"), 4096),
        ]
    ):
        host.submit(sink, data=command(tag, data, length))
        if length:
            host.submit(source, length)
        host.submit(source, 13)


def use_port(host: Host, setting: AlternateSetting) -> None:
    host.control(f"21 20 0000 {setting.interface:04x} 0007", bytes.fromhex("00e10000000008"))
    host.control(f"21 22 0003 {setting.interface:04x} 0000")
    host.control(f"21 23 0064 {setting.interface:04x} 0000")


def use_hid(host: Host, setting: AlternateSetting) -> None:
    host.control(f"81 06 2200 {setting.interface:04x} 0400")
    host.control(f"21 0a 0200 {setting.interface:04x} 0000")
    host.control(f"21 09 0200 {setting.interface:04x} 0001", b"\x02")
    for endpoint in setting.endpoints:
        if not endpoint.address & 0x80:
            host.submit(endpoint.address, data=CTAPHID_INIT)


USES: dict[int, Callable[[Host, AlternateSetting], None]] = {0x03: use_hid, 0x08: use_disk, 0x02: use_port}


class Patient(Host):
    """A host that takes what it gets: no answer, a stall, a refused input."""

    def control(self, request: str, data: bytes = b"") -> bytes | None:
        done = self.control_later(request, data)
        return done[-1].data if done else None

    def try_local(self, given: dict[str, Any]) -> None:
        """Inputs for what this device does not have, or not now, are no matter."""
        with suppress(TwinhubError):
            self.device.local(read_input(self.device.inputs, given))


def use(host: Patient) -> None:
    """Attach, look, configure, do what the class's driver does, move data everywhere, be operated, leave."""
    device = host.device
    device.bus(BusEvent.ATTACH)
    host.control("80 06 0100 0000 0012")
    host.control("80 06 0200 0000 ffff")
    host.control("00 09 0001 0000 0000")
    settings = device.configurations[0].settings
    for setting in settings:
        if setting.interface_class in USES:
            USES[setting.interface_class](host, setting)
    for round_ in range(4):
        for setting in settings:
            if setting.alternate:
                host.control(f"01 0b {setting.alternate:04x} {setting.interface:04x} 0000")
            move(host, setting, round_)
        operate(host, round_)
        device.tick((round_ + 1) * 600_000_000)
        device.tick((round_ + 1) * 600_000_000 + 20_000_000)
        device.unlink(host.number)
    device.take_events()
    device.bus(BusEvent.SUSPEND)
    device.bus(BusEvent.DETACH)


def move(host: Host, setting: AlternateSetting, round_: int) -> None:
    for endpoint in setting.endpoints:
        packets = iso(16, 32) if endpoint.transfer_type is TransferType.ISOCHRONOUS else ()
        if endpoint.address & 0x80:
            host.submit(endpoint.address, 48, packets=packets)
        else:
            host.submit(endpoint.address, data=bytes(range(round_, 48 + round_)), packets=packets)


def operate(host: Patient, round_: int) -> None:
    """The round's inputs of each function that this device has."""
    for inputs in INPUTS.values():
        for given in inputs[round_ : round_ + 1]:
            host.try_local(given)


def recorded(definition: Definition) -> tuple[bytes, Recorder]:
    gadget = definition.build()
    sink = io.BytesIO()
    recorder = Recorder(gadget.device, sink)
    use(Patient(recorder, configured=False))
    recorder.close()
    gadget.close()
    return sink.getvalue(), recorder


def played(data: bytes, definition: Definition) -> Report:
    gadget = definition.build()
    try:
        return replay(Recording(data), gadget.device)
    finally:
        gadget.close()


@pytest.mark.parametrize("name", catalogue())
def test_a_session_replays_byte_identically(name: str) -> None:
    definition = catalogue()[name]
    data, recorder = recorded(definition)
    report = played(data, definition)
    assert report.identical, str(report)
    assert report.complete
    assert report.inputs == recorder.inputs_recorded > 20
    assert report.digest == recorder.digest


@pytest.mark.parametrize("name", catalogue())
def test_a_run_with_faults_is_the_same_again_from_its_seed_and_replays(name: str) -> None:
    definition = replace(catalogue()[name], faults=FAULTS, seed=42)
    data, first = recorded(definition)
    _, second = recorded(definition)
    _, other = recorded(replace(definition, seed=43))
    assert first.digest == second.digest != other.digest
    report = played(data, definition)
    assert report.identical, str(report)


def test_the_sessions_operate_every_function_as_told() -> None:
    """So that none of the inputs above is only ever refused."""
    given = set()
    for definition in catalogue().values():
        data, _ = recorded(definition)
        given |= {
            next(iter(step.entry.plain))
            for step in Recording(data).steps()
            if isinstance(step.entry, Given) and not step.refused
        }
    assert given == {next(iter(input)) for inputs in INPUTS.values() for input in inputs}
