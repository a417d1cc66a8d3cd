"""One virtual machine: QEMU as a child process, its agent, its USB ports."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.lab.channel import Agent, Message, Qmp
from tests.lab.devices import Device, Hub
from tests.lab.errors import CommandFailed, DeadlinePassed, LabError, MachineDied
from tests.lab.kernel import Kernel
from tests.lab.process import Process
from tests.lab.qemu import HIGH_SPEED_PORTS, SUPER_SPEED_PORTS, Init, command_line

Command = str | Sequence[str]
"""A string is a shell script that ends at its first failure; a sequence is a program and its arguments."""

D = TypeVar("D", bound=Device)

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
}
BOOT_SECONDS = 120
TYPING_MILLISECONDS = 20


@dataclass(frozen=True)
class Result:
    stdout: str
    stderr: str
    code: int

    def __str__(self) -> str:
        return f"code {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


class Machine:
    """Boots from its creation on; `wait_booted` waits for that. `number` makes its addresses."""

    def __init__(
        self,
        name: str,
        number: int,
        state: Path,
        kernel: Kernel,
        cable: socket.socket,
        memory: str,
        init: Init,
    ) -> None:
        self.name, self.number, self.state = name, number, state
        self.address, self.address6 = f"10.77.0.{number}", f"fd77::{number}"
        self.plugged: list[Device] = []
        self.processes: dict[str, Process] = {}
        self.frozen, self.is_off = False, False
        self._changed = threading.Condition()
        self._ready, self._gone, self._deleted, self._devices = False, False, set[str](), 0
        state.mkdir(parents=True)
        (state / "initramfs").write_bytes(kernel.initramfs())
        agent, its_agent = socket.socketpair()
        qmp, its_qmp = socket.socketpair()
        with its_agent, its_qmp, cable, (state / "qemu.log").open("wb") as log:
            fds = {"agent": its_agent.fileno(), "qmp": its_qmp.fileno(), "net": cable.fileno()}
            self._qemu = subprocess.Popen(
                command_line(kernel, state, number, memory, init, fds),
                pass_fds=tuple(fds.values()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.agent = Agent(agent, self._on_event, f"{name}'s agent")
        self.qmp = Qmp(qmp, self._on_event, f"{name}'s QEMU")

    def wait_booted(self, hosts: Mapping[str, str]) -> None:
        """Wait for the agent, then give the machine its name, its addresses and the names of `hosts`."""
        self.wait(lambda: self._ready, BOOT_SECONDS, "boot")
        self.qmp.execute("qmp_capabilities")
        self.write_file("/etc/hosts", "".join(f"{address} {name}\n" for name, address in hosts.items()))
        self.run(
            f"hostname {self.name}; ip link set eth0 up; "
            f"ip addr add {self.address}/24 dev eth0; ip addr add {self.address6}/64 dev eth0 nodad"
        )

    # Commands and files

    def run(
        self,
        command: Command,
        *,
        check: bool = True,
        timeout: float = 60,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | str = ROOT,
    ) -> Result:
        """Run to the end; CommandFailed if the code is not 0. Not UTF-8? Decoded with surrogateescape."""
        how = how_to_run(command, env, cwd)
        done = Result(**self.agent.call("run", timeout + 30, **how, stdin=stdin, seconds=timeout))
        if check and done.code != 0:
            raise CommandFailed(f"{self.name}: {command}: {done}")
        return done

    def start(
        self, name: str, command: Command, *, env: Mapping[str, str] | None = None, cwd: Path | str = ROOT
    ) -> Process:
        """Start in the background; its output is kept, and shown when the test fails."""
        process = Process(self, name)
        with self._changed:
            self.processes[name] = process
        self.agent.call("start", name=name, **how_to_run(command, env, cwd))
        return process

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Signal a started process and its process group."""
        self.processes[name].kill(number)

    def wait_until(self, command: Command, timeout: float = 30) -> Result:
        """Wait until a command succeeds (polled in the machine); DeadlinePassed with its last output."""
        how = how_to_run(command, None, ROOT)
        last = Result(**self.agent.call("wait_until", 2 * timeout + 30, **how, seconds=timeout))
        if last.code != 0:
            raise DeadlinePassed(f"{self.name}: not within {timeout} s: {command}: {last}")
        return last

    def wait_for_port(self, port: int, timeout: float = 30) -> None:
        """Wait until something listens on a TCP port; makes no connection."""
        if not self.agent.call("wait_for_port", timeout + 30, port=port, seconds=timeout):
            raise DeadlinePassed(f"{self.name}: nothing listens on port {port} after {timeout} s")

    def read_file(self, path: str) -> bytes:
        return base64.b64decode(self.agent.call("read_file", path=path))

    def write_file(self, path: str, data: str | bytes, mode: int = 0o644) -> None:
        """Write a file, and the folders it needs; it stays in this machine."""
        content = base64.b64encode(data.encode() if isinstance(data, str) else data).decode()
        self.agent.call("write_file", path=path, data=content, mode=mode)

    # USB

    def plug(self, device: D, behind: Hub | None = None) -> D:
        """Plug in, and wait until the kernel has configured it and its drivers have been loaded."""
        for each in self.insert(device, behind):
            configured = f"test -s /sys/bus/usb/devices/{each.busid}/bConfigurationValue"
            self.wait_until(f"{configured} && udevadm settle")
        return device

    def insert(self, device: Device, behind: Hub | None = None) -> list[Device]:
        """Plug in, a hub with all behind it, and leave the rest to the kernel; what is plugged now."""
        self._devices += 1
        device.id = f"usb{self._devices}"
        device.port = self._free_port(device, behind)
        properties = device.back(self) | ({"serial": device.serial} if device.serial else {})
        self.qmp.execute(
            "device_add", driver=device.driver, id=device.id, bus="usb.0", port=device.port, **properties
        )
        self.plugged.append(device)
        if not isinstance(device, Hub):
            return [device]
        return [device, *(each for child in device.devices for each in self.insert(child, behind=device))]

    def unplug(self, device: D) -> D:
        """Pull out, a hub with all behind it, and wait until QEMU has let go; it can be plugged in again.

        Of a frozen machine it is gone too: before that does anything else.
        """
        going = [each for each in self.plugged if f"{each.port}.".startswith(f"{device.port}.")]
        for each in going:
            self.plugged.remove(each)
        if self.frozen:
            self.qmp.tell({"execute": "device_del", "arguments": {"id": device.id}})
        elif not self.is_off:
            self.qmp.execute("device_del", id=device.id)
            ids = {each.id for each in going}
            self.wait(lambda: self._deleted >= ids, 30, f"QEMU to unplug {device}")
            for each in going:
                each.clear(self)
        return device

    def node(self, where: Device | str, pattern: str, timeout: float = 30) -> str:
        """Wait for the /dev node of the /sys/class/`pattern` that is part of a device.

        `where`: a plugged device, or a part of a sysfs path: a busid, "vhci_hcd.0".
        `pattern`: "block/sd*", "input/event*", "tty/ttyUSB*", "sound/pcm*p".
        """
        part = where.busid if isinstance(where, Device) else where
        found = self.agent.call("find_node", timeout + 30, where=part, pattern=pattern, seconds=timeout)
        if found is None:
            raise DeadlinePassed(f"{self.name}: no {pattern} in {part} after {timeout} s")
        return str(found)

    def type_keys(self, *keys: str) -> None:
        """Press and release, one after another: "a", "ret", "shift-b" (names: QEMU's QKeyCode)."""
        for key in keys:
            chord = [{"type": "qcode", "data": name} for name in key.split("-")]
            self.qmp.execute("send-key", **{"keys": chord, "hold-time": TYPING_MILLISECONDS})

    def point(self, x: int, y: int) -> None:
        """Move the tablet's pointer; 0 to 32767 each way."""
        events = [{"type": "abs", "data": {"axis": axis, "value": at}} for axis, at in (("x", x), ("y", y))]
        self.qmp.execute("input-send-event", events=events)

    def heard(self) -> bytes:
        """The WAV file of what the machine's sound cards have played."""
        return (self.state / "heard.wav").read_bytes()

    # Life and death

    @property
    def pid(self) -> int:
        return self._qemu.pid

    @property
    def console(self) -> str:
        """What kernel and QEMU have printed."""
        files = (self.state / name for name in ("qemu.log", "console.log"))
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def freeze(self) -> None:
        """Stop the machine dead, its clock too; to others it looks like a hang."""
        self.frozen = True
        self._qemu.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._qemu.send_signal(signal.SIGCONT)
        self.frozen = False

    def power_off(self) -> None:
        """Pull the mains plug."""
        self.is_off = True
        self._qemu.kill()
        self._qemu.wait()
        self.agent.close()
        self.qmp.close()

    def reset(self) -> None:
        """Unplug all devices, kill all started processes, clear dmesg; modules and written files stay."""
        self.thaw()
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.processes.clear()
        for device in [each for each in self.plugged if "." not in each.port]:
            self.unplug(device)
        self.run("dmesg --clear")

    def report(self) -> dict[str, str]:
        """What a person wants to see of this machine when a test has failed, by title."""
        try:
            dmesg = self.run("dmesg", timeout=5).stdout
        except LabError as error:
            dmesg = str(error)
        logs = {f"{self.name}: {process.name}": process.output for process in self.processes.values()}
        return {f"{self.name}: console": self.console, f"{self.name}: dmesg": dmesg} | logs

    def wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait for what events bring; MachineDied or DeadlinePassed, with the console, if they do not."""
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._gone, timeout)
            if condition():
                return
        story = f"{self.name}: waited for {what}; console:\n{self.console[-4000:]}"
        raise MachineDied(story) if self._gone else DeadlinePassed(f"{timeout} s: {story}")

    def _on_event(self, event: Message) -> None:
        with self._changed:
            match event:
                case {"event": "ready"}:
                    self._ready = True
                case {"event": "gone"}:
                    self._gone = True
                case {"event": "output", "name": name, "text": text} if name in self.processes:
                    # What a daemon's children say after it was tidied away is nobody's.
                    self.processes[name].output += text
                case {"event": "exit", "name": name, "code": code}:
                    self.processes[name].code = code
                case {"event": "DEVICE_DELETED", "data": {"device": device}}:
                    self._deleted.add(device)
            self._changed.notify_all()

    def _free_port(self, device: Device, behind: Hub | None) -> str:
        taken = {each.port for each in self.plugged}
        if behind:
            ports = [f"{behind.port}.{number}" for number in range(1, 9)]
        else:
            ports = [str(number) for number in (SUPER_SPEED_PORTS if device.superspeed else HIGH_SPEED_PORTS)]
        return next(port for port in ports if port not in taken)


def how_to_run(command: Command, env: Mapping[str, str] | None, cwd: Path | str) -> dict[str, Any]:
    argv = ["/bin/sh", "-ec", command] if isinstance(command, str) else [os.fspath(word) for word in command]
    return {"argv": argv, "env": ENVIRONMENT | dict(env or {}), "cwd": os.fspath(cwd)}
