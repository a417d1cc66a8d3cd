"""What TOML, JSON and a command line may say, and what they are told when they are wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import UsageError
from gadgets.hid.keyboard import Keyboard, Press, Release, TypeText
from gadgets.usb.function import Function
from gadgets.usb.records import (
    Byte,
    from_plain,
    from_tagged,
    options,
    read_tagged,
    snake,
    to_plain,
    to_tagged,
)
from gadgets.usb.urb import Speed


class Colour(Enum):
    RED = 1
    DARK_BLUE = 2


@dataclass(frozen=True, slots=True)
class Nth:
    count: int


@dataclass(frozen=True, slots=True)
class Match:
    request: bytes
    mask: bytes = b""


@dataclass(frozen=True, slots=True)
class Eject:
    pass


@dataclass(frozen=True, slots=True)
class Everything:
    name: str
    count: int = 3
    share: float = 0.5
    on: bool = False
    data: bytes = b""
    file: Path | None = None
    colour: Colour = Colour.RED
    shape: Literal["round", "square"] = "round"
    pair: tuple[int, str] = (0, "")
    several: tuple[Nth, ...] = ()
    when: Nth | Match = Nth(1)
    texts: Mapping[int, str] = field(default_factory=dict)
    text: str | Mapping[int, str] = ""
    code: Byte = 0


everything = st.builds(
    Everything,
    name=st.text(),
    count=st.integers(),
    share=st.floats(allow_nan=False, allow_infinity=False),
    on=st.booleans(),
    data=st.binary(),
    file=st.none() | st.text("abc/", min_size=1).map(Path),
    colour=st.sampled_from(Colour),
    shape=st.sampled_from(["round", "square"]),
    pair=st.tuples(st.integers(), st.text()),
    several=st.lists(st.builds(Nth, st.integers())).map(tuple),
    when=st.builds(Nth, st.integers()) | st.builds(Match, st.binary(), st.binary()),
    texts=st.dictionaries(st.integers(0, 0xFFFF), st.text()),
    code=st.integers(0, 255),
    text=st.text() | st.dictionaries(st.integers(0, 0xFFFF), st.text()),
)


@given(everything)
def test_a_record_comes_back_from_json(record: Everything) -> None:
    assert from_plain(Everything, json.loads(json.dumps(to_plain(record)))) == record


@given(everything)
def test_a_tagged_record_comes_back_from_json(record: Everything) -> None:
    assert from_tagged([Nth, Everything], json.loads(json.dumps(to_tagged(record)))) == record


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.sampled_from([option.name for option in options(Everything)]), values)
def test_whatever_is_given_is_read_or_explained(key: str, found: object) -> None:
    with suppress(UsageError):
        from_plain(Everything, {"name": "x", key: found})


@given(values)
def test_whatever_is_given_as_tagged_is_read_or_explained(found: object) -> None:
    with suppress(UsageError):
        from_tagged([Nth, Match, Eject], found)


def test_bytes_are_hex_or_text() -> None:
    assert from_plain(Match, {"request": "05 01 0f"}).request == b"\x05\x01\x0f"
    assert from_plain(Match, {"request": "text:Grüße"}).request == "Grüße".encode()


def test_a_relative_path_counts_from_the_base() -> None:
    def file(written: str) -> Path | None:
        return from_plain(Everything, {"name": "x", "file": written}, base=Path("/etc")).file

    assert file("disk.img") == Path("/etc/disk.img")
    assert file("/srv/disk.img") == Path("/srv/disk.img")


def test_numbers_may_be_hex_where_a_format_has_no_hex() -> None:
    assert from_plain(Nth, {"count": "0x1209"}) == Nth(0x1209)


def test_an_input_reads_like_a_sentence() -> None:
    assert from_tagged(Keyboard.inputs, {"type_text": "hello", "layout": "de"}) == TypeText("hello", "de")
    assert to_tagged(Press(("leftctrl", "a"))) == {"press": ["leftctrl", "a"]}


def test_true_leaves_an_input_at_its_defaults() -> None:
    assert from_tagged([Release], {"release": True}) == Release()
    assert from_tagged([Eject], {"eject": True}) == Eject()
    assert to_tagged(Eject()) == {"eject": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    name: str = ""


@dataclass(frozen=True, slots=True)
class Corrupt(When):
    bits: int = 1


def test_the_first_field_is_the_first_of_the_constructor() -> None:
    assert from_tagged([Corrupt], {"corrupt": 2, "name": "x"}) == Corrupt(2, name="x")


def test_names_become_snake_case() -> None:
    assert [snake(name) for name in ("TypeText", "Press", "SetDTR", "LEDState")] == [
        "type_text",
        "press",
        "set_dtr",
        "led_state",
    ]


class Disk(Function):
    def __init__(self, medium: str, *, blocks: Literal[512, 4096] = 512, read_only: bool = False) -> None:
        self.medium, self.blocks, self.read_only = medium, blocks, read_only


def test_the_parameters_of_a_constructor_are_keys_too() -> None:
    disk = from_plain(Disk, {"medium": "memory:64M", "blocks": 4096})
    assert (disk.medium, disk.blocks, disk.read_only) == ("memory:64M", 4096, False)


def test_a_class_without_parameters_has_no_keys() -> None:
    assert options(Function) == ()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"medium": "x", "read_onyl": True}, "read_onyl: unknown key; did you mean 'read_only'?"),
        ({"medium": "x", "zzz": 1}, "zzz: unknown key; known are blocks, medium, read_only"),
        ({"blocks": 512}, "medium: is missing; wanted a text"),
        ({"medium": "x", "read_only": "yes"}, 'read_only: found "yes", wanted true or false'),
        ({"medium": "x", "blocks": 1024}, "blocks: found 1024, wanted one of 512, 4096"),
        (["medium"], 'found ["medium"], wanted a table with medium, blocks, read_only'),
    ],
)
def test_the_user_is_told_what_is_wrong_and_what_may_be(given: object, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        from_plain(Disk, given, "[[function]] 2")
    assert str(raised.value) == f"[[function]] 2: {says}"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"share": float("nan")}, "share: found NaN, wanted a number"),
        ({"count": True}, "count: found true, wanted a whole number"),
        ({"count": "12"}, 'count: found "12", wanted a whole number'),
        ({"data": "0"}, 'data: found "0", wanted bytes in hex ("05 01") or "text:…"'),
        ({"colour": "reed"}, 'colour: found "reed", wanted one of "red", "dark_blue"; did you mean \'red\'?'),
        ({"pair": [1]}, "pair: found [1], wanted a list: a whole number, a text"),
        ({"several": [{"cuont": 1}]}, "several.cuont: unknown key; did you mean 'count'?"),
        ({"when": {"nht": 1}}, "when.nht: unknown; did you mean 'nth'?"),
        ({"when": {"match": "00", "msk": ""}}, "when.msk: unknown key; did you mean 'mask'?"),
        ({"texts": {"german": "x"}}, 'texts.german: found "german", wanted a whole number'),
        ({"code": 256}, "code: found 256, wanted a whole number from 0 to 255"),
        ({"text": 5}, "text: found 5, wanted a text or a table of: a text"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_place(given: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        from_plain(Everything, {"name": "x", **given})
    assert str(raised.value) == says


def test_an_unknown_input_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="type_txt: unknown; did you mean 'type_text'"):
        from_tagged(Keyboard.inputs, {"type_txt": "hello"}, "")


def test_what_the_constructor_refuses_is_told_with_the_place() -> None:
    @dataclass(frozen=True)
    class Picky:
        size: int

        def __post_init__(self) -> None:
            raise UsageError("too large")

    with pytest.raises(UsageError, match="here: too large"):
        from_plain(Picky, {"size": 1}, "here")


def test_a_speed_is_its_name() -> None:
    @dataclass(frozen=True)
    class Fast:
        speed: Speed

    assert from_plain(Fast, {"speed": "super_plus"}).speed is Speed.SUPER_PLUS
    assert read_tagged((Fast,), {"fast": "low"}) == Fast(Speed.LOW)
