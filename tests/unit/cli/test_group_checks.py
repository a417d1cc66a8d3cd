"""What the doctor finds on a machine that carries groups of a pair."""

from __future__ import annotations

import asyncio
import json
import pwd
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from appliance.cli import group_checks
from appliance.cli.checks import Level, Machine
from appliance.cli.group_checks import GROUP_CHECKS
from appliance.config import parse
from appliance.kernel.paths import Kernel
from appliance.pair.selector.witness.server import Server, Settings, listen
from tests.unit.api.fake import PAIR
from tests.unit.cli.conftest import Twinhub

GROUP = """
[[gadget]]
definition = "keyboard"
[[group]]
name = "bench"
exports = ["keyboard"]
address = "192.168.7.100/24"
interface = "eth7"
selector = "{selector}"
targets = ["192.168.7.1"]
"""
BENCH: dict[str, Any] = PAIR["groups"][0]
STATUS: dict[str, Any] = {"groups": [BENCH], "guards": {"gate": True, "keeper": True}}


def machine_with(root: Path, selector: str = "command:/bin/select") -> Machine:
    return Machine(parse(GROUP.format(selector=selector)), kernel=Kernel(root))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return machine_with(tmp_path)


def put(machine: Machine, path: str, text: str = "") -> None:
    file = machine.kernel.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_keepalived_and_the_firewall_of_the_address_have_to_be_installed(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_checks, "PATH", str(tmp_path))
    found = group_checks.programs(machine)
    assert (found.level, found.what) == (
        Level.FAIL,
        "groups need keepalived and iptables, not found here",
    )
    for name in ("keepalived", "iptables"):
        (tmp_path / name).touch(0o755)
    assert group_checks.programs(machine).level is Level.OK


def test_packets_reach_the_gate_if_the_gate_says_so_or_the_kernel_has_the_modules(machine: Machine) -> None:
    assert group_checks.queue(machine).level is Level.WARN
    assert group_checks.queue(replace(machine, status=STATUS)).level is Level.OK
    for name in ("nfnetlink_queue", "xt_NFQUEUE"):
        put(machine, f"sys/module/{name}/refcnt")
    assert group_checks.queue(machine).level is Level.OK


def test_a_kernel_that_tells_of_its_queues_has_them(machine: Machine) -> None:
    put(machine, "proc/net/netfilter/nfnetlink_queue")
    assert group_checks.queue(machine).level is Level.OK


def test_whether_connections_can_be_rebuilt_is_never_guessed(machine: Machine) -> None:
    assert "TCP_REPAIR" in group_checks.repair(machine).what


def test_a_gate_or_a_keeper_that_is_silent_keeps_groups_from_moving(machine: Machine) -> None:
    assert group_checks.processes(machine).level is Level.OK
    silent = STATUS | {"guards": {"gate": True, "keeper": False}}
    found = group_checks.processes(replace(machine, status=silent))
    assert (found.level, found.what) == (Level.FAIL, "keeper does not answer: no group can move here")


def test_groups_wait_for_a_sibling_and_are_then_to_be_protected(machine: Machine) -> None:
    assert "no sibling" in group_checks.sibling(replace(machine, status={"groups": []})).what
    bare = STATUS | {"groups": [BENCH | {"protected": False}]}
    assert group_checks.sibling(replace(machine, status=bare)).level is Level.WARN
    assert group_checks.sibling(replace(machine, status=STATUS)).level is Level.OK


def test_an_interface_that_is_not_there_is_named(machine: Machine) -> None:
    assert "eth7" in group_checks.interfaces(machine).what
    put(machine, "sys/class/net/eth7/ifindex")
    assert group_checks.interfaces(machine).level is Level.OK


def test_a_key_is_closed_to_others_and_open_to_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    machine = machine_with(tmp_path, f"witness:10.0.0.9,key={key}")
    assert "cannot read" in group_checks.secrets(machine).what
    key.write_text("0123456789abcdef")
    key.chmod(0o644)
    assert "chmod o=" in group_checks.secrets(machine).what
    key.chmod(0o600)
    owner = pwd.getpwuid(key.stat().st_uid)
    paths = machine.config.paths
    ours = replace(machine, config=replace(machine.config, paths=replace(paths, user=owner.pw_name)))
    assert group_checks.secrets(ours).level is Level.OK
    stranger = pwd.struct_passwd(("stranger", "x", 54321, 54321, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", lambda _: stranger)
    assert "may not read" in group_checks.secrets(ours).what


def test_the_daemon_knows_whether_its_selector_answers_and_for_how_long_it_lends(machine: Machine) -> None:
    assert group_checks.selectors(machine).level is Level.OK
    for selector, words in (({"answers": False}, "does not answer"), ({"lease": 1.0}, "not less")):
        group = BENCH | {"selector": BENCH["selector"] | selector}
        found = group_checks.selectors(replace(machine, status=STATUS | {"groups": [group]}))
        assert found.level is Level.FAIL
        assert words in found.what


def test_before_there_is_a_pair_the_witness_is_asked_itself(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef")
    key.chmod(0o600)
    listeners = listen("127.0.0.1", 0)
    place = f"witness:127.0.0.1:{listeners[0].getsockname()[1]},key={key}"
    machine = machine_with(tmp_path, place)
    loop = asyncio.new_event_loop()
    server = Server(Settings(key.read_bytes(), tmp_path / "state", 1.5, 0))
    serving = loop.create_task(server.serve_on(listeners))
    thread = Thread(target=lambda: loop.run_until_complete(asyncio.wait([serving])))
    thread.start()
    found = group_checks.selectors(machine)
    loop.call_soon_threadsafe(serving.cancel)
    thread.join()
    loop.close()
    assert "the selector's lease is 1.5 s" in found.what
    assert "cannot be reached" in group_checks.selectors(machine).what


def test_targets_can_be_pinged_only_where_somebody_may(machine: Machine) -> None:
    assert group_checks.pings(machine).level is Level.OK
    put(machine, "proc/sys/net/ipv4/ping_group_range", "1\t0\n")
    assert group_checks.pings(machine).level is Level.WARN


def test_only_a_machine_with_groups_is_asked_about_them(twinhub: Twinhub, tmp_path: Path) -> None:
    def asked(text: str) -> set[str]:
        file = tmp_path / "twinhub.toml"
        file.write_text(text)
        said = twinhub("doctor", "--json", "--config", str(file))
        return {each["check"] for each in json.loads(said.out)}

    names = {check.__name__ for check in GROUP_CHECKS}
    assert not names & asked("")
    assert names <= asked(GROUP.format(selector="command:/bin/select"))
