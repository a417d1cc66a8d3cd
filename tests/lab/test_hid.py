"""Software HID devices on a stock kernel: what is done to them comes out of evdev and hidraw exactly.

One machine serves a gadget of five functions and attaches it itself, by the stock `usbip`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.lab import Lab, Machine
from tests.lab.process import Process
from tests.unit.gadgets.hid.xkb import IS_HERE, keymap

GADGET = """
[gadget]
product = "Everything"

[[function]]
kind = "keyboard"
keys_per_second = 20

[[function]]
kind = "mouse"

[[function]]
kind = "tablet"

[[function]]
kind = "gamepad"

[[function]]
kind = "fido"
replies = [{ request = "07", answer = "00", touch = true }]
"""
KEYBOARD, MOUSE, TABLET, GAMEPAD = range(4)
"""Interface numbers."""

EV_KEY, EV_REL, EV_ABS = 1, 2, 3
ESCAPE = 1
LEFT, RIGHT, MIDDLE = 272, 273, 274
REL_X, REL_Y, REL_HWHEEL, REL_WHEEL = 0, 1, 6, 8
SOUTH, START = 304, 315

READ = """
import os, struct, sys
EVENT = struct.Struct("16xHHi")
file = os.open(sys.argv[1], os.O_RDONLY)
print("reading", flush=True)
while data := os.read(file, 64 * EVENT.size):
    for event in EVENT.iter_unpack(data):
        if event[:2] != (0, 0):
            print(*event)
    sys.stdout.flush()
"""
"""Prints events but the ends of their packets; SYN_DROPPED would be 0 3 0."""
SEND = """
import http.client, socket, sys
for line in sys.stdin:
    daemon = http.client.HTTPConnection("localhost")
    daemon.sock = socket.socket(socket.AF_UNIX)
    daemon.sock.connect("/run/twinhub/twinhub.sock")
    daemon.request("POST", "/api/local", line, {"Content-Type": "application/json"})
    answer = daemon.getresponse()
    if answer.status >= 400:
        sys.exit(answer.read().decode())
"""
"""What `twinhub gadget send` does, for many inputs at once."""
FIDO = """
from fido2.ctap2 import Ctap2
from fido2.hid import CTAPHID, CtapHidDevice
(device,) = CtapHidDevice.list_devices()
print(device.product_name, Ctap2(device).info.versions)
assert device.ping(bytes(range(250)) * 20) == bytes(range(250)) * 20
device.wink()
print(device.call(CTAPHID.CBOR, bytes([7]), on_keepalive=lambda status: print(status.name, flush=True)))
"""

PARAGRAPHS = {
    "us": 'The quick brown fox (age 7) jumps over 3 dogs & says: "Is it {1 + 2 = 3}? Yes, 100% <sure>!"\n'
    "~/bin/$USER@host:`pwd`\\*.py; x = [a|b] ^ 'c' # end_of-line\n",
    "de": 'Zwölf Boxkämpfer jagen Viktor über den großen Sylter Deich; das kostet 5 €, "Ärger" inklusive.\n'
    "Öl & Übermut: {~[a@b]|\\} 3² + 2³ = 17, 100 % à la carte, <ê>!\n",
    "fr": "Voilà l'été : où sont passés les garçons ? Noël à l'île, ça coûte 5 € ; c'est 100 % sûr !\n"
    '~/bin/$user@hôte: "`pwd`" & <x> = {a|b}[#1] ^ 2² * 3_4 + (5 - 6) § 7 £ ° ÿ\n',
}
"""By the layout's name, ours and xkeyboard-config's."""


class Desk:
    """The machine with the gadget attached."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.write_file("/etc/everything.toml", GADGET)
        self.gadget = machine.start("gadget", "exec twinhub gadget run /etc/everything.toml --json")
        self.gadget.wait_for_output('"running"', timeout=120)
        machine.run("modprobe vhci-hcd; modprobe usbhid; usbip attach -r 127.0.0.1 -b everything")
        self._readers = 0

    def send(self, *inputs: dict[str, Any]) -> None:
        lines = [json.dumps({"export": "everything", "input": each}) for each in inputs]
        self.machine.run(["python3", "-I", "-S", "-c", SEND], stdin="\n".join(lines))

    def node(self, interface: int, pattern: str = "input/event*") -> str:
        return self.machine.node(f"{self._busid}:1.{interface}", pattern, timeout=60)

    def read(self, interface: int) -> Process:
        self._readers += 1
        command = ["python3", "-I", "-S", "-c", READ, self.node(interface)]
        reader = self.machine.start(f"reader {self._readers}", command)
        reader.wait_for_output("reading")
        return reader

    def properties(self, node: str) -> str:
        """What udev made of it."""
        self.machine.run("udevadm settle")
        return self.machine.run(["udevadm", "info", "-q", "property", node]).stdout

    @property
    def _busid(self) -> str:
        found = self.machine.wait_until("ls -d /sys/devices/platform/vhci_hcd.0/usb*/*-1")
        return found.stdout.strip().rpartition("/")[2]


def events_until(reader: Process, last: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """All that were read until the `last` came; then the reader is ended."""
    reader.wait_for_output("\n" + " ".join(map(str, last)) + "\n")
    reader.kill()
    lines = reader.output.splitlines()[1:]
    events = []
    for line in lines:
        kind, code, value = map(int, line.split())
        events.append((kind, code, value))
    return events


def of_kind(events: Sequence[tuple[int, int, int]], kind: int) -> list[tuple[int, int]]:
    return [(code, value) for found, code, value in events if found == kind]


def moved(events: Sequence[tuple[int, int, int]], axis: int) -> int:
    return sum(value for code, value in of_kind(events, EV_REL) if code == axis)


@pytest.fixture(scope="module")
def desk(lab: Lab) -> Iterator[Desk]:
    with lab.machines("desk") as (machine,):
        yield Desk(machine)


@pytest.mark.parametrize("layout", PARAGRAPHS)
def test_a_paragraph_that_was_typed_is_read_back_exactly(desk: Desk, layout: str) -> None:
    if not IS_HERE:
        reason = "no libxkbcommon or no xkb-data to read keys by: run `python -m tests.lab.setup` as root"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    text = PARAGRAPHS[layout]
    reader = desk.read(KEYBOARD)
    desk.send({"type_text": text, "layout": layout}, {"press": ["esc"]}, {"release": True})
    keys = of_kind(events_until(reader, (EV_KEY, ESCAPE, 0)), EV_KEY)
    with keymap(layout) as judge:
        assert judge.text(key for key in keys if key[0] != ESCAPE) == text


def test_the_caps_lock_light_comes_back(desk: Desk) -> None:
    for lit in ("true", "false"):
        desk.send({"press": ["capslock"]}, {"release": True})
        desk.gadget.wait_for_output(f'"caps_lock": {lit}')


def test_the_mouse_moves_clicks_and_scrolls(desk: Desk) -> None:
    reader = desk.read(MOUSE)
    desk.send(
        {"move": 300, "dy": -40, "function": "mouse"},
        {"click": "left", "function": "mouse"},
        {"press_buttons": ["right"], "function": "mouse"},
        {"move": -1, "function": "mouse"},
        {"release_buttons": True, "function": "mouse"},
        {"scroll": 3, "right": -2, "function": "mouse"},
        {"click": "middle", "function": "mouse"},
    )
    events = events_until(reader, (EV_KEY, MIDDLE, 0))
    assert [moved(events, axis) for axis in (REL_X, REL_Y, REL_WHEEL, REL_HWHEEL)] == [299, -40, 3, -2]
    clicked = [(LEFT, 1), (LEFT, 0), (RIGHT, 1), (RIGHT, 0), (MIDDLE, 1), (MIDDLE, 0)]
    assert of_kind(events, EV_KEY) == clicked


def test_the_tablet_is_where_it_was_pointed(desk: Desk) -> None:
    assert "ID_INPUT_MOUSE=1" in desk.properties(desk.node(TABLET))
    reader = desk.read(TABLET)
    desk.send(
        {"move_to": 100, "y": 32767, "function": "tablet"},
        {"point_at": 0.5, "y": 0.25, "function": "tablet"},
        {"click": "right", "function": "tablet"},
    )
    events = events_until(reader, (EV_KEY, RIGHT, 0))
    assert of_kind(events, EV_ABS) == [(0, 100), (1, 32767), (0, 16384), (1, 8192)]
    assert of_kind(events, EV_KEY) == [(RIGHT, 1), (RIGHT, 0)]


def test_the_gamepad_is_one_and_all_its_controls_arrive(desk: Desk) -> None:
    assert "ID_INPUT_JOYSTICK=1" in desk.properties(desk.node(GAMEPAD))
    assert desk.node(GAMEPAD, "input/js*")
    reader = desk.read(GAMEPAD)
    desk.send(
        {"stick": -1, "y": 0.5, "function": "gamepad"},
        {"stick": 1, "y": -1, "side": "right", "function": "gamepad"},
        {"trigger": 1, "function": "gamepad"},
        {"trigger": 0.5, "side": "right", "function": "gamepad"},
        {"hat": "up-left", "function": "gamepad"},
        {"hat": "centre", "function": "gamepad"},
        {"click": "a", "function": "gamepad"},
        {"click": "start", "function": "gamepad"},
    )
    events = events_until(reader, (EV_KEY, START, 0))
    x, y, z, rx, ry, rz, hat_x, hat_y = 0, 1, 2, 3, 4, 5, 16, 17
    assert of_kind(events, EV_ABS) == [
        *((x, -32767), (y, 16384), (rx, 32767), (ry, -32767), (z, 255), (rz, 128)),
        *((hat_x, -1), (hat_y, -1), (hat_x, 0), (hat_y, 0)),
    ]
    assert of_kind(events, EV_KEY) == [(SOUTH, 1), (SOUTH, 0), (START, 1), (START, 0)]


def test_yubicos_library_finds_and_uses_the_authenticator(desk: Desk) -> None:
    client = desk.machine.start("fido2", ["python", "-c", FIDO])
    client.wait_for_output("UPNEEDED", timeout=120)
    desk.send({"touch": True})
    assert client.wait() == 0
    assert "Everything ['U2F_V2', 'FIDO_2_0']" in client.output
    assert client.output.endswith("b'\\x00'\n")
    desk.gadget.wait_for_output('"wink"')
