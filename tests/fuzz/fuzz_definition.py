"""What a stranger's device may describe, what a stranger's file may define, what may be sent to a gadget."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

from appliance.errors import ConfigError, ProtocolError, UsageError
from gadgets.definition import Definition, catalogue, parse
from gadgets.definition.catalogue import FOLDER
from gadgets.definition.clone import Captured, clone
from gadgets.definition.writing import to_toml
from gadgets.usb.capabilities import emit_bos, parse_bos, platform
from gadgets.usb.class_descriptors import CDC_UNION, HID
from gadgets.usb.descriptors import ASSOCIATION, COMPANION, DEVICE, ENDPOINT, INTERFACE, QUALIFIER
from gadgets.usb.microsoft import MS_OS_20, emit_set, parse_set, winusb_set
from gadgets.usb.records import from_plain, to_plain
from gadgets.usb.shape import Shape
from gadgets.usb.strings import emit_string, parse_languages, parse_string
from gadgets.usb.urb import Speed
from gadgets.usb.webusb import emit_url, parse_url
from tests.fuzz.harness import parser
from tests.fuzz.mutation import JSON_WORDS, invent
from tests.unit.gadgets.definition.captures import CAPTURES
from tests.unit.gadgets.host import bench

GUID = "{975f44d9-0d08-43fd-8b3e-127ca8afff9d}"
SETTINGS = bench()[0].configurations[0].settings
SHAPES = {
    shape.kind: shape
    for shape in (DEVICE, QUALIFIER, INTERFACE, ASSOCIATION, ENDPOINT, COMPANION, HID, CDC_UNION)
}
SETS = (
    emit_set(winusb_set(SETTINGS, GUID)),
    emit_set(winusb_set((*SETTINGS, replace(SETTINGS[0], interface=1)), GUID)),
)
BOSES = (
    emit_bos([platform(MS_OS_20, bytes(8))]),
    bytes.fromhex("050f160002 0710020200 0000 0a10030 00e0001 0aff07".replace(" ", "")),
)
SMALL = (
    *(CAPTURES["QEMU's sound card"].descriptors[at : at + 18] for at in (0, 18, 27, 36)),
    bytes.fromhex("12010002000000402706010000000104 0b01"),
    emit_string("Grüße"),
    emit_url("https://example.com/"),
)


def read_small(random: Random, data: bytes) -> None:
    """Each kind of descriptor; what can be read comes back as it was."""
    shape: Shape[object] | None = SHAPES.get(data[1]) if len(data) > 1 else None
    if shape:
        assert shape.emit(shape.parse(data)) == data
    elif data[1:2] == b"\x03":
        parse_string(data), parse_languages(data)
        assert parse_url(emit_url(parse_url(data))) == parse_url(data)
    else:
        assert parse_bos(emit_bos(parse_bos(data))) == parse_bos(data)


def read_set(random: Random, data: bytes) -> None:
    assert parse_set(emit_set(parse_set(data))) == parse_set(data)


def invent_capture(random: Random) -> Captured:
    captured = random.choice(tuple(CAPTURES.values()))
    return replace(
        captured,
        descriptors=invent(random, (captured.descriptors,)),
        speed=random.choice(tuple(Speed)) if random.random() < 0.1 else captured.speed,
        bos=invent(random, BOSES) if random.random() < 0.1 else b"",
        report_descriptors={
            number: invent(random, (report,)) if random.random() < 0.3 else report
            for number, report in captured.report_descriptors.items()
        },
    )


def copy(random: Random, captured: Captured) -> None:
    """The clone's text gives the captured descriptors, and a device that can be built or is refused."""
    definition = clone(captured)
    again = parse(to_toml(definition), "clone.toml")
    assert replace(again, folder=definition.folder) == definition
    with again.build() as gadget:
        table = gadget.bare.descriptors.table
        whole = [table[1, 0, 0], *(data for (kind, _, _), data in table.items() if kind == 2)]
        assert b"".join(whole) == captured.descriptors


TEXTS = tuple(path.read_bytes() for path in FOLDER.glob("*.toml"))
TOML_WORDS = (
    b'"', b"'''", b"[[function]]\n", b"[[fault]]\n", b"[pinned]\n", b"kind = ", b'"stall"', b'"disk"',
    b"= 1e999", b"= -1", b"= 0x" + b"f" * 400, b"= 1979-05-27", b"[" * 500, b"\xff", b"nan", b"true",
    b"{}", b"medium = ",
)  # fmt: skip


def read_toml(random: Random, data: bytes) -> None:
    parse(data.decode(errors="replace"), "fuzz.toml")


JSONS = tuple(json.dumps(to_plain(definition)).encode() for definition in catalogue().values())


def read_json(random: Random, data: bytes) -> None:
    try:
        given = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError("no JSON") from error
    found = from_plain(Definition, given)
    assert from_plain(Definition, to_plain(found)) == found


KEYBOARD = catalogue()["desk"].build()
INPUTS = tuple(
    json.dumps(given).encode()
    for given in (
        {"type_text": "hello", "layout": "de"}, {"press": ["a"], "function": "keyboard"},
        {"move": 3, "dy": -2}, {"click": "left"}, {"release": True},
        {"add_fault": {"stall": "x", "endpoint": 129, "chance": 0.5}},
    )
)  # fmt: skip


def read_input(random: Random, data: bytes) -> None:
    try:
        given = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError("no JSON") from error
    KEYBOARD.input(given)


REFUSED = (ProtocolError, UsageError)
TARGETS = (
    parser("descriptors", lambda r: invent(r, (*SMALL, *BOSES)), read_small, REFUSED),
    parser("ms-os-2.0", lambda r: invent(r, SETS), read_set, REFUSED),
    parser("clone", invent_capture, copy, REFUSED, share=5),
    parser("definition-toml", lambda r: invent(r, TEXTS, TOML_WORDS), read_toml, (ConfigError,), share=5),
    parser("definition-json", lambda r: invent(r, JSONS, JSON_WORDS), read_json, REFUSED),
    parser("inputs", lambda r: invent(r, INPUTS, JSON_WORDS), read_input, REFUSED),
)
