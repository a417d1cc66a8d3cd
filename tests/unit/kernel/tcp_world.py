"""Three machines on a bridge, as network namespaces: a client, and the appliances A and B of one address."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from appliance.errors import Unavailable
from appliance.kernel.gate.client import GateLine
from appliance.kernel.gate.messages import Freeze, Open

ADDRESSES = {4: "10.93.0.100", 6: "fd93::100"}
SUBNETS = {4: ("10.93.0.{}/24", "10.93.0.100/32"), 6: ("fd93::{}/64", "fd93::100/128")}
SECONDS = 30


def why_not() -> str | None:
    """Why such a world cannot be made here."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not (shutil.which("ip") and shutil.which("iptables") and shutil.which("ip6tables")):
        return "ip or iptables is not installed"
    name = f"twt{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "this machine makes no network namespaces"
    rule = "iptables -A OUTPUT -p tcp -j NFQUEUE --queue-num 1"
    done = subprocess.run(["ip", "netns", "exec", name, *rule.split()], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None if done.returncode == 0 else "this kernel has no NFQUEUE"


def run(words: str) -> None:
    subprocess.run(words.split(), check=True, capture_output=True)


def batch(name: str, lines: list[str]) -> None:
    words = ["ip", "-n", name, "-batch", "-"]
    subprocess.run(words, input="\n".join(lines), text=True, check=True, capture_output=True)


def listens(path: str) -> bool:
    try:
        GateLine(Path(path)).close()
    except Unavailable:
        return False
    return True


class World:
    """Ends every process and namespace when it is closed."""

    def __init__(self, folder: Path, version: int = 4) -> None:
        self.folder, self.version = folder, version
        self.address = ADDRESSES[version]
        self._stack = ExitStack()
        self._names = {each: f"tw{os.getpid()}{each}" for each in "cabs"}
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        for name in self._names.values():
            run(f"ip netns add {name}")
            self._stack.callback(run, f"ip netns del {name}")
        switch, nodad = self._names["s"], " nodad" if self.version == 6 else ""
        batch(switch, ["link add br0 type bridge", "link set br0 up"])
        for number, place in enumerate("cab", 1):
            address = SUBNETS[self.version][0].format(number)
            peer = f"link add e0 type veth peer name p{place} netns {switch}"
            up = ["link set lo up", "link set e0 up", f"addr add {address} dev e0{nodad}"]
            batch(self._names[place], [peer, *up])
            batch(switch, [f"link set p{place} master br0 up"])
        self.gates = {place: self._gate(place) for place in "ab"}
        self.move(None, "a")
        self.line("a").ask(Open(self.address))

    def _gate(self, place: str) -> subprocess.Popen[bytes]:
        path = self.gate_path(place)
        gate = self.start(place, "appliance.kernel.gate", "--allow-user", "root", "--socket", path)
        while not listens(path):
            assert gate.poll() is None, "the gate did not start"
            time.sleep(0.01)
        self.line(place).ask(Freeze(self.address))
        return gate

    def gate_path(self, place: str) -> str:
        return str(self.folder / f"{place}.sock")

    def line(self, place: str) -> GateLine:
        line = GateLine(Path(self.gate_path(place)))
        self._stack.callback(line.close)
        return line

    def start(
        self, place: str, module: str, *words: str, fds: tuple[int, ...] = ()
    ) -> subprocess.Popen[bytes]:
        command = ["ip", "netns", "exec", self._names[place], sys.executable, "-m", module, *words]
        child = subprocess.Popen(command, pass_fds=fds)
        self._stack.callback(child.wait)
        self._stack.callback(child.kill)
        return child

    def act(self, place: str, role: str, *words: str, fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        return self.start(place, "tests.unit.kernel.tcp_actors", role, *words, fds=fds)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in ends:
            end.settimeout(SECONDS)
            self._stack.enter_context(end)
        return ends

    def stream(self) -> tuple[socket.socket, socket.socket]:
        ends = socket.socketpair()
        for end in ends:
            self._stack.enter_context(end)
        return ends

    def move(self, before: str | None, after: str) -> None:
        """The virtual address, and the word of it to the others."""
        virtual = SUBNETS[self.version][1]
        if before:
            run(f"ip -n {self._names[before]} addr del {virtual} dev e0")
        nodad = " nodad" if self.version == 6 else ""
        run(f"ip -n {self._names[after]} addr add {virtual} dev e0{nodad}")

    def close(self) -> None:
        self._stack.close()
