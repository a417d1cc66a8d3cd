"""A background process in a machine, and what it has said so far."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.machine import Machine


class Process:
    """`output`: stdout and stderr, as they came; `code`: None while it runs."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine, self.name = machine, name
        self.output, self.code = "", None

    output: str
    code: int | None

    def wait(self, timeout: float = 60) -> int:
        """Its exit code; DeadlinePassed if it runs on."""
        self.machine.wait(lambda: self.code is not None, timeout, f"{self.name} to end")
        assert self.code is not None
        return self.code

    def wait_for_output(self, text: str, timeout: float = 60) -> None:
        """Wait until it has said `text`."""
        self.machine.wait(
            lambda: text in self.output or self.code is not None, timeout, f'{self.name} to say "{text}"'
        )
        assert text in self.output, (
            f'{self.name} ended with {self.code} and never said "{text}":\n{self.output}'
        )

    def kill(self, number: int = signal.SIGKILL, group: bool = True) -> None:
        """Signal it and its process group, or (`group=False`) it alone."""
        self.machine.agent.call("kill", name=self.name, number=number, group=group)
