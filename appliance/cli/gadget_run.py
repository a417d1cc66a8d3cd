"""`twinhub gadget run`: a gadget for as long as the command runs, in the daemon that runs or in its own."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
import tempfile
from argparse import Namespace
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from appliance.cli.command import config_file, daemon, show_line
from appliance.cli.daemon_client import DaemonClient
from appliance.cli.gadget_words import event_text, to_the_end
from appliance.config import Config, Paths, Status, load
from appliance.daemon.hub import Hub
from appliance.daemon.journal import open_journal
from appliance.daemon.run import how_to_attach, make_directories, serve
from appliance.errors import DeviceFailed, NotFound, NotPermitted, PeerError, Unavailable
from appliance.exports.gadgets import parse_gadget
from appliance.kernel.client import NoHelper
from appliance.usbip.wire import PORT

Json = dict[str, Any]

LOOPBACK: Final = "127.0.0.1"


def run(args: Namespace, table: Json) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    client = daemon(args)
    try:
        client.get("/api/status")
    except (Unavailable, NotPermitted):
        run_alone(args, table)
    else:
        run_there(args, client, table)


def run_there(args: Namespace, client: DaemonClient, table: Json) -> None:
    """In the daemon, for as long as somebody watches here."""
    (made,) = client.post("/api/gadgets/add", {"gadget": table, "keep": False})
    name = made["name"]
    try:
        with client.lines("/api/gadgets/events", name=name) as told:
            listen = client.get("/api/status")["listen"]
            attach = how_to_attach(name, listen[0])
            about = {"event": "running", "gadget": name, "listen": listen}
            say(args, about, f"{name} runs in the daemon; attach it with\n  {attach}\nCtrl-C ends it.")
            for event in to_the_end(told):
                say(args, event, event_text(event))
    except KeyboardInterrupt:
        pass
    finally:
        with suppress(NotFound, Unavailable, PeerError):  # it went before us, or its daemon did
            client.post("/api/gadgets/remove", {"name": name})


def run_alone(args: Namespace, table: Json) -> None:
    """A daemon that has nothing but this gadget, for this machine, and whose state is gone with it."""
    port = args.port or free_port(PORT if args.port is None else 0)
    with tempfile.TemporaryDirectory(prefix="twinhub-") as state:
        config = config_of(args, table, port, Path(state))
        open_journal(config.log)
        make_directories(config)

        async def follow(hub: Hub) -> None:
            (name,) = config.gadgets[0].names
            async with hub.gadgets.processes.events(name) as told:
                listening = f"{LOOPBACK}:{port}"
                attach = how_to_attach(name, listening)
                about = {"event": "running", "gadget": name, "listen": [listening]}
                say(args, about, f"{name} runs; attach it with\n  {attach}\nCtrl-C ends it.")
                async for event in told:
                    await asyncio.to_thread(say, args, event, event_text(event))  # who reads us may be slow
            raise hub.gadgets.error(name) or DeviceFailed(f"gadget {name} ended")

        asyncio.run(serve(config, NoHelper(), follow))


def config_of(args: Namespace, table: Json, port: int, state: Path) -> Config:
    base = load(config_file(args))
    return replace(
        base,
        listen=replace(base.listen, addresses=(LOOPBACK,), port=port, allow=()),
        status=Status(LOOPBACK, 0),
        paths=Paths(args.runtime_dir.absolute() if args.runtime_dir else base.paths.runtime, state, None),
        log=replace(base.log, level="error"),
        gadgets=(parse_gadget(table, base.sessions),),
        rules=(),
    )


def free_port(wanted: int) -> int:
    """`wanted`, or any other if somebody listens there."""
    for port in (wanted, 0):
        try:
            with socket.create_server((LOOPBACK, port)) as probe:
                return int(probe.getsockname()[1])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return 0


def say(args: Namespace, event: Json, text: str) -> None:
    show_line(args, event, text)
    sys.stdout.flush()
