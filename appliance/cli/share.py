"""Share: which devices clients may use, under which names."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from appliance.cli.command import Command, daemon, no_arguments, show
from appliance.cli.text import table
from appliance.exports.words import add_arguments, table_of

Json = dict[str, Any]


def share(args: Namespace) -> None:
    made = daemon(args).post("/api/rules", table_of(args))
    what = exports_text(made["exports"], "Nothing plugged in matches yet; what does will be shared.")
    show(args, made, f"Rule {made['rule']['id']} is in force.\n{what}")


def unshare(args: Namespace) -> None:
    client = daemon(args)
    changed = client.post("/api/unshare", {"target": args.target})
    there = {rule["id"] for rule in client.get("/api/rules")}
    lines = (
        f"Rule {rule['id']} is {'new' if rule['id'] in there else 'gone'}: {rule_text(rule)}\n"
        for rule in changed
    )
    show(args, changed, "".join(lines))


def exports(args: Namespace) -> None:
    told = daemon(args).get("/api/exports")
    show(args, told, exports_text(told, "Nothing is shared; `twinhub share BUSID` shares a device."))


def rules(args: Namespace) -> None:
    told = daemon(args).get("/api/rules")
    rows = ((rule["id"], rule["source"], rule_text(rule)) for rule in told)
    show(
        args, told, table(("RULE", "FROM", "SHARES"), rows, "There are no rules; `twinhub share` makes one.")
    )


def exports_text(told: list[Json], empty: str) -> str:
    rows = (
        (
            export["name"],
            export["state"],
            export["busid"] or export["kind"],
            export["mode"],
            ", ".join(export["allow"]) or "everyone admitted",
            export["rule"],
            export["description"],
        )
        for export in told
    )
    return table(("NAME", "STATE", "DEVICE", "MODE", "FOR", "RULE", "WHAT"), rows, empty)


def rule_text(rule: Json) -> str:
    """A rule's keys and values on one line, as TOML would have them in a table."""
    said = {key: value for key, value in rule.items() if key not in ("id", "source")}
    return ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in said.items())


def target(parser: ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="a rule's id, an export's name or a busid")


COMMANDS = {
    "share": Command(
        share,
        add_arguments,
        "Makes a rule and remembers it: over replugs, restarts and reboots. "
        "It shares the devices of which all holds that it says.",
        "twinhub share 0403:6001 --name plc-adapter --allow 192.168.7.20\n"
        "  twinhub share --hub 1-1            # everything behind this hub, now and later",
    ),
    "unshare": Command(
        unshare,
        target,
        "Ends what a rule shares, or that a device is shared; its own driver gets it back. "
        "Where a wide rule still shares the device, a new rule makes an exception of it.",
        "twinhub unshare plc-adapter",
    ),
    "exports": Command(
        exports, no_arguments, "Lists what is shared, and its state.", "twinhub exports --json"
    ),
    "rules": Command(
        rules,
        no_arguments,
        "Lists the rules in the order in which they are tried: the first that matches a device wins.",
        "twinhub rules",
    ),
}
