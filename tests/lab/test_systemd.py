"""The units of image/systemd: privileges, readiness, and what restarts, crashes and hangs leave alone.

One machine is server and client: it imports over loopback the two disks that it shares. The service runs from
the first test on, and the last one stops it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.lab import Disk, Lab, Machine
from tests.lab.process import Process
from tests.lab.twinhub import CONFIG
from tests.lab.verified_copy import goes_on, has_failed, start_copy

ROOT = Path(__file__).parents[2]
UNITS = "/etc/systemd/system"
SHARES = """
[[share]]
serial = "RELAYED"
name = "relayed"
mode = "relayed"

[[share]]
serial = "DIRECT"
name = "direct"
mode = "direct"
"""
PROGRAMS = {
    "twinhub": f"{Path(sys.executable).parent}/twinhub serve --config {CONFIG}",
    "twinhub-helper": f"{sys.executable} -m appliance.kernel.helper --allow-user twinhub",
}
DROP_IN = """
[Service]
ExecStart=
ExecStart={program}
WorkingDirectory={root}
ProtectHome=read-only
"""
"""The programs are not in /opt here; this Python may be in a home."""
WATCHDOG = "[Service]\nWatchdogSec=10s\n"
CAP_SYS_MODULE = 16
NO_CAPABILITIES = "0000000000000000"
PAUSE = 1.0
"""All of it is on one processor."""
KINDS = ("relayed", "direct")


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[Machine]:
    """Has the units installed, user twinhub, and a running service that shares two disks."""
    with lab.machines("host", init="systemd") as (host,):
        host.run("useradd --system twinhub; modprobe vhci-hcd; chmod a+x /root")
        for unit in (ROOT / "image/systemd").iterdir():
            host.write_file(f"{UNITS}/{unit.name}", unit.read_bytes())
        for name, program in PROGRAMS.items():
            host.write_file(f"{UNITS}/{name}.service.d/lab.conf", DROP_IN.format(program=program, root=ROOT))
        host.write_file(f"{UNITS}/twinhub.service.d/watchdog.conf", WATCHDOG)
        host.write_file(CONFIG, SHARES)
        for kind in KINDS:
            host.plug(Disk(serial=kind.upper()))
        host.start("journal", "exec journalctl -f -o cat -u twinhub -u twinhub-helper")
        host.run("systemctl daemon-reload; systemctl start dbus.socket twinhub-helper.socket twinhub")
        yield host


@pytest.fixture
def copies(host: Machine) -> Iterator[Sequence[Process]]:
    """Run on the disks imported over loopback; what the service does must not disturb them."""
    yield [copy(host, kind) for kind in KINDS]
    for kind in KINDS:
        host.kill(f"copy on {kind}")
    detach = "usbip port 2> /dev/null | sed -n 's/^Port \\([0-9]*\\): .*/\\1/p' | xargs -rn1 usbip detach -p"
    host.run(detach)
    host.wait_until("! ls -d /sys/devices/platform/vhci_hcd.0/usb*/*-* | grep -v :")


def copy(host: Machine, kind: str) -> Process:
    host.wait_until(f"usbip attach -r localhost -b {kind}")
    node = host.wait_until(
        f"ls -d /sys/devices/platform/vhci_hcd.0/usb*/*-*/serial | xargs grep -lx {kind.upper()}"
    )
    return start_copy(host, kind, host.node(Path(node.stdout.strip()).parent.name, "block/sd*"), PAUSE)


def main_pid(host: Machine, unit: str) -> str:
    return host.run(f"systemctl show --value -p MainPID {unit}").stdout.strip()


def wait_for_another_daemon(host: Machine, before: str) -> None:
    """Until one that is not `before` is ready."""
    host.wait_until(f"systemctl is-active -q twinhub && ! test -d /proc/{before}", timeout=120)


def status(host: Machine, unit: str) -> dict[str, str]:
    """/proc/PID/status of its main process."""
    lines = host.run(f"cat /proc/{main_pid(host, unit)}/status").stdout.splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_is_ready_when_it_listens_and_not_before(host: Machine) -> None:
    assert "127.0.0.1:3240" in host.run("ss -ltnH").stdout


def test_the_daemon_has_no_privilege_and_the_helper_hardly_any(host: Machine) -> None:
    daemon, helper = status(host, "twinhub"), status(host, "twinhub-helper")
    assert daemon["Uid"].split()[0] == host.run("id -u twinhub").stdout.strip() != "0"
    assert {daemon[kind] for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {NO_CAPABILITIES}
    assert helper["Uid"].split()[0] == "0"
    assert int(helper["CapEff"], 16) == 1 << CAP_SYS_MODULE
    assert daemon["NoNewPrivs"] == helper["NoNewPrivs"] == "1"


@pytest.mark.parametrize(("unit", "most"), [("twinhub", 1.5), ("twinhub-helper", 3.0)])
def test_the_units_leave_no_more_open_than_they_need(host: Machine, unit: str, most: float) -> None:
    told = host.run(f"systemd-analyze security --no-pager {unit}.service").stdout
    found = re.search(r"Overall exposure level for .*: ([\d.]+)", told)
    assert found, told
    assert float(found[1]) <= most, told
    print(f"systemd-analyze security {unit}: {found[1]}")


@pytest.mark.parametrize(
    "event",
    [
        pytest.param("systemctl restart twinhub", id="a restart"),
        pytest.param("systemctl kill --kill-whom=main -s KILL twinhub", id="a crash"),
        pytest.param("systemctl kill --kill-whom=main -s STOP twinhub", id="a hang, found by the watchdog"),
    ],
)
def test_sessions_outlive(host: Machine, copies: Sequence[Process], event: str) -> None:
    before = main_pid(host, "twinhub")
    host.run(event, timeout=180)
    goes_on(*copies)
    wait_for_another_daemon(host, before)
    goes_on(*copies)
    assert host.run(f"journalctl -o cat _PID={main_pid(host, 'twinhub')} | grep -c 'goes on'").stdout == "2\n"


def test_whoever_connects_while_there_is_no_daemon_waits_for_the_next_one(host: Machine) -> None:
    host.run("systemctl kill --kill-whom=main -s KILL twinhub; usbip list -r localhost | grep relayed")


def test_a_helper_that_dies_is_there_again_when_it_is_needed(host: Machine) -> None:
    host.run("systemctl kill -s KILL twinhub-helper; usbip attach -r localhost -b relayed")
    host.node("vhci_hcd.0", "block/sd*")


def test_a_stop_ends_every_session_and_gives_every_device_back(
    host: Machine, copies: Sequence[Process]
) -> None:
    host.run("systemctl stop twinhub")
    has_failed(*copies)
    for disk in host.plugged:
        host.node(disk, "block/sd*")
    host.run('! pgrep -f [a]ppliance.sessions; test -z "$(ls /run/twinhub/sessions)"')
    journal = host.run("journalctl --no-pager -o cat -u twinhub -u twinhub-helper").stdout
    assert "Traceback" not in journal, journal
