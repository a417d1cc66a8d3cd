"""A serial port that answers from a table, like expect: what is received → what is sent.

    start = "login: "               # optional: sent when the host raises DTR

    [[rule]]
    when = "(\\w+)\\r"                # a regular expression, looked for in what was received
    send = "hello \\1\\r\\n"           # may name its groups
    once = true                     # optional: then the rule is spent, until DTR is raised again

The earliest match counts, of several there the first rule's, and everything up to its end is done with.
"""

from __future__ import annotations

import re
import tomllib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ConfigError, Unavailable
from gadgets.serial.companions.link import Link
from gadgets.serial.line import SetLines
from gadgets.usb.companion import Reactor
from gadgets.usb.records import from_plain

MAX_LOOKED_AT = 2048
"""Bytes received that no rule has matched; older ones are forgotten."""
PORTION = 512
"""Bytes looked at together: what a rule's search may cost is bounded by both."""
MAX_ANSWER = 16 << 10


@dataclass(frozen=True, slots=True)
class Rule:
    when: str
    send: str
    once: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    start: str = ""
    rule: tuple[Rule, ...] = ()


class Dialogue:
    """The table at work, sans I/O."""

    def __init__(self, table: Table, where: str) -> None:
        """Raises ConfigError."""
        self.start = table.start.encode()
        self._rules = [_compiled(number, rule, where) for number, rule in enumerate(table.rule, 1)]
        self._once = {number for number, rule in enumerate(table.rule) if rule.once}
        self.begin()

    def begin(self) -> bytes:
        """What to say first; all rules count again."""
        self._spent: set[int] = set()
        self._seen = b""
        return self.start

    def hear(self, data: bytes) -> None:
        """What no rule has matched by now and is too old is forgotten."""
        self._seen = self._seen[-MAX_LOOKED_AT:] + data

    def answer(self) -> bytes | None:
        """To what was heard; None: no rule matches any more."""
        found = [
            (match.start(), number, match)
            for number, (pattern, _) in enumerate(self._rules)
            if number not in self._spent and (match := pattern.search(self._seen)) and match.end()
        ]
        if not found:
            return None
        _, number, match = min(found)
        self._seen = self._seen[match.end() :]
        self._spent |= {number} & self._once
        return match.expand(self._rules[number][1])[:MAX_ANSWER]


def _compiled(number: int, rule: Rule, where: str) -> tuple[re.Pattern[bytes], bytes]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pattern, send = re.compile(rule.when.encode()), rule.send.encode()
    except (re.error, Warning) as error:
        raise ConfigError(
            f"{where}, rule {number}: {rule.when!r} is no regular expression: {error}"
        ) from None
    if pattern.match(b""):
        raise ConfigError(f"{where}, rule {number}: {rule.when!r} matches nothing at all; demand a character")
    try:
        # Compiles the template, and thus checks it, though there is nothing to be found.
        pattern.sub(send, b"")
    except (re.error, IndexError) as error:
        raise ConfigError(f"{where}, rule {number}: cannot send {rule.send!r}: {error}") from None
    return pattern, send


def read_table(path: Path) -> Dialogue:
    """Raises ConfigError, or Unavailable where there is no such file."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"cannot read {path}: {error}") from None
    try:
        return Dialogue(from_plain(Table, tomllib.loads(text), str(path)), str(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None


class Script(Link):
    """Hears the host only as fast as the host takes the answers."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._waiting = bytearray()
        self._dtr = False

    def start(self, reactor: Reactor, give: Callable[[object], None]) -> None:
        super().start(reactor, give)
        self._dialogue = read_table(self.path)
        give(SetLines(dcd=True, dsr=True))

    def moved(self) -> None:
        if not self.online:
            self._waiting.clear()
        if self._dtr != self.lines.dtr:
            self._dtr = self.lines.dtr
            if self._dtr:
                self._waiting += self._dialogue.begin()
        self._talk()
        while self.room and (part := bytes(self._waiting[: self.room])):
            del self._waiting[: len(part)]
            if not self.send(part):
                break
            self._talk()

    def _talk(self) -> None:
        """Until there is something to say, or nothing left to hear."""
        while not self._waiting:
            answer = self._dialogue.answer()
            if answer is not None:
                self._waiting += answer
            elif self.heard:
                heard = bytes(self.heard[:PORTION])
                self._dialogue.hear(heard)
                self.consume(len(heard))
            else:
                return

    def stats(self) -> dict[str, object]:
        return {"script": str(self.path), **super().stats()}

    def close(self) -> None:
        """It has nothing open."""
