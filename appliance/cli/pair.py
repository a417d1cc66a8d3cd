"""Pair: two appliances that are one."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any, Final

from appliance.cli.command import Command, daemon, no_arguments, show
from appliance.cli.text import duration, safe, table
from appliance.errors import UsageError

Json = dict[str, Any]

HEADER: Final = ("GROUP", "ADDRESS", "ROLE HERE", "OWNER", "EPOCH", "IN SYNC", "PROTECTED", "HEALTHY")


def pair(args: Namespace) -> None:
    match args.what:
        case []:
            told = daemon(args).post("/api/pair/code", {})
            show(args, told, code_text(told))
        case ["status"]:
            told = daemon(args).get("/api/pair")
            show(args, told, status_text(told, time.time()))
        case [host, code]:
            asked = {"host": host, "code": code} | ({"port": args.port} if args.port else {})
            told = daemon(args).post("/api/pair/join", asked)
            sibling = told["sibling"]
            show(args, told, f"{told['name']} and {sibling['name']} ({sibling['host']}) are a pair now.\n")
        case _:
            raise UsageError(
                "say 'twinhub pair' on one appliance, and 'twinhub pair HOST CODE', as that prints it, on the"
                " other; 'twinhub pair status' tells how the pair is"
            )


def unpair(args: Namespace) -> None:
    gone = daemon(args).post("/api/pair/unpair", {})
    show(
        args,
        gone,
        f"{gone['name']} is no sibling of this appliance any more; 'twinhub pair' makes a new pair.\n",
    )


def code_text(told: Json) -> str:
    hosts = [host for host in told["listen"] if host not in ("0.0.0.0", "::")] or ["HOST"]
    commands = "".join(f"  twinhub pair {host} {told['code']}\n" for host in hosts)
    minutes = round(told["seconds"] / 60)
    note = f" HOST is how it reaches {told['name']}." if hosts == ["HOST"] else ""
    return (
        f"On the other appliance, within {minutes} minutes:\n{commands}"
        f"The code is for one appliance; three wrong tries end it.{note}\n"
    )


def status_text(told: Json, now: float) -> str:
    sibling, link = told["sibling"], told["link"]
    us = f"{told['name']} ({told['node']})"
    if sibling is None:
        return f"{us} has no sibling; 'twinhub pair' makes a pair.\n"
    if link["up"]:
        state = f"up for {duration(now - link['since'])}, Twinhub {link['software']} there"
    else:
        state = f"down: {link['problem'] or 'it is being made'}"
    rows = [
        (
            group["name"],
            group["address"],
            group["role"],
            group["owner_name"],
            group["epoch"],
            yes_or_no(group["in_sync"]),
            yes_or_no(group["protected"]),
            "yes" if group["healthy"] else f"no: {', '.join(group['unfit']) or 'by order'}",
        )
        for group in told["groups"]
    ]
    groups = table(HEADER, rows, "There are no groups.")
    notes = "".join(
        f"  {group['name']}: {safe(note)}\n" for group in told["groups"] for note in notes_on(group, now)
    )
    return (
        f"{us} is paired with {sibling['name']} ({sibling['node']}) at {sibling['host']}\n"
        f"  link  {state}\n{groups}{notes}"
    )


def notes_on(group: Json, now: float) -> Iterator[str]:
    if not group["selector"]["answers"]:
        yield f"its selector, {group['selector']['spec']}, does not answer"
    if group["silent_targets"]:
        yield f"no answer from {', '.join(group['silent_targets'])}"
    if group["takeovers"]:
        yield takeover_text(group["takeovers"][-1], now)


def takeover_text(told: Json, now: float) -> str:
    steps = told["steps_ms"]
    whole = max(steps.values(), default=0.0)
    at = ", ".join(f"{step} {ms:.0f}" for step, ms in steps.items())
    kept, lost = (", ".join(told[name]) or "none" for name in ("kept", "lost"))
    ago = duration(now - told["at"])
    return f"came here {ago} ago in {whole:.0f} ms ({at}); sessions kept: {kept}; lost: {lost}"


def yes_or_no(is_so: bool) -> str:
    return "yes" if is_so else "no"


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="*", metavar="HOST CODE", help="the appliance that shows the code, and that; or: status"
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help="its pair port, where it is not the same as here"
    )


COMMANDS = {
    "pair": Command(
        pair,
        arguments,
        "Without arguments: shows a code for another appliance to pair with this one. With the host and the"
        " code that another shows: pairs with it. With 'status': how the pair is.",
        "twinhub pair\n  twinhub pair 192.168.7.2 1234-5678\n  twinhub pair status",
    ),
    "unpair": Command(
        unpair,
        no_arguments,
        "Forgets the other appliance, which need not be there any more; a new one can be paired at once,"
        " while this one works. Say it on both where both live on.",
        "twinhub unpair",
    ),
}
