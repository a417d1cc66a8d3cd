"""What the commands ask of the daemon, and what people read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import PeerError, Unavailable
from tests.unit.api.fake import DONGLE, HUB, FakeAppliance
from tests.unit.cli.conftest import Twinhub

EXPORTS = """\
NAME      STATE      DEVICE  MODE     FOR                RULE     WHAT
hasp      in use     1-1.1   relayed  everyone admitted  share-1  Aladdin HASP HL 3.25
keyboard  available  gadget  relayed  everyone admitted  -        Twinhub keyboard
"""
RULES = """\
RULE      FROM    SHARES
share-1   share   serial = "A7B3", name = "hasp"
config-1  config  hub = "2-1", allow = ["10.0.0.0/8"]
"""
SESSIONS = """\
SESSION  EXPORT  CLIENT          MODE     FOR     URBS  IN     OUT   FLYING  P50      P99      ERRORS
s-1      hasp    10.0.0.7:51234  relayed  1 h     6     2 KiB  96 B  1       0.12 ms  0.25 ms  1
s-2      disk    [fe80::7]:1024  direct   59 min  -     -      -     -       -        -        -
"""
AUDIT = """\
TIME                 ACTION  TARGET   DETAIL
1970-01-01 00:00:00  share   share-1  uid 0
"""
STATUS = """\
Twinhub 0.1.0, process 4711, up 1 d 2 h
  listens  127.0.0.1:3240
  has      4 devices, 2 exports, 2 rules, 2 sessions
  helper   answers
  modules  usbip-host loaded, vhci-hcd not loaded
"""
DEVICES = """\
DEVICE       ID         NAME                  SERIAL            SPEED  DRIVER      SHARED
usb1         1d6b:0002  xHCI Host Controller                    480M    (4 ports)
└─ 1-1       0409:55aa  QEMU USB Hub                            12M    hub
   ├─ 1-1.1  0529:0001  Aladdin HASP HL 3.25  A7B3              12M                hasp (in use)
   └─ 1-1.2  46f4:0001  QEMU USB HARDDRIVE    1-0000:00:04.0-1  480M
"""
SHARED = """\
Rule share-2 is in force.
NAME  STATE   DEVICE  MODE     FOR                RULE     WHAT
hasp  in use  1-1.1   relayed  everyone admitted  share-1  Aladdin HASP HL 3.25
"""


@pytest.fixture
def one_hour_after_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 3600.0)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("exports", EXPORTS),
        ("rules", RULES),
        ("sessions", SESSIONS),
        ("audit", AUDIT),
        ("status", STATUS),
        ("devices", DEVICES),
        ("suggest 1-1.1", '[[share]]\nserial = "A7B3"\n'),
        ("share --serial A7B3", SHARED),
        ("unshare hasp", 'Rule share-1 is new: serial = "A7B3", name = "hasp"\n'),
        ("kick hasp", "10.0.0.7:51234 has lost hasp (session s-1).\n"),
        ("type keyboard hi", ""),
    ],
)
@pytest.mark.usefixtures("one_hour_after_the_epoch")
def test_what_people_read(twinhub: Twinhub, appliance: FakeAppliance, words: str, text: str) -> None:
    said = twinhub(*words.split())
    assert (said.code, said.err) == (0, "")
    assert said.out == text


@pytest.mark.parametrize("what", ["devices", "exports", "rules"])
def test_json_is_what_the_daemon_said(twinhub: Twinhub, appliance: FakeAppliance, what: str) -> None:
    assert json.loads(twinhub(what, "--json").out) == getattr(appliance, what)()


@pytest.mark.parametrize(
    "words",
    [
        "sessions", "status", "audit", "suggest",
        "kick hasp", "unshare hasp", "share --any", "type keyboard hi",
    ],
)  # fmt: skip
def test_json_is_json_everywhere(twinhub: Twinhub, appliance: FakeAppliance, words: str) -> None:
    json.loads(twinhub(*words.split(), "--json").out)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("share 1-1.1", ("share", {"busid": "1-1.1"})),
        ("share 0529:0001 --name hasp", ("share", {"device": "0529:0001", "name": "hasp"})),
        (
            "share --hub 1-1 --allow 10.0.0.0/8 --allow ::1 --idle 60 --exclude",
            (
                "share",
                {"hub": "1-1", "exclude": True, "allow": ["10.0.0.0/8", "::1"], "idle": 60.0},
            ),
        ),
        ("kick hasp --reason maintenance", ("kick", "hasp", "maintenance")),
        ("suggest", ("suggest", None)),
        ("suggest 1-1.2", ("suggest", "1-1.2")),
        ("type keyboard hi --layout de", ("local", "keyboard", {"type_text": "hi", "layout": "de"})),
        ("audit --limit 7", ("audit", 7)),
    ],
)
def test_what_is_asked_of_the_daemon(
    twinhub: Twinhub, appliance: FakeAppliance, words: str, asked: tuple[Any, ...]
) -> None:
    assert twinhub(*words.split()).code == 0
    assert appliance.asked[0] == asked


def test_a_secret_is_typed_from_standard_input(
    twinhub: Twinhub, appliance: FakeAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("pass word\n"))
    assert twinhub("type", "keyboard", "-").code == 0
    assert appliance.asked[0][2]["type_text"] == "pass word\n"


def test_devices_without_a_daemon_come_from_sysfs_and_say_so(
    twinhub: Twinhub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.inventory.sysfs.read_devices", lambda: {"1-1": HUB, "1-1.1": DONGLE})
    said = twinhub("devices")
    assert said.code == 0
    assert "HASP HL 3.25" in said.out
    assert "hasp (in use)" not in said.out
    assert said.err.startswith("twinhub: without what is shared, because no daemon answers")
    assert json.loads(twinhub("devices", "--json").out)[1]["share"] is None


def test_watching_devices_tells_what_is_there_and_then_what_happens(
    twinhub: Twinhub, appliance: FakeAppliance
) -> None:
    about = {"busid": "1-1.3", "ids": "0627:0001", "label": "QEMU\x1b[2J Keyboard", "identity": "x"}
    appliance.happening.put_nowait({"event": "device.added", "time": 0.0, "device": about})
    appliance.happening.put_nowait({"event": "session.ended", "time": 1.0})
    appliance.happening.put_nowait(None)
    said = twinhub("devices", "--watch")
    assert said.code == 0
    assert (
        said.out.splitlines()[-1] == "1970-01-01 00:00:00  added    1-1.3  0627:0001  QEMU\ufffd[2J Keyboard"
    )
    assert said.out.splitlines()[0] == DEVICES.splitlines()[0]


def test_watching_devices_as_json_is_a_line_for_each(twinhub: Twinhub, appliance: FakeAppliance) -> None:
    appliance.happening.put_nowait(None)
    events = [json.loads(line) for line in twinhub("devices", "--watch", "--json").out.splitlines()]
    assert [event["device"]["busid"] for event in events] == ["usb1", "1-1", "1-1.1", "1-1.2"]
    assert {event["event"] for event in events} == {"device.present"}


def test_a_watch_that_is_cut_off_says_why(twinhub: Twinhub, appliance: FakeAppliance) -> None:
    appliance.happening.put_nowait(PeerError("too slow"))
    said = twinhub("devices", "--watch")
    assert (said.code, said.err) == (9, "twinhub: too slow\n")


def test_watching_sessions_goes_on_until_the_daemon_is_gone(
    twinhub: Twinhub, appliance: FakeAppliance
) -> None:
    asked = 0

    async def sessions() -> list[dict[str, Any]]:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise Unavailable("gone")
        return []

    appliance.sessions = sessions  # type: ignore[method-assign]
    said = twinhub("sessions", "--watch", "--every", "0.001")
    assert (said.code, said.out) == (7, "Nothing is in use.\n\n" * 3)


def test_a_capture_goes_into_a_file(
    twinhub: Twinhub, appliance: FakeAppliance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for chunk in (b"header", b"block" * 1000, None):
        appliance.captured.put_nowait(chunk)
    said = twinhub("capture", "s-1")
    assert (tmp_path / "s-1.pcapng").read_bytes() == b"header" + b"block" * 1000
    assert (said.code, said.out) == (0, "4.89 KiB in s-1.pcapng; Wireshark opens it.\n")


def test_a_capture_goes_down_a_pipe(
    twinhub: Twinhub, appliance: FakeAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(pipe))
    appliance.captured.put_nowait(b"\x0a\x0d\x0d\x0a\xff")
    appliance.captured.put_nowait(None)
    assert twinhub("capture", "s-1", "-o", "-").code == 0
    assert pipe.getvalue() == b"\x0a\x0d\x0d\x0a\xff"


def test_a_capture_of_no_session_makes_no_file(
    twinhub: Twinhub, appliance: FakeAppliance, tmp_path: Path
) -> None:
    said = twinhub("capture", "s-9", "-o", str(tmp_path / "file"))
    assert (said.code, said.err) == (3, "twinhub: there is no session 's-9'\n")
    assert not (tmp_path / "file").exists()


def test_a_capture_that_breaks_off_says_so(
    twinhub: Twinhub, appliance: FakeAppliance, tmp_path: Path
) -> None:
    appliance.captured.put_nowait(b"header")
    appliance.captured.put_nowait(PeerError("gone"))
    said = twinhub("capture", "s-1", "-o", str(tmp_path / "file"))
    assert (said.code, (tmp_path / "file").read_bytes()) == (9, b"header")
    assert "broke off" in said.err


def test_a_file_that_cannot_be_written_is_named(
    twinhub: Twinhub, appliance: FakeAppliance, tmp_path: Path
) -> None:
    appliance.captured.put_nowait(b"header")
    said = twinhub("capture", "s-1", "-o", str(tmp_path))
    assert (said.code, said.err) == (2, f"twinhub: cannot write {tmp_path}: Is a directory\n")


def test_a_configuration_is_checked(twinhub: Twinhub, tmp_path: Path) -> None:
    file = tmp_path / "twinhub.toml"
    file.write_text('[[gadget]]\ndefinition = "keyboard"\n[[share]]\nserial = "A7B3"\n')
    assert twinhub("check-config", str(file)).out == (
        f"{file} is fine.\n"
        "  listens  127.0.0.1, ::1 port 3240, for this machine only\n"
        "  shares   by 1 rule\n"
        "  gadgets  keyboard\n"
    )
    assert json.loads(twinhub("check-config", str(file), "--json").out)["rules"] == 1


def test_a_configuration_that_is_wrong_is_named_with_its_line(twinhub: Twinhub, tmp_path: Path) -> None:
    file = tmp_path / "twinhub.toml"
    file.write_text("[listen]\nport = 99999\n")
    said = twinhub("check-config", str(file))
    assert said.code == 2
    assert f"{file}, line 2" in said.err


def test_serve_runs_the_daemon_where_it_is_told(
    twinhub: Twinhub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Any] = []
    monkeypatch.setattr("appliance.daemon.run.run", served.append)
    assert twinhub("serve").code == 0
    assert [config.paths.runtime for config in served] == [tmp_path]


def test_events_are_a_line_each_for_people_and_for_programs(
    twinhub: Twinhub, appliance: FakeAppliance
) -> None:
    takeover = {"event": "group.takeover", "time": 0.0, "group": "bench", "steps_ms": {"executed": 6.2}}
    for words in ((), ("--json",)):
        for each in (takeover | {"kept": ["disk"], "lost": []}, None):
            appliance.happening.put_nowait(each)
        said = twinhub("events", *words)
        if words:
            assert json.loads(said.out) == takeover | {"kept": ["disk"], "lost": []}
        else:
            what = 'group.takeover  group=bench steps_ms={"executed": 6.2} kept=["disk"]'
            assert said.out == f"1970-01-01 00:00:00  {what}\n"
