"""Arbiter: what turns the switch of a hub for two appliances, as a microcontroller would."""

from __future__ import annotations

import shlex
import signal
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.cli.command import Command, show_line
from appliance.errors import UsageError
from appliance.pair.model import Standing
from appliance.pair.selector import keys
from appliance.pair.selector.arbiter.device import SIDES, Arbiter
from appliance.pair.selector.arbiter.frames import Position
from appliance.pair.selector.arbiter.run import Board, Lines, Switch, clock, command_switch

if TYPE_CHECKING:
    from appliance.pair.selector.gpio import Multiplexer

LEASES = (0.5, 3600.0)


def arbiter(args: Namespace) -> None:
    least, most = LEASES
    if not least <= args.lease <= most:
        raise UsageError(f"--lease: wanted {least:g} to {most:g} seconds, found {args.lease:g}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    key = keys.read_key(args.key)
    board = Board(args.state, switch(args))
    standing, side = board.load()
    if standing.epoch < args.first_epoch:
        standing = replace(standing, epoch=args.first_epoch)
    lines = Lines(Arbiter(key, board, clock(), args.lease, standing, side), (args.a, args.b))

    def ready() -> None:
        from appliance.daemon import systemd

        about = {"event": "running", "a": args.a, "b": args.b, "lease": args.lease}
        show_line(
            args,
            about,
            f"arbiter between {args.a} (a) and {args.b} (b); an owner's lease is {args.lease:g} s",
        )
        systemd.notify("READY=1")

    with suppress(KeyboardInterrupt):
        lines.run(ready)


def switch(args: Namespace) -> Switch:
    if args.gpio:
        from appliance.pair.selector.gpio import Multiplexer
        from appliance.pair.selector.spec import parse_spec

        multiplexer = Multiplexer.of(parse_spec(f"gpio:{args.gpio}"))
        if not multiplexer.can_isolate:
            raise UsageError("--gpio: an arbiter takes the hub away first; wire OE#, and say oe=LINE")
        return partial(gpio_switch, multiplexer)
    if not args.switch:
        return no_switch
    words = shlex.split(args.switch)
    if not words:
        raise UsageError("--switch: wanted a command, found nothing")
    return partial(command_switch, words)


def gpio_switch(multiplexer: Multiplexer, position: Position, standing: Standing) -> Position:
    """Low is a, high is b."""
    if position is Position.NONE:
        multiplexer.isolate()
    else:
        multiplexer.connect(SIDES.index(position))
    return position


def no_switch(position: Position, standing: Standing) -> Position:
    """For groups without a hub."""
    return position


def arguments(parser: ArgumentParser) -> None:
    line = "a serial device, unix:PATH or tcp:HOST:PORT"
    parser.add_argument("--a", required=True, metavar="LINE", help=f"to the one appliance: {line}")
    parser.add_argument("--b", required=True, metavar="LINE", help="to the other one")
    parser.add_argument("--state", type=Path, required=True, metavar="FILE", help="keeps owner and epoch")
    parser.add_argument(
        "--key", type=Path, default=keys.DEFAULT, metavar="FILE",
        help="shared with both appliances, by default %(default)s",
    )  # fmt: skip
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--switch", metavar="COMMAND",
        help="called with `none`, `a` or `b`; turns the switch, reads it back, and ends with 0 if it did;"
        " TWINHUB_OWNER and TWINHUB_EPOCH say whose it is",
    )  # fmt: skip
    way.add_argument(
        "--gpio",
        metavar="CHIP:LINE,oe=LINE",
        help="the lines of a multiplexer: select (low is a) and enable",
    )
    parser.add_argument(
        "--lease", type=float, default=5.0, metavar="SECONDS",
        help="how long an unheard owner is safe; longer than `lease` of its group, by default %(default)g",
    )  # fmt: skip
    parser.add_argument(
        "--first-epoch", type=int, default=0, metavar="N",
        help="the least epoch: only after FILE was lost, above what `pair status` shows",
    )  # fmt: skip


COMMANDS = {
    "arbiter": Command(
        arbiter,
        arguments,
        "Runs an arbiter: between two appliances it owns the switch of their hub, grants the hub to one of "
        "them, and takes it from the other first. It is the reference for one on a microcontroller.",
        "twinhub arbiter --a /dev/ttyUSB0 --b /dev/ttyUSB1 --switch /root/turn --state /var/lib/arbiter",
    ),
}
