"""How selectors and their key are written, and the operator's own command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from appliance.errors import (
    ConfigError,
    DeviceFailed,
    NotFound,
    NotPermitted,
    ProtocolError,
    Timeout,
    TwinhubError,
    UsageError,
)
from appliance.pair.model import Standing
from appliance.pair.selector import open_selector
from appliance.pair.selector.command import CommandSelector
from appliance.pair.selector.keys import read_key
from appliance.pair.selector.register import Refused
from appliance.pair.selector.spec import KINDS, host_and_port, parse_spec

PROGRAM = """#!{python}
import json, os, pathlib, sys
state = pathlib.Path("{folder}/register")
owner, epoch, heir = json.loads(state.read_text()) if state.exists() else (None, 0, None)
node = os.environ.get("TWINHUB_NODE")
granted = sys.argv[1] == "look" or int(os.environ["TWINHUB_EPOCH"]) == epoch
if granted and sys.argv[1] == "claim":
    owner, epoch, heir = node, epoch + 1, os.environ["TWINHUB_HEIR"] or None
if granted and sys.argv[1] == "release":
    owner, epoch, heir = None, epoch + 1, None
state.write_text(json.dumps([owner, epoch, heir]))
print(json.dumps(dict(owner=owner, epoch=epoch, heir=heir, group=os.environ["TWINHUB_GROUP"])))
sys.exit(0 if granted else 1)
"""


def program(folder: Path, text: str = PROGRAM) -> str:
    path = folder / "select"
    path.write_text(text.replace("{python}", sys.executable).replace("{folder}", str(folder)))
    path.chmod(0o700)
    return f"command:{path}"


async def test_a_command_is_asked_by_arguments_and_environment(tmp_path: Path) -> None:
    selector = open_selector(program(tmp_path), "desk")
    assert await selector.look() == Standing(None, 0, None)
    assert await selector.claim("a", 0, "b") == Standing("a", 1, "b")
    await selector.renew("a", 1)
    with pytest.raises(Refused) as refused:
        await selector.claim("b", 0, None)
    assert refused.value.standing == Standing("a", 1, "b")
    assert await selector.release("a", 1) == Standing(None, 2, None)
    await selector.close()


@pytest.mark.parametrize(
    ("text", "raised", "why"),
    [
        ("#!/bin/sh\necho 'no power' >&2; exit 3\n", DeviceFailed, "exit code 3: no power"),
        ("#!/bin/sh\nexit 3\n", DeviceFailed, "does not say why"),
        ("#!/bin/sh\necho hello\n", ProtocolError, "printed no standing"),
        ('#!/bin/sh\necho \'{"owner": 1, "epoch": -1, "heir": 2}\'\n', ProtocolError, "makes no sense"),
        ("#!/bin/sh\nexec head -c 100000 /dev/zero\n", ProtocolError, "printed no standing"),
    ],
)
async def test_a_command_that_fails_says_why(
    tmp_path: Path, text: str, raised: type[TwinhubError], why: str
) -> None:
    with pytest.raises(raised, match=why):
        await open_selector(program(tmp_path, text)).look()


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    spec = parse_spec(program(tmp_path, "#!/bin/sh\nsleep 1000 & sleep 1000\n"))
    with pytest.raises(Timeout, match="took longer than"):
        await CommandSelector(spec.place, "desk", seconds=0.05).look()


async def test_a_command_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no program /no/such"):
        await open_selector("command:/no/such").look()
    (tmp_path / "plain").write_text("")
    with pytest.raises(NotPermitted, match="chmod"):
        await open_selector(f"command:{tmp_path}/plain").look()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("wittness:10.0.0.9", "did you mean 'witness'"),
        ("gpio", "does not say where"),
        ("gpio:/dev/gpiochip0:17", "side=0 or side=1"),
        ("gpio:/dev/gpiochip0:x,side=1", "number from 0"),
        ("gpio:/dev/gpiochip0:17,sid=1", "did you mean 'side'"),
        ("gpio:/dev/gpiochip0:17,side=1,pause=10", "from 50"),
        ("flexconnect:1-1.5", "value=0x"),
        ("flexconnect:hub,value=1", "no busid"),
        ("portpower:1-1", "a port"),
        ("portpower:1-1:0", "from 1 to 255"),
        ("command:select", "whole path"),
        ("witness:10.0.0.9:99999,key=/k", "no HOST:PORT"),
    ],
)
def test_a_selector_that_is_written_wrong_is_explained(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        open_selector(text)


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_can_be_parsed(kind: str) -> None:
    assert parse_spec(KINDS[kind].example).kind == kind


@pytest.mark.parametrize(
    ("text", "found"),
    [("h", ("h", 7)), ("h:8", ("h", 8)), ("[fe80::1]:8", ("fe80::1", 8)), ("[::]", ("::", 7))],
)
def test_places_are_host_and_port(text: str, found: tuple[str, int]) -> None:
    assert host_and_port(text, 7) == found


def test_a_key_is_read_without_white_space_and_only_if_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(ConfigError, match="make one with"):
        read_key(path)
    path.write_text("sixteen letters!\n")
    path.chmod(0o604)
    with pytest.raises(ConfigError, match="everybody may read"):
        read_key(path)
    path.chmod(0o600)
    assert read_key(path) == b"sixteen letters!"
    path.write_text("short")
    with pytest.raises(ConfigError, match="is no key"):
        read_key(path)
