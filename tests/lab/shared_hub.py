"""A hub with a keyboard, a disk and a serial adapter, whose cable a switch gives to one of two machines.

The switch is all that moves it, as a multiplexer does: at once, whatever the machines are doing, frozen or
dead ones too. What hangs on the hub is outside of both machines, and cut off from the one that loses it: a
disk image behind a server that is killed, a serial line that hangs up.

    hub.turn("a")                  # "none", "a" or "b"
    twinhub arbiter … --switch '{hub.command}'
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab.devices import Disk, Hub, Keyboard, SerialAdapter
from tests.lab.errors import LabError
from tests.lab.line import Line
from tests.lab.machine import Machine

NOWHERE = "none"
MACHINE_END, FAR_END = 0, 1
PATIENCE, POLL = 30.0, 0.01


class OutsideDisk(Disk):
    """Its image is read and written by a server, one for each time it is plugged in."""

    def __init__(self, folder: Path, serial: str, size: int = 64 << 20) -> None:
        super().__init__(size, folder / "shared.raw", serial=serial)
        self._sockets = (folder / f"disk-{number}" for number in range(1 << 16))
        with (folder / "shared.raw").open("wb") as image:
            image.truncate(size)
        self._serving: subprocess.Popen[bytes] | None = None
        self._make_spare()

    def back(self, machine: Machine) -> dict[str, Any]:
        self._serving, place = self._spare
        wait_for(place)
        self._make_spare()
        server = {"type": "unix", "path": str(place)}
        machine.qmp.execute(
            "blockdev-add", **{"node-name": f"{self.id}-image", "driver": "nbd", "server": server}
        )
        return {"drive": f"{self.id}-image"}

    def cut_off(self) -> None:
        if self._serving:
            end(self._serving)
            self._serving = None

    def close(self) -> None:
        self.cut_off()
        end(self._spare[0])

    def _make_spare(self) -> None:
        """The next one is ready before it is needed: a switch is quick."""
        place = next(self._sockets)
        image = f"driver=raw,file.driver=file,file.locking=off,file.filename={self.path}"
        command = (
            "setpriv",
            "--pdeathsig",
            "KILL",
            "qemu-nbd",
            "--image-opts",
            image,
            "--socket",
            str(place),
        )
        self._spare = subprocess.Popen(command), place


class OutsideAdapter(SerialAdapter):
    """`socket` is the far end of its line for good: what is sent while nobody has the adapter waits."""

    def __init__(self, serial: str) -> None:
        super().__init__(serial=serial)
        self.line = Line()
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(30)
        self.line.plug(FAR_END, theirs)

    def ends_at(self, near: socket.socket) -> None:
        self.line.plug(MACHINE_END, near)

    def cut_off(self) -> None:
        self.line.plug(MACHINE_END, None)

    def close(self) -> None:
        self.line.close()
        self.socket.close()


class SharedHub:
    """`machines`: by the positions of the switch. It begins at nobody's."""

    def __init__(self, folder: Path, machines: Mapping[str, Machine]) -> None:
        folder.mkdir(parents=True)
        self.machines, self.position = dict(machines), NOWHERE
        self.keyboard = Keyboard(serial="KEYS")
        self.disk = OutsideDisk(folder, "DISK")
        self.adapter = OutsideAdapter("LINE")
        self.hub = Hub(self.keyboard, self.disk, self.adapter)
        self.turns: list[str] = []
        """The positions it has had."""
        self._turning = threading.Lock()
        self._place = folder / "switch"
        self._listener = socket.create_server(str(self._place), family=socket.AF_UNIX)
        self._thread = threading.Thread(target=self._obey, name="switch", daemon=True)
        self._thread.start()

    @property
    def command(self) -> str:
        """A program of this machine that turns the switch; its argument is the position."""
        return f"{sys.executable} -I -S {Path(__file__).with_name('switch.py')} {self._place}"

    @property
    def owner(self) -> Machine | None:
        return self.machines.get(self.position)

    def turn(self, position: str) -> None:
        """To a machine, or to "none". Done when the cable is there; the kernel may take its time."""
        if position != NOWHERE and position not in self.machines:
            raise LabError(f"the switch has no position {position!r}")
        with self._turning:
            if position == self.position:
                return
            if owner := self.owner:
                self._take_from(owner)
            self.position = NOWHERE
            if position != NOWHERE:
                self.machines[position].insert(self.hub)
            self.position = position
            self.turns.append(position)

    def replace(self, position: str, machine: Machine) -> None:
        """After a restart it is another machine at this end of the switch."""
        self.machines[position] = machine

    def close(self) -> None:
        self.turn(NOWHERE)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.disk.close()
        self.adapter.close()

    def _take_from(self, owner: Machine) -> None:
        if owner.frozen or owner.is_off:
            self._cut_off()
        owner.unplug(self.hub)
        self._cut_off()

    def _cut_off(self) -> None:
        self.disk.cut_off()
        self.adapter.cut_off()

    def _obey(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                try:
                    self.turn(sock.recv(64).decode())
                    sock.sendall(b"ok")
                except LabError as error:
                    sock.sendall(str(error).encode())


def wait_for(place: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not place.exists():
        if time.monotonic() > deadline:
            raise LabError(f"nothing serves {place}")
        time.sleep(POLL)


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
