"""The pair in namespaces: two appliances with keepalived, a witness, a client; killed, frozen, cut off.

with Twins() as twins, twins.loads() as loads:
    master, backup = twins.pair_up()
    loads.take_in(twins.kill, master)
    ...
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from appliance.api.sites import SOCKET_NAME
from appliance.cli.daemon_client import DaemonClient
from appliance.errors import TwinhubError
from appliance.kernel.spawn import own_place
from tests.namespaces.appliance import Appliance
from tests.namespaces.loads import Disk, Echo, Keys
from tests.namespaces.world import NETWORK, World

VIRTUAL: Final = f"{NETWORK}.100"
KEY: Final = "0123456789abcdef0123456789abcdef"
GROUP: Final = "bench"
WITNESS_LEASE: Final = 4
PATIENCE: Final = 60.0
"""Seconds until what should be is missed."""
LOOK: Final = 0.05
MEDIUM: Final = "stick.img"
MEGABYTES: Final = 4
STICK: Final = f"""
[gadget]
name = "disk"
[[function]]
kind = "disk"
luns = [{{ medium = "{MEDIUM}" }}]
"""
CONFIG: Final = """
[[gadget]]
definition = "./stick.toml"
name = "disk"
[[gadget]]
definition = "keyboard"
[[gadget]]
definition = "./serial.toml"
[pair]
listen = ["{own}"]
allow = ["{network}.0/24"]
[[group]]
name = "{group}"
exports = ["disk", "keyboard", "serial"]
address = "{virtual}/24"
interface = "eth0"
selector = "witness:{witness}:3243,key={folder}/key"
priority = {priority}
targets = ["{client}"]
every = 0.1
hold_down = 1.0
"""
ALONE: Final = ("master", False)
ANYBODY_PINGS: Final = "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range"
"""As systemd sets it."""
NEEDED: Final = ("keepalived", "iptables")
"""Programs, each of a package of its name."""
PRIORITIES: Final = {"a": 150, "b": 100}

Json = dict[str, Any]
T = TypeVar("T")


class Twins:
    """Appliances "a" and "b", paired and protected once this is entered; where they are left, all ends."""

    def __enter__(self) -> Twins:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twins-")))
            self.world = stack.enter_context(World("client", "a", "b", "witness"))
            self.client = self.world["client"]
            self.log = stack.enter_context(open(self.folder / "log", "wb"))
            self._start_witness()
            self.appliances = {name: self._appliance(name) for name in PRIORITIES}
            for appliance in self.appliances.values():
                stack.callback(shutil.rmtree, own_place(appliance.folder / "run"))
                appliance.start()
            self.absent: set[str] = set()
            try:
                self._pair()
            except AssertionError:
                print(self.said())
                raise
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _appliance(self, name: str) -> Appliance:
        node, folder = self.world[name], self.folder / name
        node.run(ANYBODY_PINGS)
        folder.mkdir()
        (folder / "stick.toml").write_text(STICK)
        (folder / MEDIUM).write_bytes(bytes(MEGABYTES << 20))
        config = CONFIG.format(
            own=node.address, network=NETWORK, group=GROUP, virtual=VIRTUAL, folder=self.folder,
            witness=self.world["witness"].address, priority=PRIORITIES[name], client=self.client.address,
        )  # fmt: skip
        return Appliance(node, folder, config, self.log, level="info")

    def _start_witness(self) -> None:
        key = self.folder / "key"
        key.touch(0o600)
        key.write_text(KEY)
        node = self.world["witness"]
        node.python(
            "-m", "appliance.cli.main", "witness", "--listen", f"{node.address}:3243", "--key", str(key),
            "--state", str(self.folder / "witness.json"), "--lease", str(WITNESS_LEASE),
            stdout=self.log, stderr=self.log,
        )  # fmt: skip

    def _pair(self) -> None:
        code = self.wait_for("a code", lambda: self.ask("a", "/api/pair/code"))["code"]
        join = {"host": self.world["a"].address, "code": code}
        self.wait_for("a sibling", lambda: self.ask("b", "/api/pair/join", join))
        self.protected()

    # What is seen of it

    def ask(self, name: str, path: str, body: Json | None = None) -> Json:
        """A POST to this appliance's API."""
        client = DaemonClient(self.appliances[name].folder / "run" / SOCKET_NAME)
        answer: Json = client.post(path, body or {})
        return answer

    def group(self, name: str) -> Json:
        """What this appliance tells of the group; empty if it tells nothing."""
        try:
            told = DaemonClient(self.appliances[name].folder / "run" / SOCKET_NAME).get("/api/pair")
        except TwinhubError:
            return {}
        return told["groups"][0] if told["groups"] else {}

    def groups(self) -> dict[str, Json]:
        return {name: self.group(name) for name in self.appliances if name not in self.absent}

    def master(self) -> str:
        """Waits until one is, and no other thinks it is."""
        return self.wait_for("a master", self._only_master)

    def _only_master(self) -> str | None:
        masters = [name for name, told in self.groups().items() if told.get("role") == "master"]
        return masters[0] if len(masters) == 1 else None

    def protected(self) -> tuple[str, str]:
        """Waits until the pair is in order; master and backup."""

        def in_order() -> tuple[str, str] | None:
            roles = {told.get("role"): name for name, told in self.groups().items() if told.get("protected")}
            return (roles["master"], roles["standby"]) if roles.keys() == {"master", "standby"} else None

        return self.wait_for("a protected pair", in_order)

    def sole(self) -> str | None:
        """Whoever is master without a backup."""
        found = (
            name
            for name, each in self.groups().items()
            if each and (each["role"], each["protected"]) == ALONE
        )
        return next(found, None)

    def becomes_master(self, name: str) -> None:
        self.wait_for(f"{name} as master", lambda: self.group(name).get("role") == "master")

    def wait_for(self, what: str, look: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if found := look():
                    return found
            except TwinhubError:
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"there is not {what}: {self.groups()}")
            time.sleep(LOOK)

    def media(self) -> set[bytes]:
        """The different contents that the disk has on the two."""
        return {(each.folder / MEDIUM).read_bytes() for each in self.appliances.values()}

    def said(self, since: int = 0) -> str:
        """What all of them logged."""
        return (self.folder / "log").read_bytes()[since:].decode(errors="replace")

    # What happens to it

    def kill(self, name: str) -> None:
        """SIGKILL of everything there, as one blow."""
        self.world[name].freeze()
        self.world[name].kill()
        self.absent.add(name)

    def start(self, name: str) -> None:
        if name == "witness":
            self._start_witness()
        else:
            self.appliances[name].start()
            self.absent.discard(name)

    def freeze(self, name: str) -> None:
        self.world[name].freeze()
        self.absent.add(name)

    def thaw(self, name: str) -> None:
        self.world[name].thaw()
        self.absent.discard(name)

    def kill_daemon(self, name: str) -> None:
        """Its sessions go on."""
        daemon = self.appliances[name].daemon
        daemon.kill()
        daemon.wait()

    def heal(self) -> None:
        self.world.heal()

    def stop(self, name: str) -> None:
        """As systemd does for good: the daemon ends in order, and then whatever is left."""
        daemon = self.appliances[name].daemon
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(PATIENCE)
        self.kill(name)

    def kill_keepalived(self, name: str) -> None:
        for pid in self.world[name].pids():
            if Path(f"/proc/{pid}/comm").read_text().strip() == "keepalived":
                os.kill(pid, signal.SIGKILL)

    def cut_off(self, name: str, *others: str) -> None:
        """From these, or from everybody."""
        for other in others or set(self.world.names) - {name}:
            self.world.cut(name, other)

    def switch_over(self) -> tuple[str, str]:
        """By an operator's order, at either of them; master and backup after it."""
        master, backup = self.protected()
        self.wait_for("the order taken", lambda: self.ask(master, "/api/pair/order", SWITCHOVER))
        self.becomes_master(backup)
        return backup, master

    @contextmanager
    def loads(self) -> Iterator[Loads]:
        with (
            Disk(self.client, VIRTUAL, "disk", MEGABYTES) as disk,
            Keys(self.client, VIRTUAL, "keyboard") as keys,
            Echo(self.client, VIRTUAL, "serial") as echo,
        ):
            loads = Loads(self, disk, keys, echo)
            loads.go_on()
            yield loads


SWITCHOVER: Final = {"group": GROUP, "wish": "switchover"}


def missing() -> str | None:
    """What there is not here that a pair needs, or None."""
    absent = [program for program in NEEDED if not shutil.which(program)]
    return f"a pair needs {', '.join(absent)}: apt-get install {' '.join(absent)}" if absent else None


class Loads:
    """A disk, a keyboard and a serial line at work at the virtual address."""

    def __init__(self, twins: Twins, disk: Disk, keys: Keys, echo: Echo) -> None:
        self.twins, self.disk, self.keys, self.echo = twins, disk, keys, echo

    def type(self, name: str, text: str) -> None:
        """At this appliance, which is master. Returns before the client has read it all."""
        self.keys.typed(text)
        self.twins.appliances[name].local("keyboard", {"type_text": text})

    def go_on(self, patience: float = PATIENCE) -> float:
        """Until each has brought more, at whoever is master; the longest gap since `restart`."""
        for load in (self.disk, self.echo):
            load.goes_on(20, patience)
        self.keys.caught_up(patience)
        return max(self.disk.pulse.longest, self.echo.pulse.longest)

    def restart(self) -> None:
        for load in (self.disk, self.echo):
            load.pulse.restart()
