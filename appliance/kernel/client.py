"""How the unprivileged daemon gets done what only root may do."""

from __future__ import annotations

from typing import Protocol

from appliance.errors import NotPermitted
from appliance.kernel.stub import StubStatus


class Helper(Protocol):
    """The privileged operations; each raises a TwinhubError that says what failed and what to do."""

    async def bind(self, busid: str) -> None:
        """Gives the device to usbip-host; does nothing when it has it already."""

    async def unbind(self, busid: str) -> None:
        """Gives the device back to its own driver, ending a session on it."""

    async def hand_over(self, busid: str, fd: int) -> None:
        """Starts a session of the bound device on a connected SOCK_STREAM socket; the caller keeps its `fd`."""

    async def end(self, busid: str) -> None:
        """Ends the device's session; does nothing when there is none."""

    async def status(self, busid: str) -> StubStatus:
        """NotFound when the device is not bound to usbip-host."""
        ...

    async def load_modules(self) -> None:
        """Loads what exporting needs (usbip-host); Unavailable names the package to install."""


class NoHelper:
    """Stands in where no helper runs, so that gadgets can be served without root."""

    async def bind(self, busid: str) -> None:
        raise self._absent(f"bind {busid}")

    async def unbind(self, busid: str) -> None:
        raise self._absent(f"unbind {busid}")

    async def hand_over(self, busid: str, fd: int) -> None:
        raise self._absent(f"start a session on {busid}")

    async def end(self, busid: str) -> None:
        raise self._absent(f"end the session on {busid}")

    async def status(self, busid: str) -> StubStatus:
        raise self._absent(f"ask the state of {busid}")

    async def load_modules(self) -> None:
        raise self._absent("load kernel modules")

    @staticmethod
    def _absent(wish: str) -> NotPermitted:
        return NotPermitted(
            f"cannot {wish}: that needs root and no helper is running; "
            "start twinhub-helper.service, or run `twinhub serve` as root"
        )
