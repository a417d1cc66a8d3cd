"""Witness: the process on a third machine that says which appliance owns a group."""

from __future__ import annotations

import asyncio
import signal
from argparse import ArgumentParser, Namespace
from pathlib import Path

from appliance.cli.command import Command, show_line
from appliance.errors import UsageError
from appliance.pair.selector import keys
from appliance.pair.selector.spec import host_and_port
from appliance.pair.selector.witness.server import Server, Settings, listen
from appliance.pair.selector.witness.wire import LONGEST_LEASE, PORT

SHORTEST_LEASE = 0.5


def witness(args: Namespace) -> None:
    if not SHORTEST_LEASE <= args.lease <= LONGEST_LEASE:
        raise UsageError(
            f"--lease: wanted {SHORTEST_LEASE:g} to {LONGEST_LEASE:g} seconds, found {args.lease:g}"
        )
    if args.first_epoch < 0:
        raise UsageError("--first-epoch: epochs begin at 0")
    host, port = host_and_port(args.listen, PORT)
    settings = Settings(keys.read_key(args.key), args.state, args.lease, args.first_epoch)
    server = Server(settings)
    listeners = listen(host, port)
    port = listeners[0].getsockname()[1]

    async def run() -> None:
        from appliance.daemon import systemd

        serving = asyncio.ensure_future(server.serve_on(listeners))
        for sign in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sign, serving.cancel)
        about = {"event": "running", "listen": [f"{host}:{port}"], "lease": args.lease}
        show_line(args, about, f"witness listens on {host} port {port}; an owner's lease is {args.lease:g} s")
        systemd.notify("READY=1")
        await asyncio.gather(serving, return_exceptions=True)
        if not serving.cancelled():
            serving.result()

    asyncio.run(run())


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        default=f"127.0.0.1:{PORT}",
        metavar="HOST:PORT",
        help="where appliances ask, by default %(default)s",
    )
    parser.add_argument(
        "--state", type=Path, required=True, metavar="FILE", help="keeps owner and epoch of each group"
    )
    parser.add_argument(
        "--key",
        type=Path,
        default=keys.DEFAULT,
        metavar="FILE",
        help="shared with both appliances, by default %(default)s",
    )
    parser.add_argument(
        "--lease", type=float, default=5.0, metavar="SECONDS",
        help="how long an unheard owner is safe; longer than `lease` of its groups, by default %(default)g",
    )  # fmt: skip
    parser.add_argument(
        "--first-epoch", type=int, default=0, metavar="N",
        help="the epoch of unknown groups: only after FILE was lost, above what `pair status` shows",
    )  # fmt: skip


COMMANDS = {
    "witness": Command(
        witness,
        arguments,
        "Runs a witness: on a machine that is neither of the two appliances, it says which of them owns a "
        "group, and in which epoch. Several pairs may use it with one key; no two groups may have one name.",
        "twinhub witness --listen 10.0.0.9:3243 --state /var/lib/witness.json --key /root/selector.key",
    ),
}
