"""What the doctor finds on machines of all sorts."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import checks
from appliance.cli.checks import CHECKS, Finding, Level, Machine
from appliance.cli.doctor import findings_text
from appliance.config import Paths, parse
from appliance.errors import ConfigError
from appliance.kernel.messages import HELPER_SOCKET
from appliance.kernel.paths import Kernel
from tests.unit.api.fake import FakeAppliance
from tests.unit.cli.conftest import Twinhub

STATUS: dict[str, Any] = {"version": "0.1.0", "listen": ["127.0.0.1:3240"], "helper": True}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """An empty one: no module, no helper, no daemon, no database; an ordinary user."""
    config = parse(f'[paths]\nruntime = "{tmp_path}/run"\nstate = "{tmp_path}/state"\n')
    return Machine(config, kernel=Kernel(tmp_path), uid=1000, now=2e9)


def put(machine: Machine, path: str, text: str = "") -> None:
    file = machine.kernel.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_wrong_configuration_fails_with_its_sentence(machine: Machine) -> None:
    found = checks.configuration(replace(machine, wrong_config=ConfigError("t.toml, line 2: port")))
    assert (found.level, found.what) == (Level.FAIL, "configuration: t.toml, line 2: port")
    assert checks.configuration(machine).level is Level.OK


def test_a_daemon_that_does_not_run_is_a_warning(machine: Machine) -> None:
    assert checks.daemon(machine).level is Level.WARN
    assert checks.daemon(replace(machine, status=STATUS)).level is Level.OK


@pytest.mark.parametrize(("check", "level"), [(checks.exporting, Level.FAIL), (checks.importing, Level.WARN)])
def test_a_kernel_without_a_module_is_told_with_what_to_install(
    machine: Machine, check: Any, level: Level
) -> None:
    put(machine, "etc/os-release", "ID=ubuntu\n")
    found = check(machine)
    assert found.level is level
    assert "linux-modules-extra" in found.advice


@pytest.mark.parametrize(
    "there", ["sys/module/usbip_host/refcnt", f"lib/modules/{os.uname().release}/modules.dep"]
)
def test_a_module_is_fine_loaded_or_ready_to_be(machine: Machine, there: str) -> None:
    put(machine, there, "kernel/drivers/usb/usbip/usbip-host.ko.xz: kernel/usbip-core.ko.xz\n")
    assert checks.exporting(machine).level is Level.OK


def test_privilege_comes_from_root_a_helper_or_a_daemon_that_has_one(machine: Machine) -> None:
    assert checks.privilege(machine).level is Level.FAIL
    assert checks.privilege(replace(machine, uid=0)).level is Level.OK
    assert checks.privilege(replace(machine, uid=0, status=STATUS | {"helper": False})).level is Level.FAIL
    assert checks.privilege(replace(machine, status=STATUS)).level is Level.OK
    put(machine, str(HELPER_SOCKET.relative_to("/")))
    assert checks.privilege(machine).level is Level.OK


def test_directories_can_be_there_or_be_made(machine: Machine, tmp_path: Path) -> None:
    assert checks.directories(machine).level is Level.OK
    put(machine, "file")
    blocked = Paths(tmp_path / "file/run", tmp_path, None)
    found = checks.directories(replace(machine, config=replace(machine.config, paths=blocked)))
    assert (found.level, found.what) == (Level.FAIL, f"cannot write to {tmp_path}/file/run")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_that_another_has_fails_unless_it_is_our_daemon(
    machine: Machine, family: socket.AddressFamily, host: str
) -> None:
    with socket.create_server((host, 0), family=family) as other:
        taken = replace(machine.config.listen, addresses=(host,), port=other.getsockname()[1])
        blocked = replace(machine, config=replace(machine.config, listen=taken))
        found = checks.port(blocked)
        assert found.level is Level.FAIL
        assert "Address already in use" in found.what
        assert checks.port(replace(blocked, status=STATUS)).level is Level.OK
    assert checks.port(blocked).level is Level.OK


def test_an_address_that_no_interface_has_fails(machine: Machine) -> None:
    elsewhere = replace(machine.config.listen, addresses=("192.0.2.1",), port=0)
    found = checks.port(replace(machine, config=replace(machine.config, listen=elsewhere)))
    assert found.level is Level.FAIL
    assert "no interface has this address" in found.advice


def test_the_stock_server_is_a_rival(machine: Machine) -> None:
    put(machine, "proc/7/comm", "bash\n")
    assert checks.rival(machine).level is Level.OK
    put(machine, "proc/4711/comm", "usbipd\n")
    found = checks.rival(machine)
    assert found.level is Level.FAIL
    assert "4711" in found.what


def test_a_firewall_is_only_a_matter_where_others_may_come(machine: Machine) -> None:
    assert checks.reach(machine).level is Level.OK
    opened = replace(machine.config.listen, allow=(ip_network("192.168.7.0/24"),))
    reachable = replace(machine, config=replace(machine.config, listen=opened))
    assert checks.reach(reachable).level is Level.OK
    put(machine, "sys/module/nf_tables/refcnt")
    found = checks.reach(reachable)
    assert found.level is Level.WARN
    assert "ip saddr 192.168.7.0/24 tcp dport 3240 accept" in found.advice


def test_a_machine_without_plug_events_is_a_warning(machine: Machine) -> None:
    assert checks.plug_events(machine).level is Level.WARN


def test_plug_events_that_can_be_heard_are_let_go_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Heard:
        closed = False

        def close(self) -> None:
            self.closed = True

    heard = Heard()
    monkeypatch.setattr("appliance.inventory.uevents.listen", lambda root: heard)
    assert (checks.plug_events(machine).level, heard.closed) == (Level.OK, True)


def test_names_need_their_database(machine: Machine) -> None:
    assert checks.database(machine).level is Level.WARN
    put(machine, "usr/share/misc/usb.ids")
    assert checks.database(machine).level is Level.OK


def test_a_clock_at_the_beginning_of_time_is_wrong(machine: Machine) -> None:
    assert checks.clock(machine).level is Level.OK
    assert checks.clock(replace(machine, now=0.0)).level is Level.WARN


def test_whatever_is_not_well_comes_with_advice(machine: Machine) -> None:
    found = [check(machine) for check in CHECKS]
    assert all(bool(finding.advice) == (finding.level is not Level.OK) for finding in found)


def test_the_doctor_reads_like_a_list_of_things_to_do() -> None:
    found = [
        Finding(Level.OK, "one"),
        Finding(Level.WARN, "two\x1b", "do this"),
        Finding(Level.FAIL, "three", "do that"),
    ]
    assert findings_text(found) == (
        "ok    one\nwarn  two\ufffd\n      → do this\nFAIL  three\n      → do that\n\n1 thing to be done.\n"
    )
    assert findings_text(found[:1]) == "ok    one\n\nNothing has to be done.\n"


def test_the_doctor_asks_everything_and_fails_if_something_does(
    twinhub: Twinhub, appliance: FakeAppliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.cli.doctor.CHECKS", CHECKS[:2])
    said = twinhub("doctor", "--json")
    assert [(one["check"], one["level"]) for one in json.loads(said.out)] == [
        ("configuration", "ok"),
        ("daemon", "ok"),
    ]
    assert said.code == 0
    monkeypatch.setenv("TWINHUB_CONFIG", "/there/is/no/such.toml")
    said = twinhub("doctor")
    assert said.code == 1
    assert "FAIL  configuration: cannot read /there/is/no/such.toml" in said.out
