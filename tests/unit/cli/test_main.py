"""The command as a whole: its help, its exit codes, its errors, how fast it starts."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from appliance.api import sites
from appliance.cli import command
from appliance.cli.daemon_client import UnixConnection
from appliance.cli.main import EXIT_CODES, THEMES, main, parser_for
from appliance.errors import BY_NAME, NotPermitted, TwinhubError
from tests.unit.api.fake import FakeAppliance
from tests.unit.cli.conftest import Twinhub

NAMES = [name for members in THEMES.values() for name in members]
COMMANDS = {
    name: import_module(f"appliance.cli.{theme}").COMMANDS[name]
    for theme, members in THEMES.items()
    for name in members
}


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    told = capsys.readouterr().out
    assert left.value.code == 0
    assert all(re.search(rf"^    {name} +\S", told, re.MULTILINE) for name in NAMES)
    assert EXIT_CODES.strip() in told


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself_with_an_example(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    told = capsys.readouterr().out
    assert left.value.code == 0
    assert f"usage: twinhub {name} " in told
    assert f"example:\n  {COMMANDS[name].example}\n" in told
    assert "--json" in told
    assert "exit codes:" in told


@pytest.mark.parametrize("name", NAMES)
def test_every_example_can_be_said(name: str) -> None:
    for line in COMMANDS[name].example.splitlines():
        words = shlex.split(re.split(" [|]| >>", line)[0], comments=True)
        assert parser_for(words).parse_args(words[words.index("twinhub") + 1 :]).run is COMMANDS[name].run


def test_every_theme_has_its_commands_in_the_table() -> None:
    for theme, members in THEMES.items():
        assert list(import_module(f"appliance.cli.{theme}").COMMANDS) == list(members)


def test_the_help_knows_every_exit_code() -> None:
    told = {int(code) for code in re.findall(r"^  (\d+)  ", EXIT_CODES, re.MULTILINE)}
    assert told == {0, 130} | {error.exit_code for error in BY_NAME.values()}


@pytest.mark.parametrize("kind", BY_NAME.values())
def test_an_error_of_the_daemon_is_a_sentence_and_an_exit_code(
    twinhub: Twinhub, appliance: FakeAppliance, kind: type[TwinhubError]
) -> None:
    async def sessions() -> list[dict[str, object]]:
        raise kind("so it is")

    appliance.sessions = sessions  # type: ignore[method-assign]
    said = twinhub("sessions")
    assert (said.code, said.out, said.err) == (kind.exit_code, "", "twinhub: so it is\n")


def test_without_a_daemon_it_says_where_it_looked_and_what_to_do(twinhub: Twinhub, tmp_path: Path) -> None:
    said = twinhub("exports")
    assert said.code == 7
    assert str(tmp_path / "twinhub.sock") in said.err
    assert "twinhub serve" in said.err


def test_options_may_stand_before_and_behind_the_command(
    appliance: FakeAppliance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["--json", "--runtime-dir", str(tmp_path), "exports"],
        ["exports", "--json", "--runtime-dir", str(tmp_path)],
    ):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out) == appliance.exports()


@pytest.mark.parametrize("how", ["option", "environment"])
def test_the_configuration_says_where_the_daemon_is(
    appliance: FakeAppliance,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    file = tmp_path / "twinhub.toml"
    file.write_text(f'[paths]\nruntime = "{tmp_path}"\n')
    if how == "environment":
        monkeypatch.setenv("TWINHUB_CONFIG", str(file))
    assert main(["exports", *(["--config", str(file)] if how == "option" else [])]) == 0
    assert "keyboard" in capsys.readouterr().out


def test_a_daemon_of_the_system_that_one_may_not_use_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forbidden = tmp_path / "system"

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.is_relative_to(forbidden):
            raise PermissionError(errno.EACCES, "Permission denied")
        return os.stat(path, follow_symlinks=follow_symlinks)

    def connect(connection: UnixConnection) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(command, "SYSTEM_RUNTIME", forbidden)
    monkeypatch.setattr(UnixConnection, "connect", connect)
    monkeypatch.setattr(Path, "stat", stat)
    for variable in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "own"))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.delenv("TWINHUB_CONFIG", raising=False)
    assert main(["exports"]) == NotPermitted.exit_code
    assert f"{forbidden}/twinhub.sock is not yours to use" in capsys.readouterr().err


def test_client_and_server_agree_on_the_name_of_the_socket() -> None:
    assert command.SOCKET_NAME == sites.SOCKET_NAME


def test_an_error_cannot_speak_to_the_terminal(twinhub: Twinhub, appliance: FakeAppliance) -> None:
    async def sessions() -> list[dict[str, object]]:
        raise TwinhubError("\x1b]0;owned\x07")

    appliance.sessions = sessions  # type: ignore[method-assign]
    assert twinhub("sessions").err == "twinhub: \ufffd]0;owned\ufffd\n"


@pytest.mark.parametrize("every", ["0", "-1", "nan", "inf", "soon"])
def test_a_pause_that_cannot_be_made_is_refused(twinhub: Twinhub, every: str) -> None:
    with pytest.raises(SystemExit) as left:
        twinhub("sessions", "--watch", "--every", every)
    assert left.value.code == 2


def test_ctrl_c_is_no_error(
    twinhub: Twinhub, appliance: FakeAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupted)
    said = twinhub("sessions", "--watch")
    assert (said.code, said.err) == (130, "")


def test_a_reader_who_has_enough_is_no_error(appliance: FakeAppliance, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "appliance.cli.main", "devices", "--runtime-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert (process.stderr.read(), process.wait(20)) == (b"", 0)


def test_what_is_slow_to_import_is_not_imported() -> None:
    slow = {"aiohttp", "asyncio", "prometheus_client", "construct", "pyudev"}
    code = (
        "import sys\n"
        "from appliance.cli.main import parser_for\n"
        "parser_for(['attach', 'devices', 'kick', 'share', 'status'])\n"
        f"print(*({slow!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
