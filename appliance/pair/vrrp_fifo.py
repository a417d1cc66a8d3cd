"""What keepalived says into its notify FIFO: bytes in, transitions out; no I/O here.

A line is `INSTANCE "bench" MASTER 150`; that of a sync group, `GROUP "…" …`, is none of ours. See "notify
FIFO" in keepalived.conf(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LONGEST_LINE: Final = 256


class State(StrEnum):
    """What keepalived says an instance is."""

    MASTER = "MASTER"
    BACKUP = "BACKUP"
    FAULT = "FAULT"
    STOP = "STOP"


@dataclass(frozen=True, slots=True)
class Transition:
    group: str
    state: State
    priority: int


class Transitions:
    """Cuts what was read into transitions, in their order. A line that is none, or too long, is left out."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_skipping = False

    def feed(self, data: bytes) -> list[Transition]:
        *lines, rest = (self._rest + data).split(b"\n")
        if lines and self._is_skipping:
            del lines[0]
            self._is_skipping = False
        if len(rest) > LONGEST_LINE or self._is_skipping:
            rest, self._is_skipping = b"", True
        self._rest = rest
        return [made for line in lines if (made := transition(line))]


def transition(line: bytes) -> Transition | None:
    """The transition that one line tells of."""
    found = _LINE.fullmatch(line) if len(line) <= LONGEST_LINE else None
    return Transition(found[1].decode(), State(found[2].decode()), int(found[3])) if found else None


_LINE: Final = re.compile(rb'INSTANCE "([!#-~]{1,64})" (MASTER|BACKUP|FAULT|STOP) (\d{1,3})')
