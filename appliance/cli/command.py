"""What a command is, and what all share: finding the daemon, talking to people or to programs."""

from __future__ import annotations

import json
import os
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from appliance.cli.daemon_client import DaemonClient

SOCKET_NAME: Final = "twinhub.sock"
"""That of `appliance.api.sites`, which would bring aiohttp along: 0.2 s."""
SYSTEM_RUNTIME: Final = Path("/run/twinhub")


@dataclass(frozen=True)
class Command:
    """`run` prints and returns the exit code (None: 0); what goes wrong it raises as a TwinhubError."""

    run: Callable[[Namespace], int | None]
    arguments: Callable[[ArgumentParser], object]
    about: str
    example: str


def no_arguments(parser: ArgumentParser) -> None:
    """For commands that are a word by themselves."""


def add_common(parser: ArgumentParser, default: str | None = SUPPRESS) -> None:
    """The options of every command, said before or after its name (there `default` hides them again)."""
    common = parser.add_argument_group("common options")
    common.add_argument("--json", action="store_true", default=default or False, help="JSON instead of text")
    common.add_argument(
        "--config", type=Path, default=default, metavar="FILE", help="the configuration of the daemon"
    )
    common.add_argument(
        "--runtime-dir", type=Path, default=default, metavar="DIR", help="where the daemon's socket is"
    )


def daemon(args: Namespace) -> DaemonClient:
    """The daemon that --runtime-dir or --config name; else one's own, if it runs, before the system's."""
    if args.runtime_dir:
        return DaemonClient(args.runtime_dir / SOCKET_NAME)
    from appliance.config import load

    file = config_file(args)
    own = load(file).paths.runtime
    places = [own] if file else [own, SYSTEM_RUNTIME]
    running = (place for place in places if may_be_there(place / SOCKET_NAME))
    return DaemonClient(next(running, own) / SOCKET_NAME)


def may_be_there(path: Path) -> bool:
    """True where we may not look, too: who connects is told so."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def config_file(args: Namespace) -> Path | None:
    """--config, else $TWINHUB_CONFIG; None is the default file."""
    told = args.config or os.environ.get("TWINHUB_CONFIG")
    return Path(told) if told else None


def show(args: Namespace, value: Any, text: str) -> None:
    """`value` as JSON for --json, else `text`, which has its own newline at the end."""
    print(json.dumps(value, indent=2) + "\n" if args.json else text, end="")


def show_line(args: Namespace, value: Any, text: str) -> None:
    """One of many, at once: a line of NDJSON for --json, else `text`."""
    print(json.dumps(value) if args.json else text, flush=True)
