"""The lab: boots machines side by side on a network of their own, and leaves nothing behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.kernel import Kernel
from tests.lab.machine import Machine
from tests.lab.network import Network
from tests.lab.qemu import Init


class Lab:
    """`with Lab() as lab, lab.machines("server", "client") as (server, client): …`"""

    def __init__(self) -> None:
        kernel = Kernel.find()
        if kernel is None:
            raise LabError("no kernel unpacked: run `python -m tests.lab.setup` (make lab does)")
        self.kernel, self.running = kernel, dict[str, Machine]()
        self._boots = dict[str, tuple[str, Init]]()

    def __enter__(self) -> Lab:
        with ExitStack() as stack:
            self.state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twinhub-lab-")))
            self.network = Network()
            stack.callback(self.network.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def machines(
        self, *names: str, memory: str = "1G", init: Init = "agent"
    ) -> Iterator[tuple[Machine, ...]]:
        """Boot machines side by side; they know each other, and those already running, by name."""
        with ExitStack() as stack:
            for name in names:
                self._boot(name, memory, init)
                stack.callback(self._power_off, name)
            hosts = self._hosts()
            machines = tuple(self.running[name] for name in names)
            with ThreadPoolExecutor(len(names)) as pool:
                list(pool.map(lambda machine: machine.wait_booted(hosts), machines))
            yield machines

    def restart(self, name: str) -> Machine:
        """Pull the mains plug and put it back: the machine anew, with nothing in it that was there before."""
        memory, init = self._boots[name]
        self._power_off(name)
        self._boot(name, memory, init)
        self.running[name].wait_booted(self._hosts())
        return self.running[name]

    def _hosts(self) -> dict[str, str]:
        return {"localhost": "127.0.0.1"} | {each.name: each.address for each in self.running.values()}

    def _boot(self, name: str, memory: str, init: Init) -> None:
        if name in self.running:
            raise LabError(f"{name} is running already: take another name")
        # From this thread, not from the pool's: QEMU dies with the thread that started it (PR_SET_PDEATHSIG).
        used = {machine.number for machine in self.running.values()}
        number = next(number for number in range(1, 255) if number not in used)
        state = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.state)) / "machine"
        cable = self.network.connect(name)
        self._boots[name] = memory, init
        self.running[name] = Machine(name, number, state, self.kernel, cable, memory, init)

    def _power_off(self, name: str) -> None:
        self.running.pop(name).power_off()
