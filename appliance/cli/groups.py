"""Groups: an operator's orders."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial
from typing import Any, Final

from appliance.cli.command import Command, daemon, show
from appliance.cli.text import safe

Json = dict[str, Any]

LEADING: Final = ("promoting", "master", "yielding")


def order(args: Namespace, wish: str) -> None:
    told = daemon(args).post("/api/pair/order", {"group": args.group, "wish": wish})
    show(args, told, group_text(told))


def maintenance(args: Namespace) -> None:
    order(args, "resume" if args.end else "maintenance")


def group_text(told: Json) -> str:
    if told["role"] in LEADING:
        how = "its backup is in sync" if told["in_sync"] else "its backup is not in sync yet"
    else:
        how = f"{told['owner_name']} is its owner" if told["owner"] else "nobody is its owner"
    return safe(f"{told['name']}: this appliance is {told['role']} now, epoch {told['epoch']}; {how}.") + "\n"


def a_group(parser: ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP", help="its name, as 'twinhub pair status' prints it")


def a_group_and_end(parser: ArgumentParser) -> None:
    a_group(parser)
    parser.add_argument("--end", action="store_true", help="the maintenance is over: take part again")


COMMANDS = {
    "switchover": Command(
        partial(order, wish="switchover"),
        a_group,
        "The standby becomes master, on whichever of the two this is said. What is in flight is finished"
        " first, and clients keep their devices. Refused while the backup is not in sync.",
        "twinhub switchover bench",
    ),
    "failback": Command(
        partial(order, wish="fail_back"),
        a_group,
        "Like switchover, if the other appliance has the higher priority.",
        "twinhub failback bench",
    ),
    "maintenance": Command(
        maintenance,
        a_group_and_end,
        "Hands the group over, if there is a standby, and takes no part in it until --end.",
        "twinhub maintenance bench\n  twinhub maintenance bench --end",
    ),
    "take": Command(
        partial(order, wish="take"),
        a_group,
        "For when the other appliance is gone for good and the selector still waits for it: you vouch that it"
        " is off. What it had and this one does not is lost.",
        "twinhub take bench",
    ),
}
