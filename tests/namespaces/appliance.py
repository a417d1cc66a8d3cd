"""The appliance in a namespace: a daemon with its own folders, and inputs for its gadgets."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import IO, Any

from appliance.errors import TwinhubError
from appliance.usbip.client import list_exports
from tests.namespaces.loads import ECHO, PATIENCE, POLL
from tests.namespaces.world import NETWORK, Node

CONFIG = """
[listen]
addresses = ["0.0.0.0"]
allow = ["{network}.0/24"]
[paths]
runtime = "{folder}/run"
state = "{folder}/state"
[log]
level = "{level}"
"""
SERIAL = """
[gadget]
name = "serial"
[[function]]
kind = "serial"
connect = "script:echo.toml"
"""
GADGETS = """
[[gadget]]
definition = "usb-stick"
name = "disk"
[[gadget]]
definition = "keyboard"
[[gadget]]
definition = "./serial.toml"
"""
"""What the loads use: "disk", "keyboard", "serial"."""


class Appliance:
    """`folder` is its own, and its name short: sockets are in it."""

    daemon: subprocess.Popen[bytes]

    def __init__(
        self,
        node: Node,
        folder: Path,
        config: str = GADGETS,
        log: IO[bytes] | None = None,
        level: str = "warning",
    ) -> None:
        self.node, self.folder, self.log = node, folder, log
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "echo.toml").write_text(ECHO)
        (folder / "serial.toml").write_text(SERIAL)
        common = CONFIG.format(network=NETWORK, folder=folder, level=level)
        (folder / "twinhub.toml").write_text(common + config)

    def start(self) -> Appliance:
        command = ("-m", "appliance.cli.main", "serve", "--config", f"{self.folder}/twinhub.toml")
        self.daemon = self.node.python(*command, stdout=self.log, stderr=self.log)
        return self

    def wait_for(self, *names: str, patience: float = PATIENCE) -> None:
        """Until these can be imported."""
        deadline = time.monotonic() + patience
        while not self.exports() >= set(names):
            assert self.daemon.poll() is None, f"the daemon of {self.node.name} has ended"
            assert time.monotonic() < deadline, f"{self.node.name} has {self.exports()} only"
            time.sleep(POLL)

    def exports(self) -> set[str]:
        try:
            with self.node.inside():
                return {each.busid for each in list_exports(self.node.address)}
        except TwinhubError:
            return set()

    def local(self, gadget: str, input: dict[str, Any]) -> None:
        """A local input, at the gadget's own socket: has been taken when this returns."""
        with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rb") as answers:
            sock.connect(f"{self.folder}/run/gadgets/{gadget}.sock")
            sock.sendall(json.dumps({"op": "local", "input": input}).encode() + b"\n")
            answer = json.loads(answers.readline())
        assert "ok" in answer, answer
