"""Gadget: software devices, in a running daemon or by themselves."""

from __future__ import annotations

import signal
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from appliance.cli.command import Command, add_common, daemon, show, show_line
from appliance.cli.daemon_client import DaemonClient
from appliance.cli.gadget_words import event_text, functions_text, gadget_text, ids_of, input_of, to_the_end
from appliance.cli.sessions import write
from appliance.cli.text import size, table
from appliance.errors import TwinhubError, UsageError
from appliance.exports.gadgets import is_path

if TYPE_CHECKING:
    from gadgets.definition import Definition

Json = dict[str, Any]


def add(args: Namespace) -> None:
    made = daemon(args).post("/api/gadgets/add", {"gadget": table_of(args), "keep": True})
    show(
        args,
        made,
        "".join(f"Gadget {each['name']} runs; `twinhub exports` lists what clients see.\n" for each in made),
    )


def remove(args: Namespace) -> None:
    client, gone = daemon(args), list[str]()
    try:
        for name in args.names:
            client.post("/api/gadgets/remove", {"name": name})
            gone.append(name)
    finally:  # before one that could not be removed is told of
        show(args, {"removed": gone}, "".join(f"Gadget {name} is gone.\n" for name in gone))


def list_all(args: Namespace) -> None:
    if args.catalogue:
        from appliance.exports.definitions import catalogue_told

        ready = catalogue_told()
        rows = ((each["name"], functions_text(each["definition"])) for each in ready)
        show(args, ready, table(("NAME", "FUNCTIONS"), rows, "The catalogue is empty."))
        return
    told = daemon(args).get("/api/gadgets")
    lines = (
        (
            each["name"],
            "runs" if each["pid"] else "does not run",
            each["source"],
            ids_of(each["portrait"]),
            (each["portrait"] or {}).get("speed"),
            functions_text(each["definition"]),
            each["problem"],
        )
        for each in told
    )
    header = ("NAME", "STATE", "FROM", "ID", "SPEED", "FUNCTIONS", "PROBLEM")
    show(args, told, table(header, lines, "There are no gadgets; `twinhub gadget add NAME` makes one."))


def show_one(args: Namespace) -> None:
    told = daemon(args).get("/api/gadgets/show", name=args.name)
    show(args, told, gadget_text(told))


def send(args: Namespace) -> None:
    client = daemon(args)
    given = input_of(args.words, client.get("/api/gadgets/show", name=args.name)["portrait"] or {})
    asked = {"export": args.name, "input": given, "folder": str(Path.cwd())}
    show(args, client.post("/api/local", asked), "")


def events(args: Namespace) -> None:
    with daemon(args).lines("/api/gadgets/events", name=args.name) as told:
        for event in to_the_end(told):
            show_line(args, event, event_text(event))


def table_of(args: Namespace) -> Json:
    """As `[[gadget]]` has it, with the definition itself in place of a file, which the daemon may not see."""
    given = {key: getattr(args, key, None) for key in ("name", "count", "allow", "take_over", "idle")}
    return {**definition_of(args.what), **{key: value for key, value in given.items() if value is not None}}


def definition_of(what: str) -> Json:
    """{"definition", "name"} of a file or of the catalogue."""
    from gadgets.usb.records import to_plain

    definition = resolved(what)
    return {"definition": to_plain(definition), "name": definition.name}


def resolved(what: str) -> Definition:
    from appliance.exports.definitions import resolve

    return resolve(Path(what) if is_path(what) or Path(what).is_file() else what)


def record(args: Namespace) -> None:
    """Ctrl-C is how a recording ends; what is left of it comes then."""
    client = daemon(args)
    chunks = client.chunks("/api/gadgets/record", name=args.name)
    first = next(chunks, b"")  # there is such a gadget, so the file may be made
    try:
        with args.file.open("wb") as file:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: end_recording(client, args.name))
            written = write(chain((first,), chunks), file)
    except OSError as error:
        raise UsageError(f"cannot write {args.file}: {error.strerror}") from None
    told = {"file": str(args.file), "bytes": written}
    show(args, told, f"{size(written)} in {args.file}; `twinhub gadget replay {args.file}` repeats it.\n")


def end_recording(client: DaemonClient, name: str) -> None:
    with suppress(TwinhubError):  # it has ended with its gadget meanwhile
        client.post("/api/gadgets/record/end", {"name": name})


def run(args: Namespace) -> None:
    if args.udc is not None:
        from appliance.cli.gadget_udc import run_on_udc

        run_on_udc(args, resolved(args.what))
        return
    from appliance.cli.gadget_run import run

    run(args, table_of(args))


def replay(args: Namespace) -> int:
    from appliance.cli.gadget_files import replay_file

    report = replay_file(args.file, args.definition and definition_of(args.definition)["definition"])
    show(args, {**asdict(report), "identical": report.identical}, f"{report}\n")
    return 0 if report.identical else 1


def clone(args: Namespace) -> None:
    from appliance.cli.gadget_files import clone_of

    definition, toml = clone_of(args.busid, args.name)
    show(args, definition, toml)


# What can be said


def run_arguments(parser: ArgumentParser) -> None:
    what_arguments(parser)
    parser.add_argument(
        "--port",
        type=port_number,
        metavar="PORT",
        help="where to serve it without a daemon (default 3240, or a free one)",
    )
    parser.add_argument(
        "--udc",
        nargs="?",
        const="",
        metavar="NAME",
        help="as root, present it on this USB device controller (without a name: on the only one) instead of"
        " serving it; each line of standard input is then an input, in the words of `gadget send`",
    )


def port_number(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"found {text!r}, wanted a whole number from 0 to 65535")
    return int(text)


def add_arguments(parser: ArgumentParser) -> None:
    what_arguments(parser)
    parser.add_argument("--count", type=int, metavar="N", help="how many: NAME, NAME-2 and so on (default 1)")


def what_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("what", metavar="FILE|NAME", help="a file (.toml, .py), or a gadget of the catalogue")
    parser.add_argument("--name", metavar="NAME", help="to offer it under (default: its own)")
    parser.add_argument("--allow", action="append", metavar="NETWORK", help="who may use it (default: all)")
    parser.add_argument("--take-over", metavar="WHO", help="who may take it over: never, same-host, anyone")
    parser.add_argument(
        "--idle", type=float, metavar="SECONDS", help="ends a session that was idle for so long"
    )


def names_argument(parser: ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="of a gadget that was added")


def name_argument(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of a gadget")


def list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--catalogue", action="store_true", help="those that are ready to be added by name")


def send_arguments(parser: ArgumentParser) -> None:
    name_argument(parser)
    parser.add_argument(
        "words",
        nargs="+",
        metavar="KEY=VALUE",
        help='the input first; or a JSON object, which "-" reads',
    )


def record_arguments(parser: ArgumentParser) -> None:
    name_argument(parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="to write")


def replay_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="that `gadget record` wrote")
    parser.add_argument(
        "--definition", metavar="FILE|NAME", help="to repeat it on (default: the recorded one)"
    )


def clone_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("busid", metavar="BUSID", help="of an attached device, such as 1-1.2")
    parser.add_argument("--name", default="clone", help="of the definition (default clone)")


BELOW = {
    "run": Command(
        run,
        run_arguments,
        "Runs a gadget until Ctrl-C and tells what happens to it. It needs neither root nor a daemon: "
        "without one it serves the gadget on loopback by itself; in a running daemon the gadget is there for "
        "that time.",
        "twinhub gadget run keyboard\n  twinhub gadget run kiosk.toml --name kiosk\n"
        "  sudo twinhub gadget run kiosk.toml --udc fe980000.usb",
    ),
    "add": Command(
        add,
        add_arguments,
        "Adds a gadget to the running daemon, which remembers it over restarts.",
        "twinhub gadget add disk.toml --name stick\n  twinhub gadget add keyboard --count 64",
    ),
    "remove": Command(
        remove, names_argument, "Ends a gadget that was added, and forgets it.", "twinhub gadget remove stick"
    ),
    "list": Command(
        list_all,
        list_arguments,
        "Lists the gadgets there are, or those that are ready to be added.",
        "twinhub gadget list --catalogue",
    ),
    "show": Command(
        show_one,
        name_argument,
        "Shows a gadget: its functions, where its pty or port is, the inputs it takes, its descriptors.",
        "twinhub gadget show keyboard",
    ),
    "send": Command(
        send,
        send_arguments,
        "Does something at the gadget itself: types text, moves a mouse, inserts a disk. `gadget show` "
        "prints what it takes. Where several functions take it, function=LABEL picks one.",
        "twinhub gadget send keyboard type_text='Hello' layout=de\n"
        '  twinhub gadget send keyboard \'{"type_text": "Hello"}\'',
    ),
    "events": Command(
        events,
        name_argument,
        "Tells what happens to a gadget, as it happens; --json gives an object a line.",
        "twinhub gadget events keyboard",
    ),
    "record": Command(
        record,
        record_arguments,
        "Records all that goes into a gadget and comes out of it, until Ctrl-C or its end; `gadget replay` "
        "repeats it exactly.",
        "twinhub gadget record keyboard boot.twrec",
    ),
    "replay": Command(
        replay,
        replay_arguments,
        "Repeats a recording, without a client, and compares every byte that comes out; the first difference "
        "is shown, and the exit code is 1.",
        "twinhub gadget replay boot.twrec",
    ),
    "clone": Command(
        clone,
        clone_arguments,
        "Prints the definition of an attached device, with the same descriptors, byte for byte.",
        "twinhub gadget clone 1-1.2 --name meter > meter.toml",
    ),
}


def arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="WHAT", required=True)
    for name, command in BELOW.items():
        below = commands.add_parser(
            name,
            help=command.about.split(". ")[0].rstrip("."),
            description=fill(command.about, 100),
            epilog=f"example:\n  {command.example}",
            formatter_class=RawDescriptionHelpFormatter,
        )
        command.arguments(below)
        add_common(below)
        below.set_defaults(run=command.run)


COMMANDS = {
    "gadget": Command(
        run,
        arguments,
        "Software devices: keyboards, disks, serial ports and whatever you define, as real to a client as if "
        "they were plugged in.",
        "twinhub gadget run keyboard",
    )
}
