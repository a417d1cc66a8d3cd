"""`twinhub`: one table of commands. Each lies in a file of its theme, imported only when it is asked for."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from textwrap import fill
from typing import Final

from appliance import __version__
from appliance.cli.command import add_common
from appliance.cli.text import safe
from appliance.errors import TwinhubError

THEMES: Final[dict[str, dict[str, str]]] = {
    "find": {
        "devices": "what is plugged in, as a tree",
        "suggest": "the rule that pins a device, by default the one plugged in last",
    },
    "share": {
        "share": "share devices: by busid, VID:PID, serial number, hub, port or class",
        "unshare": "share no longer",
        "exports": "what clients can see",
        "rules": "which rules there are",
    },
    "sessions": {
        "sessions": "who uses what, with live figures",
        "kick": "end a session by force",
        "capture": "record a session's URBs for Wireshark",
        "type": "type on a software keyboard",
        "audit": "what was done, and refused, and to whom",
    },
    "gadget": {
        "gadget": "software devices: run, add, list, show, send, follow, record",
    },
    "pair": {
        "pair": "make two appliances one, and say how the pair is",
        "unpair": "forget the other appliance, to replace it",
    },
    "groups": {
        "switchover": "hand a group over to the other appliance; its clients notice nothing",
        "failback": "hand a group to the appliance with the higher priority",
        "maintenance": "take this appliance out of a group, or back in",
        "take": "make this appliance master although the other one cannot be asked",
    },
    "imports": {
        "list": "what another machine shares",
        "attach": "plug in a device that another machine shares",
        "detach": "unplug it",
        "ports": "what is attached here",
    },
    "run": {
        "serve": "run the appliance",
        "status": "how the appliance is",
        "events": "what happens, as it happens",
        "check-config": "check a configuration file",
    },
    "witness": {
        "witness": "run a witness, which says which of two appliances owns a group",
    },
    "arbiter": {
        "arbiter": "run an arbiter, which turns the switch of a hub for two appliances",
    },
    "doctor": {
        "doctor": "find out what is missing on this machine, and what to do",
    },
}
"""By module of appliance.cli: its commands, each with its line in the list."""

EXIT_CODES: Final = """\
exit codes:
  0  done
  1  failed; the message says what and what to do (doctor: something has to be done)
  2  the request makes no sense, or the configuration is wrong
  3  no such device, export, session or port
  4  in use by another client
  5  refused by a rule or a policy
  6  a privilege is missing: not root, or no helper
  7  a part is missing or not running: module, daemon, helper, server
  8  the device or its driver is in an error state
  9  the other side broke the protocol, went away, or did not answer in time
  130  interrupted (Ctrl-C)

environment:
  TWINHUB_CONFIG  the configuration file, as --config
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the value is the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    args = parser_for(words).parse_args(words)
    try:
        code = args.run(args) or 0
        sys.stdout.flush()
        return int(code)
    except TwinhubError as error:
        print(f"twinhub: {safe(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read us has enough (`| head`); without this, Python complains when it closes stdout.
        sys.stdout = None
        return 0


def parser_for(words: Sequence[str]) -> ArgumentParser:
    """Knows all commands by name, but the arguments only of those that `words` mention."""
    parser = ArgumentParser(
        "twinhub",
        description="A USB appliance: shares this machine's devices over USB/IP, and uses those of others.",
        epilog="`twinhub COMMAND --help` explains a command.\n\n" + EXIT_CODES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"twinhub {__version__}")
    add_common(parser, None)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for theme, members in THEMES.items():
        for name, summary in members.items():
            below = commands.add_parser(
                name, help=summary, formatter_class=RawDescriptionHelpFormatter, add_help=name in words
            )
            if name in words:
                command = import_module(f"appliance.cli.{theme}").COMMANDS[name]
                below.description = fill(command.about, 100)
                below.epilog = f"example:\n  {command.example}\n\n{EXIT_CODES}"
                command.arguments(below)
                add_common(below)
                below.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
