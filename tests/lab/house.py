"""Two shared disks, one of each kind of session, and the client that uses them: where things fail, and go on.

Every story ends the same way: the client lets go, and nothing is left behind but what was there before. The
daemon lives from story to story, unless it is killed in one; at the end of all it is stopped.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.devices import Disk
from tests.lab.machine import Machine
from tests.lab.process import Process
from tests.lab.twinhub import Twinhub
from tests.lab.verified_copy import start_copy

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
serial = "IDLE-RELAYED"
name = "idle-relayed"
mode = "relayed"

[[share]]
serial = "IDLE-DIRECT"
name = "idle-direct"
mode = "direct"

[[share]]
serial = "SERIAL"
name = "serial"
"""
KINDS = ("relayed", "direct")
PAUSE = 1.0
"""Between rounds of a copy, where a new daemon needs the processor."""
SECONDS_UNTIL_FREE = 15

NO_WORKER = "test $(pgrep -fc '[a]ppliance.sessions.(nursery|worker)') -le 1"
"""Only the nursery is left; with no daemon, nothing."""
IMPORTED = "ls -d /sys/devices/platform/vhci_hcd.0/usb*/*-* | grep -v :"


class House:
    """The server with two shared disks, and the client that uses them."""

    def __init__(self, server: Machine, client: Machine) -> None:
        self.server, self.client = server, client
        self.twinhub = Twinhub(server, SHARES)
        self.disks = {name: server.plug(Disk(serial=name.upper())) for name in KINDS}
        client.run("modprobe vhci-hcd")
        self.twinhub.start()

    @contextmanager
    def story(self) -> Iterator[None]:
        for disk in self.disks.values():
            if disk not in self.server.plugged:
                self.server.plug(disk)
        if self.twinhub.daemon.code is not None:
            self.twinhub.start()
        self.wait_free(*KINDS)
        self.client.run("dmesg --clear")
        yield
        self.detach()
        self.client.wait_until(f"! {IMPORTED}")
        self.wait_free(*(name for name in KINDS if self.disks[name] in self.server.plugged))
        self.server.wait_until(NO_WORKER)
        for machine in (self.server, self.client):
            machine.run("! ps -eo stat,args | grep '^D'")

    def close(self) -> None:
        """Every device is with its own driver, no session and no worker is left."""
        assert {export["state"] for export in self.twinhub.exports()} <= {"available"}
        self.twinhub.stop()
        for disk in self.disks.values():
            if disk in self.server.plugged:
                self.server.node(disk, "block/sd*")
        self.server.run(f'test -z "$(ls /run/twinhub/sessions)"; {NO_WORKER}')

    def use(self, name: str) -> None:
        # The stock client fails while a device that it attached before is still being enumerated.
        self.client.wait_until(f"usbip attach -r server -b {name}")

    def attach(self, name: str) -> str:
        """The disk's node at the client."""
        self.use(name)
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
