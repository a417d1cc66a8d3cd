"""Twinhub in a machine, as its operator sees it: a configuration, a daemon, commands."""

from __future__ import annotations

import json
import signal
from typing import Any

from tests.lab.devices import Device
from tests.lab.machine import Machine
from tests.lab.process import Process

Json = dict[str, Any]

CONFIG = "/etc/twinhub/twinhub.toml"
OPEN = """
[listen]
addresses = ["0.0.0.0", "::"]
allow = ["10.77.0.0/24", "fd77::/64"]
"""


class Twinhub:
    """The appliance of `machine`: open to the lab's network, shares what is plugged in as `shares` says.

    `daemon` is its process while it runs; each start is a process of a name of its own.
    """

    daemon: Process

    def __init__(self, machine: Machine, shares: str = "") -> None:
        self.machine = machine
        self.configure(shares)
        machine.run("rm -rf /var/lib/twinhub /run/twinhub")

    def configure(self, shares: str) -> None:
        """Write the file; counts from the next start."""
        self.machine.write_file(CONFIG, OPEN + shares)

    def start(self) -> Twinhub:
        name = f"twinhub {sum(each.startswith('twinhub') for each in self.machine.processes) + 1}"
        self.daemon = self.machine.start(name, "exec twinhub serve")
        self.machine.wait_for_port(3240, timeout=120)
        return self

    def stop(self) -> None:
        """As an operator does: every device is with its own driver afterwards."""
        self.daemon.kill(signal.SIGTERM, group=False)
        assert self.daemon.wait() == 0

    def run(self, words: str) -> str:
        """What a command prints; CommandFailed if it fails."""
        return self.machine.run(f"twinhub {words}").stdout

    def share(self, words: str) -> list[Json]:
        """`twinhub share WORDS`; the exports it made."""
        return list(json.loads(self.run(f"share --json {words}"))["exports"])

    def exports(self) -> list[Json]:
        return list(json.loads(self.run("exports --json")))

    def sessions(self) -> list[Json]:
        return list(json.loads(self.run("sessions --json")))

    def name_of(self, device: Device) -> str:
        """The export's name of a plugged device, as soon as it can be imported."""
        self.wait_available(device)
        return next(str(each["name"]) for each in self.exports() if each["busid"] == device.busid)

    def wait_available(self, device: Device) -> None:
        """Until the kernel's stub has it and nobody uses it."""
        self.machine.wait_until(f"grep -qx 1 /sys/bus/usb/devices/{device.busid}/usbip_status")
