"""Run: the appliance itself."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from appliance.cli.command import Command, config_file, daemon, no_arguments, show, show_line
from appliance.cli.text import duration, moment, plural, safe
from appliance.config import Config, load

Json = dict[str, Any]


def serve(args: Namespace) -> None:
    from appliance.daemon.run import run

    config = load(config_file(args))
    if args.runtime_dir:
        config = replace(config, paths=replace(config.paths, runtime=args.runtime_dir.absolute()))
    run(config)


def status(args: Namespace) -> None:
    told = daemon(args).get("/api/status")
    show(args, told, status_text(told))


def events(args: Namespace) -> None:
    with suppress(KeyboardInterrupt), daemon(args).lines("/api/events") as told:
        for event in told:
            show_line(args, event, event_text(event))


def check_config(args: Namespace) -> None:
    path = args.file or config_file(args)
    config = load(path)
    check_definitions(config)
    told = {
        "file": str(path) if path else None,
        "listen": [f"{host} port {config.listen.port}" for host in config.listen.addresses],
        "allow": [str(network) for network in config.listen.allow],
        "rules": len(config.rules),
        "gadgets": gadget_names(config),
    }
    show(args, told, config_text(path, config))


def status_text(told: Json) -> str:
    counts, modules = told["counts"], told["modules"]
    in_use = ", ".join(
        plural(counts[f"{thing}s"], thing) for thing in ("device", "export", "rule", "session")
    )
    loaded = ", ".join(f"{name} {'loaded' if there else 'not loaded'}" for name, there in modules.items())
    return (
        f"Twinhub {told['version']}, process {told['pid']}, up {duration(told['uptime'])}\n"
        f"  listens  {', '.join(told['listen']) or 'nowhere'}\n"
        f"  has      {in_use}\n"
        f"  helper   {'answers' if told['helper'] else 'does not answer: devices cannot be bound'}\n"
        f"  modules  {loaded}\n"
    )


def event_text(event: Json) -> str:
    about = " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in event.items()
        if key not in ("event", "time") and value not in ("", [])
    )
    return safe(f"{moment(event['time'])}  {event['event']}  {about}".rstrip())


def config_text(path: Path | None, config: Config) -> str:
    allowed = ", ".join(map(str, config.listen.allow)) or "this machine only"
    return (
        f"{path or 'The default configuration'} is fine.\n"
        f"  listens  {', '.join(config.listen.addresses)} port {config.listen.port}, for {allowed}\n"
        f"  shares   by {plural(len(config.rules), 'rule')}\n"
        f"  gadgets  {', '.join(gadget_names(config)) or 'none'}\n"
    )


def gadget_names(config: Config) -> list[str]:
    return [name for table in config.gadgets for name in table.names]


def check_definitions(config: Config) -> None:
    """Those of the [[gadget]] tables, which the daemon reads when it starts."""
    if config.gadgets:
        from appliance.exports.definitions import resolve

        for table in config.gadgets:
            resolve(table.definition)


def file_argument(parser: ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: that of the daemon")


COMMANDS = {
    "serve": Command(
        serve,
        no_arguments,
        "Runs the appliance in the foreground until it is told to stop (Ctrl-C, SIGTERM). "
        "As root it starts a small helper that stays root, and itself becomes an ordinary user.",
        "twinhub serve --config /etc/twinhub/twinhub.toml",
    ),
    "status": Command(status, no_arguments, "Says how the running appliance is.", "twinhub status --json"),
    "events": Command(
        events,
        no_arguments,
        "Prints what happens from now on, until Ctrl-C: plugging, sessions, refusals, gadgets, and what the"
        " groups of a pair do; --json: an object a line.",
        "twinhub events --json",
    ),
    "check-config": Command(
        check_config,
        file_argument,
        "Reads a configuration file as the daemon would; what is wrong is named with its line.",
        "twinhub check-config /etc/twinhub/twinhub.toml",
    ),
}
