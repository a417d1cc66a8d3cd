"""What an operator writes: the configuration, and rules as words and as JSON."""

from __future__ import annotations

import argparse
import json
import shlex
from functools import partial
from pathlib import Path
from random import Random
from typing import NoReturn

from appliance import config
from appliance.errors import ConfigError, TwinhubError, UsageError
from appliance.exports.words import add_arguments, command_of, shared_rule, table_of
from tests.fuzz.harness import parser
from tests.fuzz.mutation import JSON_WORDS, invent

EXAMPLE = Path(__file__).parents[2] / "docs/examples/keyboard.toml"
FILES = (EXAMPLE.read_bytes(), config.HEAD.partition("```toml\n")[2].partition("```")[0].encode())
TOML_WORDS = (
    b"[", b"[[share]]\n", b"]", b"=", b'"""', b"'", b"\n", b"port", b"[listen]\n", b"{a = 1}", b"1979-05-27",
    b"nan", b"inf", b"-1", b"9" * 5000, b"[" * 3000, b"any = true\n", b"idle = 5\n", b'serial = "x"\n', b"\0",
)  # fmt: skip
COMMANDS = (
    b"1-1.2 --name dongle --allow 10.0.0.0/8 --allow 192.0.2.1 --idle 60",
    b"0403:6001 --mode direct --take-over anyone",
    b"--hub 1-1 --exclude",
    b"--class hid --serial 'A 50285BI'",
)
COMMAND_WORDS = (b"--any", b"--name=", b"--", b"-1", b" ", b"'", b"nan", b"1e999", b"::/0", b"\xe2\x80\xae")
TABLES = tuple(
    json.dumps(table).encode()
    for table in (
        {"busid": "1-1.2", "name": "dongle", "allow": ["10.0.0.0/8", "::1"], "idle": 60},
        {"any": True, "exclude": True, "mode": "direct", "take_over": "never"},
        {"class": "hid", "serial": "A50285BI"},
    )
)


class Words(argparse.ArgumentParser):
    """Raises where its parent would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


WORDS = Words(add_help=False)
add_arguments(WORDS)


def read_config(random: Random, data: bytes) -> None:
    config.parse(data.decode("utf-8", "replace"))


def read_words(random: Random, data: bytes) -> None:
    """A rule that words write is written by the words that it gives."""
    try:
        words = shlex.split(data.decode("utf-8", "replace"))
    except ValueError:
        raise UsageError("not even a shell takes it") from None
    rule = shared_rule("r", table_of(WORDS.parse_args(words)))
    again = shlex.split(command_of(rule.table))[2:]
    assert shared_rule("r", table_of(WORDS.parse_args(again))) == rule


def read_table(random: Random, data: bytes) -> None:
    """As the API has it: a JSON object."""
    try:
        table = json.loads(data)
    except (ValueError, RecursionError):
        raise UsageError("no JSON") from None
    if isinstance(table, dict):
        rule = shared_rule("r", table)
        assert json.loads(json.dumps(rule.table)) == rule.table


broken = partial(invent, words=JSON_WORDS)
TARGETS = (
    parser("config", lambda r: invent(r, FILES, TOML_WORDS), read_config, (ConfigError,), share=20),
    parser("rule-words", lambda r: invent(r, COMMANDS, COMMAND_WORDS), read_words, (TwinhubError,), share=20),
    parser("rule-json", lambda r: broken(r, TABLES), read_table, (UsageError,)),
)
