"""A gadget is a TOML file; what is wrong in it is told with file, line and key."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ConfigError, NotFound, TwinhubError, UsageError
from gadgets.definition import Definition, Part, catalogue, load, parse
from gadgets.definition.catalogue import FOLDER, ready
from gadgets.hid.keyboard import TypeText
from gadgets.storage.lun import Insert
from gadgets.usb.device import To
from gadgets.usb.records import from_plain, to_plain
from gadgets.usb.urb import Speed
from tests.unit.gadgets.host import Host

DESK = """
[gadget]
name = "my-desk"
vendor_id = 0x1209
product = { "0x0409" = "Desk", "0x0407" = "Schreibtisch" }
speed = "full"
seed = 7

[[function]]
kind = "keyboard"
layout = "de"

[[function]]
kind = "keyboard"
label = "numpad"

[[fault]]
kind = "stall"
endpoint = 0x81
nth = 3
"""


def test_a_file_says_who_a_gadget_is_and_what_it_consists_of() -> None:
    assert parse(DESK, "/etc/desk.toml") == Definition(
        "my-desk",
        product={0x0409: "Desk", 0x0407: "Schreibtisch"},
        speed=Speed.FULL,
        seed=7,
        functions=(Part("keyboard", {"layout": "de"}), Part("keyboard", label="numpad")),
        faults=({"kind": "stall", "endpoint": 0x81, "nth": 3},),
        folder=Path("/etc"),
    )


def test_it_is_built_into_a_device() -> None:
    gadget = parse(DESK).build()
    assert [function.label for function in gadget.functions] == ["keyboard", "numpad"]
    host = Host(gadget.device)
    told = host.control("80 06 0302 0407 00ff")
    assert told is not None
    assert told[2:].decode("utf-16-le") == "Schreibtisch"


def test_it_can_be_built_again_and_again() -> None:
    definition = parse(DESK)
    one, other = definition.build(), definition.build()
    assert one.device is not other.device
    assert one.device.snapshot() == other.device.snapshot()


def test_a_definition_travels_as_json() -> None:
    definition = parse(DESK)
    assert from_plain(Definition, json.loads(json.dumps(to_plain(definition)))) == definition


def test_a_gadget_is_named_like_its_file_unless_it_says_otherwise() -> None:
    assert parse('[[function]]\nkind = "keyboard"', "/x/front-desk.toml").name == "front-desk"


def test_inputs_are_plain_values_too() -> None:
    gadget = parse(DESK).build()
    assert gadget.input({"type_text": "ä"}) == TypeText("ä")
    assert gadget.input({"type_text": "1", "function": "numpad"}) == To("numpad", TypeText("1"))
    with pytest.raises(UsageError, match="type_txt: unknown; did you mean 'type_text'"):
        gadget.input({"type_txt": "x"})


def test_help_lists_the_inputs_and_who_takes_them() -> None:
    told = {each.name: each for each in parse(DESK).build().inputs()}
    assert told["type_text"].functions == ("keyboard", "numpad")
    assert [field.name for field in told["type_text"].fields] == ["text", "layout"]
    assert told["type_text"].help.startswith("type this")
    assert told["add_fault"].functions == ()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("[gadget", "x.toml: not TOML"),
        ("[gadgets]\n", "line 1: gadgets is no section; did you mean 'gadget'?"),
        ("\n[function]\nkind = 1", "line 2: [[function]] found"),
        ('[gadget]\nname = "x"\nsped = "full"', "line 3: [gadget] sped: unknown key; did you mean 'speed'?"),
        ("[gadget]\nfolder = '/'", "line 2: [gadget] folder: unknown key"),
        ('[gadget]\nspeed = "fast"', 'line 2: [gadget] speed: found "fast", wanted one of "low", "full"'),
        ("[gadget]\nvendor_id = 65536", "[gadget] vendor_id: found 65536, wanted a whole number from 0"),
        ("[gadget]\nmax_power_ma = 501", "[gadget] max_power_ma: below super speed, 500 is the most"),
        ('[gadget]\nname = "a b"', "line 1: [gadget] a gadget cannot be named 'a b'"),
        ('[[function]]\nlabel = "x"', "line 1: [[function]] kind: is missing"),
        ('[[function]]\nkind = "mose"', "kind: found \"mose\": no such kind; did you mean 'mouse'?"),
        (
            '[[function]]\nkind = "mouse"\n\n[[function]]\nkind = "keyboard"\nlayuot = "de"',
            "line 6: [[function]] layuot: unknown key; did you mean 'layout'?",
        ),
        (
            '[[function]]\nkind = "raw"\nreplies = [\n  { request_type = 0xc0 },\n]',
            "line 3: [[function]] replies.request: is missing",
        ),
        ('[[fault]]\nkind = "stal"', "line 2: [[fault]] kind: found \"stal\"; did you mean 'stall'?"),
        ('[[fault]]\nkind = "stall"\nnht = 3', "line 3: [[fault]] nht: unknown key; did you mean 'nth'?"),
        ('[[fault]]\nkind = "give"\ninput = { eject = 1979-05-27 }', "line 3: [[fault]] input: found"),
        ('[[fault]]\nkind = "stall"\nchance = 3', "line 1: [[fault]] chance is 3"),
        ('[[function]]\nkind = "no.such:X"', "line 2: [[function]] kind: found \"no.such:X\": cannot import"),
        ('[[function]]\nkind = "gadgets.hid.keyboard:Leds"', "no Function class Leds"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(source: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(source, "x.toml")
    assert says in str(raised.value)


def test_what_only_shows_when_it_is_built_names_the_function() -> None:
    definition = parse('[gadget]\nname = "x"\n[[function]]\nkind = "disk"\nluns = [{ medium = "none.img" }]')
    with pytest.raises(NotFound, match=r"^x, function 1 \(disk\): .*none\.img"):
        definition.build()


@given(
    st.text(max_size=40), st.sampled_from(["", "[gadget]\n", "[[function]]\n", "[[fault]]\n", "[pinned]\n"])
)
def test_any_text_is_read_or_refused(text: str, section: str) -> None:
    with suppress(ConfigError):
        parse(section + text)


def test_a_file_that_is_no_text_is_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b'[gadget]\nname = "\xff"')
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        load(file)
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize("name", [path.stem for path in FOLDER.glob("*.toml")])
def test_everything_in_the_catalogue_enumerates(name: str) -> None:
    with ready(name).build() as gadget:
        host = Host(gadget.device)
        assert gadget.device.configuration_value == 1
        assert host.control("80 06 0100 0000 0012") is not None


def test_the_catalogue_helps_to_find_a_name() -> None:
    assert list(catalogue()) == sorted(catalogue())
    with pytest.raises(NotFound, match="did you mean 'keyboard'"):
        ready("keybord")


def test_no_two_of_the_catalogue_are_taken_for_each_other() -> None:
    names = [(d.vendor_id, d.product_id, d.product) for d in catalogue().values()]
    assert len(set(names)) == len(names)


THERMOMETER = """
from gadgets.usb.function import Function


class Thermometer(Function):
    def __init__(self, *, start: float = 20.0) -> None:
        self.start = start

    def describe(self, take):
        return ()
"""


def test_a_class_of_ones_own_is_a_file_beside_the_definition(tmp_path: Path) -> None:
    (tmp_path / "thermometer.py").write_text(THERMOMETER)
    file = tmp_path / "room.toml"
    file.write_text('[[function]]\nkind = "thermometer.py:Thermometer"\nstart = 21.5\n')
    (function,) = load(file).build().functions
    assert (function.label, vars(function)["start"]) == ("thermometer", 21.5)
    file.write_text('[[function]]\nkind = "thermometer.py:Thermometr"\n')
    with pytest.raises(ConfigError, match="no Function class Thermometr; did you mean 'Thermometer'"):
        load(file)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("stick.img", "/media/stick.img"),
        ("/srv/stick.img", "/srv/stick.img"),
        ("overlay:2G+qcow2:a.qcow2", "overlay:2G+qcow2:/media/a.qcow2"),
        ("new:a.img:1G", "new:/media/a.img:1G"),
        ("memory:64M", "memory:64M"),
        ("", ""),
    ],
)
def test_a_relative_path_counts_from_the_folder_of_the_file(written: str, meant: str) -> None:
    with parse('[[function]]\nkind = "disk"', "/media/stick.toml").build() as gadget:
        assert gadget.input({"insert": written}) == Insert(meant)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "thermometer.py").write_text(THERMOMETER)
    definition = Definition("t", functions=(Part("thermometer.py:Thermometer"),), folder=tmp_path)
    assert vars(definition.build().functions[0])["start"] == 20.0
    (tmp_path / "thermometer.py").write_text(THERMOMETER.replace("20.0", "-3.0"))
    assert vars(definition.build().functions[0])["start"] == -3.0


@pytest.mark.parametrize("source", ["x = (", "\nimport nothing_of_that_name", "\n1 / 0"])
def test_a_file_that_fails_is_told_with_its_line(tmp_path: Path, source: str) -> None:
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(TwinhubError, match=r"broken\.py, line [12]: \w+Error"):
        Definition("t", functions=(Part("broken.py:X"),), folder=tmp_path).build()


def test_a_few_lines_of_python_are_a_definition_too(tmp_path: Path) -> None:
    file = tmp_path / "desk.py"
    file.write_text(
        "from gadgets.definition import Definition, Part\n"
        "def gadget():\n"
        "    return Definition('desk', functions=(Part('keyboard'), Part('mouse')))\n"
    )
    assert [function.label for function in load(file).build().functions] == ["keyboard", "mouse"]
    file.write_text("gadget = 5")
    with pytest.raises(UsageError, match=r"must have a function gadget\(\)"):
        load(file)
    file.write_text("def gadget():\n    return Definitoin('desk')\n")
    with pytest.raises(UsageError, match=r"desk\.py, line 2: NameError: name 'Definitoin'"):
        load(file)
