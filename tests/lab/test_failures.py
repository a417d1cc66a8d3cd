"""What may fail, and what holds then: who still has client and device goes on, all others end cleanly.

Two disks are shared, one of each kind of session. Every story ends the same way: the client lets go, the
daemon is stopped, and nothing is left behind (`house`).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.lab import Disk, Lab, Machine, SerialAdapter
from tests.lab.process import Process
from tests.lab.twinhub import Twinhub
from tests.lab.verified_copy import goes_on, has_failed, start_copy

SHARES = """
[[share]]
serial = "RELAYED"
name = "relayed"
mode = "relayed"

[[share]]
serial = "DIRECT"
name = "direct"
mode = "direct"

[[share]]
serial = "SERIAL"
name = "serial"
"""
KINDS = ("relayed", "direct")
PAUSE = 0.2
"""Between rounds of a copy, where a new daemon needs the processor."""
SECONDS_UNTIL_FREE = 15
ANOTHER_VERSION = "9.9.9"

NO_WORKER = "test $(pgrep -fc '[a]ppliance.sessions.(nursery|worker)') -le 1"
"""Only the nursery is left; with no daemon, nothing."""


class House:
    """The server with two shared disks, and the client that uses them."""

    def __init__(self, server: Machine, client: Machine) -> None:
        self.server, self.client = server, client
        self.twinhub = Twinhub(server, SHARES)
        self.disks = {name: server.plug(Disk(serial=name.upper())) for name in KINDS}
        client.run("modprobe vhci-hcd; dmesg --clear")
        self.twinhub.start()
        self.wait_free(*KINDS)

    def attach(self, name: str) -> str:
        """The disk's node at the client."""
        self.client.run(f"usbip attach -r server -b {name}")
        found = self.client.wait_until(f"readlink -f $(ls /dev/disk/by-id/usb-*_{name.upper()}-0:0)")
        return found.stdout.strip()

    def copy(self, name: str, pause: float = 0) -> Process:
        """A verified copy that runs at the client, on the disk imported as `name`."""
        return start_copy(self.client, name, self.attach(name), pause)

    def copies(self, pause: float = 0) -> tuple[Process, Process]:
        relayed, direct = (self.copy(name, pause) for name in KINDS)
        return relayed, direct

    def wait_free(self, *names: str, timeout: float = SECONDS_UNTIL_FREE) -> None:
        """Until the kernel's stub can take a new session of these disks."""
        for name in names:
            status = f"/sys/bus/usb/devices/{self.disks[name].busid}/usbip_status"
            self.server.wait_until(f"grep -qx 1 {status}", timeout)

    def wait_disconnected(self, count: int) -> None:
        """Until the client's kernel has seen so many imported devices go since the story began."""
        self.client.wait_until(f"test $(dmesg | grep -c 'USB disconnect') -ge {count}")

    def detach(self) -> None:
        ports = "usbip port 2> /dev/null | sed -n 's/^Port \\([0-9]*\\): .*/\\1/p'"
        self.client.run(f"for port in $({ports}); do usbip detach -p $port; done")

    def kill_daemon(self) -> None:
        self.twinhub.daemon.kill(signal.SIGKILL, group=False)
        self.twinhub.daemon.wait()

    def worker_of(self, name: str) -> str:
        """Its process id."""
        (session,) = [each["id"] for each in self.twinhub.sessions() if each["export"] == name]
        listening = self.server.run(f"ss -xlpH src '*/{session}.sock'").stdout
        return listening.split("pid=")[1].split(",")[0]


@pytest.fixture
def house(pair: tuple[Machine, Machine], lab: Lab) -> Iterator[House]:
    server, client = pair
    house = House(server, client)
    yield house
    lab.network.heal()
    house.detach()
    client.wait_until("! ls -d /sys/devices/platform/vhci_hcd.0/usb*/*-* | grep -v :")
    house.wait_free(*(name for name in KINDS if house.disks[name] in server.plugged))
    server.wait_until(NO_WORKER)
    assert {export["state"] for export in house.twinhub.exports()} <= {"available"}
    house.twinhub.stop()
    for disk in house.disks.values():
        server.node(disk, "block/sd*")
    server.run(f'test -z "$(ls /run/twinhub/sessions)"; {NO_WORKER}')
    for machine in pair:
        machine.run("! ps -eo stat,args | grep '^D'")


@pytest.mark.parametrize("pulled", KINDS)
def test_a_disk_pulled_out_in_mid_transfer_ends_its_own_session_only(house: House, pulled: str) -> None:
    copies = dict(zip(KINDS, house.copies(), strict=True))
    disk = house.server.unplug(house.disks[pulled])
    has_failed(copies.pop(pulled))
    house.wait_disconnected(1)
    goes_on(*copies.values())

    house.server.plug(disk)
    house.wait_free(pulled)
    house.copy(pulled)
    house.server.unplug(disk)
    house.server.plug(Disk(size=1 << 20))
    assert house.server.plug(disk).port not in ("", "1", "2"), "it is in another port now"
    house.wait_free(pulled)
    goes_on(house.copy(pulled), *copies.values())
    house.client.kill(f"copy on {pulled}")


def test_a_serial_adapter_pulled_out_while_it_is_open_ends_its_reader(house: House) -> None:
    adapter = house.server.plug(SerialAdapter(serial="SERIAL"))
    house.twinhub.wait_available(adapter)
    house.client.run("usbip attach -r server -b serial")
    tty = house.client.node("vhci_hcd.0", "tty/ttyUSB*")
    reader = house.client.start("reader", f"exec < {tty}; stty raw -echo; echo open; exec cat")
    reader.wait_for_output("open")
    adapter.socket.sendall(b"hello")
    reader.wait_for_output("hello")
    house.server.unplug(adapter)
    assert reader.wait() == -signal.SIGHUP, "its terminal has hung up"


def test_a_client_that_detaches_in_mid_transfer_leaves_free_devices(house: House) -> None:
    copies = house.copies()
    house.detach()
    has_failed(*copies)
    house.wait_free(*KINDS)
    goes_on(*house.copies())


@pytest.mark.parametrize("busy", [True, False], ids=["in mid-transfer", "idle"])
def test_a_client_that_vanishes_frees_its_devices_within_15_seconds(
    house: House, lab: Lab, busy: bool
) -> None:
    copies = house.copies() if busy else ()
    if not busy:
        for name in KINDS:
            house.attach(name)
    lab.network.cut("server", "client")
    house.wait_free(*KINDS)
    lab.network.heal()
    has_failed(*copies)
    house.detach()
    house.wait_disconnected(2)
    goes_on(*house.copies())


@pytest.mark.parametrize("with_helper", [False, True], ids=["alone", "and its helper"])
def test_sessions_outlive_the_daemon_and_the_next_one_takes_them_up(house: House, with_helper: bool) -> None:
    copies = house.copies(PAUSE)
    before = house.twinhub.sessions()
    if with_helper:
        house.server.run("pkill -KILL -f '[a]ppliance.kernel.helper'")
    house.kill_daemon()
    goes_on(*copies)
    house.twinhub.start()
    goes_on(*copies)
    assert [each["id"] for each in house.twinhub.sessions()] == [each["id"] for each in before]
    assert "disconnect" not in house.client.run("dmesg").stdout


def test_a_workers_death_ends_its_own_session_only(house: House) -> None:
    relayed, direct = house.copies(PAUSE)
    house.server.run(["kill", "-KILL", house.worker_of("relayed")])
    has_failed(relayed)
    goes_on(direct)
    house.wait_free("relayed")
    relayed = house.copy("relayed")
    house.server.run(["kill", "-KILL", house.worker_of("direct")])
    has_failed(direct)
    house.wait_free("direct")
    goes_on(house.copy("direct"), relayed)


def test_what_ends_while_there_is_no_daemon_is_free_when_there_is_one(house: House) -> None:
    relayed, direct = house.copies()
    house.kill_daemon()
    disk = house.server.unplug(house.disks["relayed"])
    has_failed(relayed)
    goes_on(direct)
    house.detach()
    has_failed(direct)
    house.wait_free("direct")
    house.twinhub.start()
    house.server.plug(disk)
    house.wait_free("relayed")
    goes_on(*house.copies())


def test_a_direct_session_whose_worker_died_with_the_daemon_is_freed_by_the_next(house: House) -> None:
    relayed, direct = house.copies(PAUSE)
    worker = house.worker_of("direct")
    house.kill_daemon()
    house.server.run(["kill", "-KILL", worker])
    house.twinhub.start()
    has_failed(direct)
    house.wait_free("direct")
    goes_on(relayed, house.copy("direct"))


def test_network_and_daemon_fail_together_and_both_come_back(house: House, lab: Lab) -> None:
    copies = house.copies()
    lab.network.cut("server", "client")
    house.kill_daemon()
    house.twinhub.start()
    house.wait_free(*KINDS)
    lab.network.heal()
    has_failed(*copies)
    house.wait_disconnected(2)
    goes_on(*house.copies())


def test_an_upgrade_reaches_running_sessions_with_no_unplug(house: House) -> None:
    copies = house.copies(PAUSE)
    house.twinhub.daemon.kill(signal.SIGHUP, group=False)
    assert house.twinhub.daemon.wait() == 0
    goes_on(*copies)
    house.server.run(
        f"sed -i 's/^__version__ = .*/__version__ = \"{ANOTHER_VERSION}\"/' appliance/__init__.py"
    )
    house.twinhub.start()
    house.server.wait_until("test $(pgrep -fc '[a]ppliance.sessions.worker --state') = 2", timeout=120)
    goes_on(*copies)
    assert "disconnect" not in house.client.run("dmesg").stdout
