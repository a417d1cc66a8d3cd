"""How a client's connection to a protected address is guarded: by the gate, which lets out nothing that would
tell the client of more than the backup has.

`{"facts": Facts.to_plain(), "gate": "the path of its socket"}`, in a session's beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from appliance.errors import TwinhubError, Unavailable, UsageError
from appliance.kernel.gate.client import Passage
from appliance.kernel.tcp.state import Facts
from appliance.loop import Ended


class Guard(Protocol):
    """The gate's end of one connection."""

    def commit(self, position: int) -> None:
        """So many of the client's bytes cannot be lost any more, so that they may be acknowledged."""

    def let_go(self) -> None:
        """The connection ends on purpose."""

    def close(self) -> None: ...


class Unguarded:
    """A client that came by an address that is not protected."""

    def commit(self, position: int) -> None:
        pass

    def let_go(self) -> None:
        pass

    def close(self) -> None:
        pass


class Guarded:
    """A connection that the gate knows, the next one too when it was restarted. Without a gate nothing leaves
    it, so its session is over."""

    def __init__(self, facts: Facts, position: int, gate: Path) -> None:
        """As `Passage`, and raises what it does."""
        self._facts, self._gate = facts, gate
        self._passage = Passage(facts, position, gate)

    def commit(self, position: int) -> None:
        try:
            self._passage.commit(position)
        except Unavailable:
            self._renew(position)

    def _renew(self, position: int) -> None:
        self._passage.close()
        try:
            self._passage = Passage(self._facts, position, self._gate)
        except TwinhubError as error:
            raise Ended(str(error)) from None

    def let_go(self) -> None:
        with suppress(TwinhubError):
            self._passage.let_go()

    def close(self) -> None:
        self._passage.close()


def guard_of(facts: Mapping[str, Any], gate: object, position: int = 0) -> Guard:
    """`position`: how many bytes since the facts are committed. Raises Unavailable without a gate."""
    if not facts:
        return Unguarded()
    if not isinstance(gate, str):
        raise UsageError("a guarded session needs the path of the gate's socket")
    return Guarded(Facts.from_plain(facts), position, Path(gate))
