"""`twinhub gadget run` from its start to its end, on loopback: no root, no kernel, no daemon before it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import gadget_run
from appliance.cli.daemon_client import DaemonClient
from appliance.errors import NotPermitted, TwinhubError, Unavailable
from appliance.usbip.client import import_export
from tests.unit.cli.conftest import Twinhub
from tests.unit.sessions.doubles import TIMEOUT
from tests.unit.sessions.pdus import submit

ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "appliance.cli.main", "gadget", "run")


class Running:
    """The command, in a process of its own."""

    def __init__(self, runtime: Path, *words: str) -> None:
        command = [*COMMAND, *words, "--json", "--runtime-dir", str(runtime)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.began = self.told()

    def told(self) -> dict[str, Any]:
        assert self.process.stdout
        return dict(json.loads(self.process.stdout.readline()))

    def until(self, kind: str) -> dict[str, Any]:
        while (event := self.told()).get("kind") != kind:
            continue
        return event

    @property
    def port(self) -> int:
        return int(self.began["listen"][0].rpartition(":")[2])

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        with self.process:
            return self.process.wait(60)


@contextmanager
def running(runtime: Path, *words: str, end: signal.Signals = signal.SIGINT) -> Iterator[Running]:
    command = Running(runtime, *words)
    try:
        yield command
    except BaseException:
        command.process.kill()
        raise
    finally:
        code = command.end(end)
    assert code == 0


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of this machine counts."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("TWINHUB_CONFIG", raising=False)


def test_it_serves_the_gadget_tells_what_happens_and_leaves_nothing(twinhub: Twinhub, tmp_path: Path) -> None:
    with running(tmp_path, "keyboard", "--port", "0") as command:
        assert command.began["gadget"] == "keyboard"
        record, client = import_export("127.0.0.1", command.port, "keyboard")
        with client:
            client.settimeout(TIMEOUT)
            assert command.until("attached")["fields"]["client"].startswith("127.0.0.1:")
            configure = submit(1, 0x00, setup=bytes.fromhex("0009010000000000"), devid=record.devid)
            client.sendall(configure + submit(2, 0x81, 8, devid=record.devid))
            assert len(client.recv(48)) == 48
            assert command.until("configured")["fields"] == {"value": 1}
            assert twinhub("gadget", "send", "keyboard", "type_text=a").code == 0
            assert client.recv(56)[48:] == bytes.fromhex("0000040000000000")
        assert command.until("detached")["fields"]["reason"] == "the client hung up"
    assert not list(tmp_path.rglob("*.sock"))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_in_a_running_daemon_the_gadget_is_there_for_that_time(
    twinhub: Twinhub, tmp_path: Path, end: signal.Signals
) -> None:
    (tmp_path / "pointer.toml").write_text('[[function]]\nkind = "mouse"\n')
    with running(tmp_path, "keyboard", "--port", "0"):
        with running(tmp_path, str(tmp_path / "pointer.toml"), end=end) as second:
            assert second.began["gadget"] == "pointer"
            listed = json.loads(twinhub("gadget", "list", "--json").out)
            assert [(each["name"], each["source"]) for each in listed] == [
                ("keyboard", "config"), ("pointer", "for now"),
            ]  # fmt: skip
        assert [each["name"] for each in json.loads(twinhub("gadget", "list", "--json").out)] == ["keyboard"]


@pytest.mark.parametrize("error", [Unavailable("none runs"), NotPermitted("not yours")])
def test_without_a_daemon_that_one_may_use_it_runs_alone(
    twinhub: Twinhub, monkeypatch: pytest.MonkeyPatch, error: TwinhubError
) -> None:
    def get(client: DaemonClient, path: str, **query: str | None) -> None:
        raise error

    alone: list[str] = []
    monkeypatch.setattr(DaemonClient, "get", get)
    monkeypatch.setattr(gadget_run, "run_alone", lambda args, table: alone.append(table["name"]))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert twinhub("gadget", "run", "keyboard").code == 0
    assert alone == ["keyboard"]


def test_it_says_how_to_attach_and_that_the_daemon_ended_under_it(tmp_path: Path) -> None:
    with running(tmp_path, "keyboard", "--port", "0") as daemon:
        command = [*COMMAND, "mouse", "--runtime-dir", str(tmp_path)]
        second = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert second.stdout
        assert second.stdout.readline() == "mouse runs in the daemon; attach it with\n"
        assert f"--tcp-port {daemon.port} attach -r 127.0.0.1 -b mouse" in second.stdout.readline()
    _, err = second.communicate(timeout=60)
    assert (second.returncode, err) == (9, "twinhub: the daemon has ended, or was restarted\n")


def test_what_cannot_be_run_says_why(tmp_path: Path) -> None:
    (tmp_path / "disk.toml").write_text('[[function]]\nkind = "disk"\nluns = [{ medium = "none.img" }]\n')
    command = [*COMMAND, str(tmp_path / "disk.toml"), "--runtime-dir", str(tmp_path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said.returncode != 0
    assert "none.img" in said.stderr
