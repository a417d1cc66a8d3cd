"""`twinhub gadget`: what it asks of the daemon, and what people read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cli.gadget_words import event_text, input_of, input_text, to_the_end
from appliance.errors import NotFound, PeerError, UsageError
from gadgets.definition import Definition, Part
from gadgets.replay.recorder import Recorder
from gadgets.usb.device import BusEvent
from gadgets.usb.records import to_plain
from tests.unit.api.fake import GADGET, FakeAppliance
from tests.unit.cli.conftest import Twinhub

LIST = """\
NAME      STATE         FROM    ID         SPEED  FUNCTIONS  PROBLEM
keyboard  runs          added   1209:0001  full   keyboard   -
disk      does not run  config  -          -      disk       disk.img is not there
"""
SHOW = """\
keyboard: runs, added
  in use by session s-3
  1209:0001 Twinhub Twinhub Keyboard, full speed
  keys  Keyboard
  port  pty=/dev/pts/3
  fault  stall=1 name=stall fired=2 over=false
  takes:
    type_text=a text [layout=a text]
    press=a list of: a text
    move=a whole number [speed=a number]
    replug
  descriptors:
    1201
    0902
"""
TOLD = {
    "event": "told", "time": 3601.0, "gadget": "keyboard", "function": "keys", "kind": "leds",
    "fields": {"caps_lock": True, "name": "x\x1b"},
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kiosk.toml"
    path.write_text('[[function]]\nkind = "keyboard"\n')
    return path


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("list", LIST),
        ("show keyboard", SHOW),
        ("add keyboard", "Gadget keyboard runs; `twinhub exports` lists what clients see.\n"),
        ("remove keyboard disk", "Gadget keyboard is gone.\nGadget disk is gone.\n"),
        ("send keyboard type_text=hi", ""),
    ],
)
def test_what_people_read(twinhub: Twinhub, appliance: FakeAppliance, words: str, text: str) -> None:
    said = twinhub("gadget", *words.split())
    assert (said.code, said.err, said.out) == (0, "", text)


def test_what_is_gone_is_told_though_the_next_one_could_not_be_removed(
    twinhub: Twinhub, appliance: FakeAppliance
) -> None:
    async def remove_gadget(name: str) -> None:
        if name == "dsk":
            raise NotFound("no gadget 'dsk'")

    appliance.remove_gadget = remove_gadget  # type: ignore[method-assign]
    said = twinhub("gadget", "remove", "keyboard", "dsk", "disk")
    assert (said.code, said.out) == (3, "Gadget keyboard is gone.\n")


def test_what_an_input_takes_is_shown_as_it_is_written() -> None:
    field = {"name": "lun", "wanted": "a whole number", "optional": True}
    assert input_text({"name": "eject", "fields": [field, field]}) == (
        "eject[=a whole number] [lun=a whole number]"
    )


def test_events_end_with_the_gadget_or_else_the_daemon_has_ended() -> None:
    told: list[dict[str, Any]] = [TOLD, {"event": "end", "reason": "it was removed"}]
    assert list(to_the_end(iter(told))) == told
    with pytest.raises(PeerError, match="the daemon has ended"):
        list(to_the_end(told[:1]))


@pytest.mark.parametrize(
    "words",
    ["list", "list --catalogue", "show keyboard", "add keyboard", "remove keyboard", "send keyboard replug"],
)
def test_json_is_json_everywhere(twinhub: Twinhub, appliance: FakeAppliance, words: str) -> None:
    json.loads(twinhub("gadget", *words.split(), "--json").out)


@pytest.mark.parametrize("port", ["65536", "-1", "usb"])
def test_a_port_that_there_is_not_is_refused(twinhub: Twinhub, port: str) -> None:
    with pytest.raises(SystemExit) as left:
        twinhub("gadget", "run", "keyboard", f"--port={port}")
    assert left.value.code == 2


def test_the_catalogue_needs_no_daemon(twinhub: Twinhub) -> None:
    assert "\nkeyboard" in twinhub("gadget", "list", "--catalogue").out


def test_a_definition_goes_to_the_daemon_whole_since_it_may_not_see_the_file(
    twinhub: Twinhub, appliance: FakeAppliance, file: Path
) -> None:
    words = (
        "--name",
        "front",
        "--count",
        "2",
        "--allow",
        "10.0.0.0/8",
        "--take-over",
        "never",
        "--idle",
        "60",
    )
    assert twinhub("gadget", "add", str(file), *words).code == 0
    ((asked, table, keep),) = appliance.asked
    assert (asked, keep, table["definition"]["name"]) == ("add_gadget", True, "kiosk")
    assert table["definition"]["functions"][0]["kind"] == "keyboard"
    assert table["definition"]["folder"] == str(file.parent)
    policy = {"allow": ["10.0.0.0/8"], "take_over": "never", "idle": 60.0}
    assert {key: table[key] for key in table if key != "definition"} == {
        "name": "front",
        "count": 2,
        **policy,
    }


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("keybord", 3, "the catalogue has no 'keybord'; did you mean 'keyboard'?"),
        ("./nothing.toml", 2, "cannot read"),
    ],
)
def test_a_definition_that_there_is_not_is_named(twinhub: Twinhub, what: str, code: int, said: str) -> None:
    told = twinhub("gadget", "add", what)
    assert told.code == code
    assert said in told.err


@pytest.mark.parametrize(
    ("words", "input"),
    [
        (["type_text=a=b 1", "layout=de"], {"type_text": "a=b 1", "layout": "de"}),
        (["type_text=1"], {"type_text": "1"}),
        (["press=leftctrl,1"], {"press": ["leftctrl", "1"]}),
        (['press=["a"]'], {"press": ["a"]}),
        (["move=-3", "speed=1.5"], {"move": -3, "speed": 1.5}),
        (["move=0x10"], {"move": "0x10"}),
        (["replug"], {"replug": True}),
        (["other=x", "function=keys"], {"other": "x", "function": "keys"}),
        ([' {"type_text": "hi"}'], {"type_text": "hi"}),
    ],
)
def test_an_input_is_written_in_words_or_in_json(words: list[str], input: dict[str, Any]) -> None:
    assert input_of(words, GADGET["portrait"]) == input


def test_an_input_that_is_no_json_is_refused() -> None:
    with pytest.raises(UsageError, match="not JSON"):
        input_of(["{type_text: hi}"], {})


@given(st.lists(st.text(), min_size=1))
def test_any_words_are_an_input_or_a_usage_error(words: list[str]) -> None:
    if words == ["-"]:
        return
    try:
        json.dumps(input_of(words, GADGET["portrait"]))
    except UsageError:
        pass


def test_paths_in_an_input_count_from_here(twinhub: Twinhub, appliance: FakeAppliance) -> None:
    assert twinhub("gadget", "send", "keyboard", "type_text=hi").code == 0
    assert appliance.asked == [("local", "keyboard", {"type_text": "hi"}, str(Path.cwd()))]


@pytest.mark.usefixtures("twinhub")
def test_an_event_is_a_line_that_no_terminal_obeys() -> None:
    assert event_text(TOLD) == "01:00:01  keys  leds caps_lock=true name=x\N{REPLACEMENT CHARACTER}"
    assert event_text({**TOLD, "function": "", "fields": {}}) == "01:00:01  device  leds"
    assert event_text({"event": "end", "reason": "the gadget was removed"}) == "ended: the gadget was removed"


def test_events_are_followed_to_their_end(twinhub: Twinhub, appliance: FakeAppliance) -> None:
    for event in (TOLD, {"event": "end", "reason": "enough"}, None):
        appliance.happening.put_nowait(event)
    said = twinhub("gadget", "events", "keyboard", "--json")
    assert [json.loads(line)["event"] for line in said.out.splitlines()] == ["told", "end"]
    assert appliance.asked == [("gadget_events", "keyboard")]


def test_a_recording_is_written_to_its_end(
    twinhub: Twinhub, appliance: FakeAppliance, tmp_path: Path
) -> None:
    for chunk in (b"head", b"tail", None):
        appliance.captured.put_nowait(chunk)
    assert twinhub("gadget", "record", "keyboard", str(tmp_path / "boot.twrec")).code == 0
    assert (tmp_path / "boot.twrec").read_bytes() == b"headtail"


def test_what_cannot_be_recorded_makes_no_file(
    twinhub: Twinhub, appliance: FakeAppliance, tmp_path: Path
) -> None:
    assert twinhub("gadget", "record", "nothing", str(tmp_path / "x")).code == 3
    assert not (tmp_path / "x").exists()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Of a keyboard that nobody uses."""
    definition = Definition("kiosk", functions=(Part("keyboard"),))
    path = tmp_path / "kiosk.twrec"
    with path.open("wb") as file, definition.build() as gadget:
        recorder = Recorder(gadget.device, file, to_plain(definition))
        recorder.bus(BusEvent.ATTACH)
        recorder.bus(BusEvent.DETACH)
        recorder.close("enough")
    return path


def test_a_recording_is_repeated_without_a_daemon(twinhub: Twinhub, recording: Path) -> None:
    said = twinhub("gadget", "replay", str(recording))
    assert said.code == 0
    assert said.out.startswith("2 inputs, byte-identical")
    assert json.loads(twinhub("gadget", "replay", str(recording), "--json").out)["identical"] is True


def test_a_recording_of_another_device_is_refused(twinhub: Twinhub, recording: Path) -> None:
    said = twinhub("gadget", "replay", str(recording), "--definition", "mouse")
    assert (said.code, "other descriptors" in said.err) == (2, True)


@pytest.mark.parametrize(("content", "code"), [(b"", 2), (b"no recording", 9)])
def test_what_is_no_recording_is_refused(twinhub: Twinhub, tmp_path: Path, content: bytes, code: int) -> None:
    (tmp_path / "x").write_bytes(content)
    assert twinhub("gadget", "replay", str(tmp_path / "x")).code == code
    assert twinhub("gadget", "replay", str(tmp_path / "y")).code == 2


@pytest.mark.parametrize(("busid", "code"), [("9-9", 3), ("../../etc", 2)])
def test_what_is_not_attached_cannot_be_cloned(twinhub: Twinhub, busid: str, code: int) -> None:
    assert twinhub("gadget", "clone", busid).code == code


def test_every_command_below_explains_itself(capsys: pytest.CaptureFixture[str], twinhub: Twinhub) -> None:
    from appliance.cli.gadget import BELOW

    for name in BELOW:
        with pytest.raises(SystemExit) as left:
            twinhub("gadget", name, "--help")
        assert left.value.code == 0
        assert "example:" in capsys.readouterr().out
