"""The reference arbiter on the host, between the second serial ports of two machines, turning a hub's switch.

To the machines, which get its key, it is `arbiter:/dev/ttyS1`.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.lab.errors import DeadlinePassed
from tests.lab.line import Line
from tests.lab.machine import ROOT, Machine
from tests.lab.qemu import UART
from tests.lab.shared_hub import SharedHub
from tests.lab.trio import KEY, KEY_TEXT

MACHINE_END, ARBITER_END = 0, 1
PATIENCE = 30.0
POLL = 0.05


class Arbiter:
    """Runs from its creation to `close`. `lease`: seconds, as in `twinhub arbiter --lease`."""

    def __init__(self, folder: Path, hub: SharedHub, lease: float = 5.0) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._lines: dict[str, Line] = {}
        key = folder / "key"
        key.write_text(KEY_TEXT)
        key.chmod(0o600)
        places = [word for side in hub.machines for word in (f"--{side}", f"unix:{self._place(side)}")]
        options = ("--key", str(key), "--state", str(folder / "state"), "--lease", str(lease))
        program = (sys.executable, "-m", "appliance.cli.main", "arbiter", *places, *options)
        self._process = subprocess.Popen([*program, "--switch", hub.command], cwd=ROOT)
        for side, machine in hub.machines.items():
            self.connect(side, machine)

    def connect(self, side: str, machine: Machine) -> None:
        """Its serial port, from now on: after a restart it is another one."""
        if before := self._lines.pop(side, None):
            before.close()
        place = machine.state / UART
        place.unlink(missing_ok=True)
        line = self._lines[side] = Line()
        line.plug(ARBITER_END, reach(self._place(side)))
        with socket.create_server(str(place), family=socket.AF_UNIX) as listener:
            listener.settimeout(PATIENCE)
            line.plug(MACHINE_END, listener.accept()[0])
        machine.write_file(KEY, KEY_TEXT, 0o600)

    def cut(self, side: str, from_machine: bool = True, from_arbiter: bool = True) -> None:
        """What one of them says to the other, or both, is lost."""
        for end, lost in ((MACHINE_END, from_machine), (ARBITER_END, from_arbiter)):
            if lost:
                self._lines[side].cut(end)

    def heal(self) -> None:
        for line in self._lines.values():
            line.heal()

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        for line in self._lines.values():
            line.close()

    def _place(self, side: str) -> Path:
        return self._folder / side


def reach(place: Path) -> socket.socket:
    """As soon as somebody listens there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(place))
            return sock
        except OSError as error:
            sock.close()
            if time.monotonic() > deadline:
                raise DeadlinePassed(f"nobody listens at {place}: {error}") from error
            time.sleep(POLL)
