"""What stands beside a function, outside the state machine: a pty, a TCP port, a script.

A companion does the input and output that a function may not. It hears the function's events and gives it
local inputs; both are part of the recorded sequence, so that a replay needs no companion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Flow:
    """What an event is that only moves data on: for the companion alone, if there is one."""

    __slots__ = ()


class Reactor(Protocol):
    """Readiness of descriptors, as `appliance.loop.Loop` has it: epoll's event bits."""

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None: ...
    def want(self, fd: int, events: int) -> None: ...
    def forget(self, fd: int) -> None: ...


class Companion(Protocol):
    """Never blocks; bounds what it holds."""

    def start(self, reactor: Reactor, give: Callable[[object], None]) -> None:
        """Open what it needs, or raise a TwinhubError. `give(input)` is a local input to its function, at any
        later time, also while it hears; it raises what `Function.local` raises."""

    def hear(self, event: object) -> None:
        """Something its function told."""

    def stats(self) -> dict[str, object]:
        """For the operator: where it is (the pty's path, the port) and what it moved."""
        return {}

    def close(self) -> None:
        """Give everything back."""
