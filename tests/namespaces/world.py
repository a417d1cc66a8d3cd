"""Machines for the price of processes: network namespaces on a switch, cut, killed and frozen at will.

Nothing here has a name that the host could see: namespaces are held by descriptors of this process, and a
janitor (`janitor.py`) ends what runs in them as soon as this process is gone, however it went.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

from tests.namespaces.janitor import end_all, living_in

ROOT: Final = Path(__file__).parents[2]
NEW_NETWORK: Final = 0x40000000
"""CLONE_NEWNET of sched.h."""
BRIDGE: Final = "bridge"
NETWORK: Final = "10.78.0"
ETHERNET_ARP: Final = 0x0806

libc: Final = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace, for as long as this is open."""

    def __init__(self, name: str) -> None:
        self.name = name
        with own_network():
            check(libc.unshare(NEW_NETWORK))
            self.fd = current_network()
            self.inode = os.fstat(self.fd).st_ino
            run("ip link set lo up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """What this thread opens, and the processes it starts, are in here: sockets stay when it leaves."""
        with own_network():
            check(libc.setns(self.fd, NEW_NETWORK))
            yield

    def run(self, command: str) -> str:
        """Its output; OSError with what it said if it fails."""
        with self.inside():
            return run(command)

    def close(self) -> None:
        os.close(self.fd)


class Node(Namespace):
    """A machine: `address` on the switch, the processes started in it."""

    def __init__(self, name: str, number: int, switch: Namespace) -> None:
        super().__init__(name)
        self.address = f"{NETWORK}.{number}"
        self._processes: list[subprocess.Popen[bytes]] = []
        outside = f"/proc/{os.getpid()}/fd/{switch.fd}"
        self.run(f"ip link add eth0 type veth peer name {name} netns {outside}")
        switch.run(f"ip link set dev {name} master {BRIDGE} up")
        self.run(f"ip addr add {self.address}/24 dev eth0 && ip link set eth0 up")

    def start(
        self,
        *command: str,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> subprocess.Popen[bytes]:
        """A program in the background, run from the repository; it writes where we do, unless told."""
        with self.inside():
            process = subprocess.Popen(command, cwd=ROOT, stdin=stdin, stdout=stdout, stderr=stderr)
        self._processes.append(process)
        return process

    def python(
        self,
        *arguments: str,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> subprocess.Popen[bytes]:
        """`start` with this Python: ("-m", "appliance.cli.main", …)."""
        return self.start(sys.executable, *arguments, stdin=stdin, stdout=stdout, stderr=stderr)

    def connect(self, host: str, port: int, timeout: float | None = None) -> socket.socket:
        """A TCP connection of this node, for this process to use."""
        with self.inside():
            return socket.create_connection((host, port), timeout)

    def listen(self, port: int, host: str = "") -> socket.socket:
        with self.inside():
            return socket.create_server((host, port))

    # Failures

    def pids(self) -> list[int]:
        return living_in({self.inode})

    def kill(self) -> None:
        """SIGKILL to every process in here, whoever started it; when this returns they are gone."""
        end_all({self.inode})
        for process in self._processes:
            process.wait()
        self._processes.clear()

    def freeze(self) -> None:
        """SIGSTOP to all of them, as to a machine that hangs and comes back; the kernel's part goes on."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    # Addresses

    def add_address(self, address: str) -> None:
        """Take an address (a takeover's, so without the kernel asking whose it is), and tell the network."""
        self.run(f"ip addr add {address}/32 dev eth0")
        self.announce(address)

    def remove_address(self, address: str) -> None:
        self.run(f"ip addr del {address}/32 dev eth0")

    def announce(self, address: str) -> None:
        """A gratuitous ARP request."""
        with self.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("eth0", ETHERNET_ARP))
            mac, everyone, ip = raw.getsockname()[4], b"\xff" * 6, socket.inet_aton(address)
            request = bytes.fromhex("0001 0800 06 04 0001") + mac + ip + bytes(6) + ip
            raw.send(everyone + mac + ETHERNET_ARP.to_bytes(2, "big") + request)


class World:
    """`with World("client", "a", "b") as world: world["a"].run("ip addr")`; names are interfaces' too."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __enter__(self) -> World:
        with ExitStack() as stack:
            switch = self._switch = Namespace("switch")
            stack.callback(switch.close)
            switch.run(
                f"ip link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0 && "
                f"ip link set {BRIDGE} up && nft add table bridge lab && "
                "nft 'add chain bridge lab cuts { type filter hook forward priority 0; }'"
            )
            self.nodes: dict[str, Node] = {}
            for number, name in enumerate(self.names, start=1):
                self.nodes[name] = Node(name, number, switch)
                stack.callback(self.nodes[name].close)
            stack.callback(self._end_processes, start_janitor(node.inode for node in self.nodes.values()))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def cut(self, source: str, destination: str, one_way: bool = False) -> None:
        """Frames from `source` to `destination` vanish; the other way too unless `one_way`."""
        ways = [(source, destination)] + ([] if one_way else [(destination, source)])
        for one, other in ways:
            self._switch.run(f'nft \'add rule bridge lab cuts iifname "{one}" oifname "{other}" drop\'')

    def heal(self) -> None:
        """All links carry again."""
        self._switch.run("nft flush chain bridge lab cuts")

    def _end_processes(self, janitor: subprocess.Popen[bytes]) -> None:
        for node in self.nodes.values():
            node.kill()
        janitor.communicate()


def start_janitor(inodes: Iterable[int]) -> subprocess.Popen[bytes]:
    program = (sys.executable, "-I", "-S", str(Path(__file__).with_name("janitor.py")))
    return subprocess.Popen(
        [*program, *map(str, inodes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def why_not() -> str | None:
    """Why there can be no World here, or None."""
    if os.geteuid() != 0:
        return "namespaces need root"
    try:
        with World("probe"):
            return None
    except OSError as error:
        return f"this machine has no namespaces, bridges or nftables for us: {error}"


@contextmanager
def own_network() -> Iterator[None]:
    """Whatever namespace this thread enters meanwhile, afterwards it is where it was."""
    before = current_network()
    try:
        yield
    finally:
        check(libc.setns(before, NEW_NETWORK))
        os.close(before)


def current_network() -> int:
    """A descriptor of this thread's namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def run(command: str) -> str:
    done = subprocess.run(["/bin/sh", "-ec", command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{command}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
