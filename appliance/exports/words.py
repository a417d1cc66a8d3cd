"""How a rule is written: one table of keys for `[[share]]` in TOML, in JSON, and in the words of a command.

One rule: `twinhub share 1-1.2 --name dongle --allow 10.0.0.0/8`,
{"busid": "1-1.2", "name": "dongle", "allow": ["10.0.0.0/8"]}, and the same in TOML.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping
from typing import Any

from appliance.errors import UsageError
from appliance.explain import BadKey
from appliance.exports import names
from appliance.exports.keys import (
    NETWORKS,
    SWITCH,
    Key,
    Kind,
    choice,
    read,
    require,
    seconds,
    text,
    toml,
)
from appliance.exports.rules import CLASSES, CONDITIONS, DEFAULTS, Condition, ExportOptions, Match, Rule
from appliance.inventory.model import HUB_CLASS

LONGEST_IDLE = 7 * 86400

_PATH = r"[0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3}){0,6}"
_BUSID = rf"{_PATH}|usb[0-9]{{1,3}}"
_CLASS = "|".join(CLASSES) + f"|(?!{HUB_CLASS:02x})[0-9a-fA-F]{{2}}"
_IDS = "[0-9a-fA-F]{4}:[0-9a-fA-F]{4}"


def shaped(pattern: str, wanted: str) -> Kind:
    """A text that is wholly `pattern`."""
    shape = re.compile(pattern, re.ASCII)

    def parse(found: object) -> str:
        require(isinstance(found, str) and bool(shape.fullmatch(found)))
        return str(found)

    return Kind(wanted, parse)


def _name(found: object) -> str:
    require(isinstance(found, str) and names.is_name(found))
    return str(found)


def _yes(found: object) -> str:
    require(found is True)
    return "true"


RULE_KEYS = (
    Key("busid", shaped(_BUSID, 'a busid such as "1-1.2"'), None,
        "What is plugged in at exactly this place on the bus. `twinhub share 1-1.2` looks up what is there"
        " now, and pins that device by its identity."),
    Key("device", shaped(_IDS, 'VID:PID in hex such as "0403:6001"'), None,
        "All devices of this make."),
    Key("serial", text("a serial number"), None,
        "The device with this serial number."),
    Key("identity", text("an identity as `twinhub suggest` prints it"), None,
        "One device: wherever it is plugged in if it has a serial number, else where it is plugged in now."),
    Key("hub", shaped(_BUSID, 'the busid of a hub such as "1-1" or "usb1"'), None,
        "Everything behind this hub, now and later. A USB 3 hub is two hubs, one on each of two buses: write"
        " two rules."),
    Key("port", shaped(_PATH, 'the path of a port such as "1-1.3"'), None,
        "Whatever is plugged into this port, now and later; if that is a hub, everything behind it."),
    Key("class", shaped(_CLASS, "two hex digits (not 09, a hub's) or one of " + ", ".join(CLASSES)), None,
        "All devices of this class, or with an interface of it."),
    Key("any", Kind("true (or leave it out)", _yes), None,
        "Every device."),
    Key("exclude", SWITCH, False,
        "What matches is not shared, whatever the rules further down say."),
    Key("name", Kind(names.WANTED, _name), None,
        "The name to offer it under. A second device that matches gets a suffix of its own.",
        "made of the product and its serial number"),
    Key("mode", choice("relayed", "direct"), None,
        "`relayed`: with counters, capture, and answers to what would break the stream. `direct`: the kernel"
        " alone moves the bytes.",
        "as [sessions]"),
    Key("allow", NETWORKS, (),
        "The clients that may list and import it, out of those that [listen] `allow` admits; counts for"
        " loopback too.",
        "all that are admitted"),
    Key("take_over", choice("never", "same-host", "anyone"), None,
        "Who may take the device while it is in use: no one, the same client address again, or everyone who"
        " may import it.",
        "as [sessions]"),
    Key("idle", seconds(0, LONGEST_IDLE), None,
        "Ends a session that was idle for so long; 0: never.",
        "as [sessions]"),
)  # fmt: skip

SHARE_HELP = """A rule: which devices are shared, and how. `twinhub suggest` prints the one for a device.

- All conditions that a rule has (`busid` to `any`, at least one) must hold.
- The first rule that matches decides: rules made by `twinhub share` from the newest to the oldest, then those
  of this file from top to bottom.
- Hubs are never shared, nor are devices that this machine itself imports over USB/IP. What is built into the
  machine is shared only by a rule with `busid`, `device`, `serial` or `identity`.
- Bus numbers (the 1 of 1-1.2) may change with a reboot on machines with several USB controllers; an identity
  does not.
- Clients ask for an export by its name, or by the kernel's busid of the device."""


def parse_rule(id: str, table: Mapping[str, Any], defaults: ExportOptions = DEFAULTS) -> Rule:
    """The rule that `table` writes; BadKey for what is wrong in it. `defaults`: those of [sessions]."""
    value = read(RULE_KEYS, table)
    conditions = tuple(Condition(key, value[key]) for key in CONDITIONS if value[key] is not None)
    if not conditions:
        raise BadKey("", f"which devices? Give one of {', '.join(CONDITIONS)}")
    options = ExportOptions(
        mode=value["mode"] or defaults.mode,
        allow=value["allow"],
        take_over=value["take_over"] or defaults.take_over,
        idle_seconds=defaults.idle_seconds if value["idle"] is None else value["idle"] or None,
    )
    return Rule(id, Match(conditions), value["name"], value["exclude"], options, dict(table))


def shared_rule(id: str, table: Mapping[str, Any], defaults: ExportOptions = DEFAULTS) -> Rule:
    """The rule of `twinhub share` or of the API; UsageError names the key."""
    try:
        return parse_rule(id, table, defaults)
    except BadKey as error:
        raise UsageError(f"share: {error}") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of `twinhub share`; `table_of` reads them."""
    parser.add_argument("what", nargs="?", metavar="WHAT", help="a busid (1-1.2) or VID:PID (0403:6001)")
    for key in RULE_KEYS:
        flag = "--" + key.name.replace("_", "-")
        help = key.help.replace("`", "").replace("%", "%%")
        if key.name in ("any", "exclude"):
            parser.add_argument(flag, dest=key.name, action="store_const", const=True, help=help)
        elif key.kind is NETWORKS:
            parser.add_argument(flag, dest=key.name, action="append", metavar="NETWORK", help=help)
        else:
            parser.add_argument(flag, dest=key.name, metavar=key.name.upper(), help=help)


def table_of(words: argparse.Namespace) -> dict[str, Any]:
    """The rule's table; UsageError if one thing is said twice."""
    given = {key.name: getattr(words, key.name) for key in RULE_KEYS}
    table = {name: value for name, value in given.items() if value is not None}
    if words.what is not None:
        key = "device" if ":" in words.what else "busid"
        if key in table:
            raise UsageError(f"share: {words.what} and --{key} {table[key]} are two answers to one question")
        table[key] = words.what
    if "idle" in table:
        table["idle"] = _number(table["idle"])
    return table


def command_of(table: Mapping[str, Any]) -> str:
    """The inverse of `table_of`: the `twinhub share …` that writes this rule, quoted for a shell."""
    words = ["twinhub", "share"]
    for name, value in table.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        else:
            words += (f"{flag}={item}" for item in (value if isinstance(value, list) else [value]))
    return shlex.join(words)


def toml_of(table: Mapping[str, Any]) -> str:
    """The rule as the configuration has it."""
    return "[[share]]\n" + "".join(f"{name} = {toml(value)}\n" for name, value in table.items())


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word
