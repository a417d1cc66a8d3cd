"""Two appliances and a client."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.lab.lab import Lab
from tests.lab.machine import Machine

TRIO = ("a", "b", "client")


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
