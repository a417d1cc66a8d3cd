"""Find: what is plugged in."""

from __future__ import annotations

import os
import shutil
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import Any, Final

from appliance.cli.command import Command, daemon, show, show_line
from appliance.cli.daemon_client import DaemonClient
from appliance.cli.text import moment, safe
from appliance.errors import NotPermitted, Unavailable
from appliance.inventory.model import UsbDevice, device_from_json
from appliance.inventory.tree import render

Json = dict[str, Any]


def devices(args: Namespace) -> None:
    """From the daemon; without one, from sysfs, so that it helps before anything else works."""
    client = daemon(args)
    try:
        told = client.get("/api/devices")
    except (Unavailable, NotPermitted) as error:
        print(f"twinhub: without what is shared, because {error}", file=sys.stderr)
        look_at_sysfs(args)
        return
    if args.watch:
        watch_daemon(args, client)
    else:
        show_all(args, told)


def suggest(args: Namespace) -> None:
    told = daemon(args).get("/api/suggest", busid=args.busid)
    show(args, told, told["rule"])


def show_all(args: Namespace, told: list[Json]) -> None:
    if args.watch and args.json:
        for device in told:
            show_event(args, event_of("present", device_from_json(device)))
    else:
        show(args, told, tree(told, args.details) or "No USB device is plugged in.\n")


def show_event(args: Namespace, event: Json) -> None:
    what, device = event["event"].removeprefix("device."), event["device"]
    line = f"{moment(event['time'])}  {what:7}  {device['busid']}  {device['ids']}  {device['label']}"
    show_line(args, event, safe(line))


def event_of(what: str, device: UsbDevice) -> Json:
    """What happened, in the daemon's words."""
    about = {"busid": device.busid, "ids": device.ids, "label": device.label, "identity": device.identity}
    return {"event": f"device.{what}", "time": time.time(), "device": about}


def tree(told: list[Json], details: bool) -> str:
    """The hub tree, as wide as the terminal; in full where there is none."""
    terminal = sys.stdout.isatty()
    shared = {device["busid"]: share_text(device["share"]) for device in told}
    return render(
        map(device_from_json, told),
        shared.get,
        width=shutil.get_terminal_size().columns if terminal else None,
        details=details,
        color=terminal and "NO_COLOR" not in os.environ,
    )


def share_text(share: Json | None) -> str | None:
    """The last column of the tree: the export's name, and its state if that is worth a word."""
    if share is None:
        return None
    name, state = share["export"], share["state"]
    return f"{name}" if state == "available" else f"{name} ({state})"


def unshared(devices: Iterable[UsbDevice]) -> list[Json]:
    """What can be said without the daemon, in the daemon's words."""
    return [device.to_json() | {"share": None, "why_not": None} for device in devices]


def watch_daemon(args: Namespace, client: DaemonClient) -> None:
    with client.lines("/api/events") as events:
        show_all(args, client.get("/api/devices"))
        for event in events:
            if event["event"].startswith("device."):
                show_event(args, event)


def look_at_sysfs(args: Namespace) -> None:
    import asyncio

    from appliance.inventory.sysfs import read_devices

    if args.watch:
        asyncio.run(watch_sysfs(args))
    else:
        show_all(args, unshared(read_devices().values()))


async def watch_sysfs(args: Namespace) -> None:
    from appliance.inventory.monitor import Added, Changed, Inventory, Removed

    words: Final = {Added: "added", Changed: "changed", Removed: "removed"}
    async with Inventory() as inventory:
        changes = inventory.changes()
        show_all(args, unshared(inventory.devices.values()))
        async for change in changes:
            if isinstance(change, Added | Changed | Removed):
                show_event(args, event_of(words[type(change)], change.device))
            else:
                show_all(args, unshared(inventory.devices.values()))


def device_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="go on, and tell what is plugged in and out")
    parser.add_argument("--details", action="store_true", help="with the interfaces of every device")


def suggest_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("busid", nargs="?", metavar="BUSID", help="of the device, such as 1-1.2")


COMMANDS = {
    "devices": Command(
        devices,
        device_arguments,
        "Shows every USB device on the hub it hangs on, and as what it is shared. "
        "Works without the daemon too, then without what is shared.",
        "twinhub devices --watch",
    ),
    "suggest": Command(
        suggest,
        suggest_arguments,
        "Prints the rule that pins a device wherever it is plugged in, for the configuration file.",
        "twinhub suggest 1-1.2 >> /etc/twinhub/twinhub.toml",
    ),
}
