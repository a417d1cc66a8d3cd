"""Two appliances and a client, and a third machine that says which of the two owns what."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.lab.lab import Lab
from tests.lab.machine import Machine

TRIO = ("a", "b", "client")
KEY, KEY_TEXT = "/etc/twinhub/selector.key", "the lab's own selector key"
"""Of every selector in the lab, and where it is."""
WITNESS_PORT = 3243


class Trio:
    """The machines by their names: after a restart the new one is meant."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @property
    def a(self) -> Machine:
        return self.lab.running["a"]

    @property
    def b(self) -> Machine:
        return self.lab.running["b"]

    @property
    def client(self) -> Machine:
        return self.lab.running["client"]

    def new_folder(self) -> Path:
        """That is not there yet, on the host."""
        return Path(tempfile.mkdtemp(dir=self.lab.state)) / "it"

    def tidy(self) -> None:
        """Nothing is cut, plugged, started or off."""
        self.lab.network.heal()
        for name in TRIO:
            if self.lab.running[name].is_off:
                self.lab.restart(name)
            else:
                self.lab.running[name].reset()


def start_witness(machine: Machine, *appliances: Machine) -> str:
    """Runs it, and gives all their key; the selector, as the appliances write it."""
    for each in (machine, *appliances):
        each.write_file(KEY, KEY_TEXT, 0o600)
    place = f"--listen 0.0.0.0:{WITNESS_PORT} --state /root/witness.json"
    machine.start("witness", f"exec twinhub witness {place}")
    machine.wait_for_port(WITNESS_PORT, timeout=120)
    return f"witness:{machine.address}:{WITNESS_PORT}"
