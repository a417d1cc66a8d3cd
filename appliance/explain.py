"""What an operator needs to find a wrong key: which it is, on which line, what is there, what was meant."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from appliance.errors import ConfigError


def read_file(path: Path, largest: int) -> str:
    """The text of a TOML file of at most `largest` bytes. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
        if len(data) > largest:
            raise ConfigError(f"{path} is larger than {largest >> 20} MiB; is it the right file?")
        return data.decode()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8, which TOML must be") from None


class BadKey(Exception):
    """What is wrong, at one key or at none (""); who knows the place (file, line, command) tells the user."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{shown(key)[1:-1]}: {problem}" if key else problem)
        self.key = key
        self.problem = problem


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown `word`."""
    known = sorted(known)
    if not known:
        return "; there are none"
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}"


def shown(found: object) -> str:
    """`found` on one short line, however hostile."""
    try:
        text = json.dumps(found, default=str)
    except (ValueError, RecursionError):  # thousands of digits, or of tables in tables
        return "a monstrous value"
    return text if len(text) <= 60 else text[:57] + "…"


def locate(source: str, path: tuple[str, ...], nth: int = 0) -> int:
    """The line (from 1) of the TOML `source` where the key `path` stands, in the `nth` of tables of one name.

    If there is none, that of what encloses it. A string of several lines can mislead it, by some lines.
    """
    table, tables, line = path[:1], -1, 1
    here: tuple[str, ...] = ()
    for number, text in enumerate(source.split("\n"), 1):
        if header := _HEADER.match(text):
            found = here = _path(header[2])
            tables += header[1] == "[[" and here == table
        elif key := _KEY.match(text):
            found = (*here, *_path(key[1]))
        else:
            continue
        if nth != max(tables, 0):
            continue
        if found[: len(path)] == path:
            return number
        if found == table:
            line = number
    return line


_HEADER = re.compile(r"\s*(\[\[?)([^\[\]=]+)\]")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_ \t.-]|"[^"]*"|'[^']*')+)=""")


def _path(key: str) -> tuple[str, ...]:
    """A dotted key, its quotes taken off."""
    return tuple(word.strip(" \t\"'") for word in key.split("."))
