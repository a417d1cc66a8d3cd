"""Sessions: who uses what, and what an operator can do about it."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from appliance.cli.command import Command, daemon, show, show_line
from appliance.cli.text import duration, moment, size, table
from appliance.errors import UsageError

Json = dict[str, Any]

CLEAR_SCREEN = "\x1b[H\x1b[2J"
HEADER = ("SESSION", "EXPORT", "CLIENT", "MODE", "FOR", "URBS", "IN", "OUT", "FLYING", "P50", "P99", "ERRORS")


def sessions(args: Namespace) -> None:
    client = daemon(args)
    while args.watch:
        told = client.get("/api/sessions")
        screen = CLEAR_SCREEN if sys.stdout.isatty() else ""
        show_line(args, told, screen + sessions_text(told, time.time()))
        time.sleep(args.every)
    told = client.get("/api/sessions")
    show(args, told, sessions_text(told, time.time()))


def kick(args: Namespace) -> None:
    ended = daemon(args).post("/api/kick", {"target": args.target, "reason": args.reason})
    lines = (f"{one['client']} has lost {one['export']} (session {one['id']}).\n" for one in ended)
    show(args, ended, "".join(lines))


def capture(args: Namespace) -> None:
    """Ctrl-C is how a capture ends, so it is no failure."""
    chunks = daemon(args).chunks("/api/capture", session=args.session)
    if args.output == "-":
        if sys.stdout.isatty():
            raise UsageError("a capture is not for a terminal; say -o FILE, or pipe it: | wireshark -k -i -")
        write(chunks, sys.stdout.buffer)
        return
    first = next(chunks, b"")  # there is such a session, so the file may be made
    path = Path(args.output or f"{args.session}.pcapng")
    try:
        with path.open("wb") as file:
            written = write(chain((first,), chunks), file)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    show(args, {"file": str(path), "bytes": written}, f"{size(written)} in {path}; Wireshark opens it.\n")


def write(chunks: Iterable[bytes], file: BinaryIO) -> int:
    """Copies until the end or Ctrl-C, each chunk at once; how many bytes."""
    written = 0
    with suppress(KeyboardInterrupt):
        for chunk in chunks:
            written += file.write(chunk)
            file.flush()
    return written


def type_text(args: Namespace) -> None:
    text = sys.stdin.read() if args.text == "-" else args.text
    given = {"type_text": text, "layout": args.layout}
    answer = daemon(args).post("/api/local", {"export": args.export, "input": given})
    show(args, answer, "")


def audit(args: Namespace) -> None:
    told = daemon(args).get("/api/audit", limit=str(args.limit))
    rows = ((moment(entry["time"]), entry["action"], entry["target"], entry["detail"]) for entry in told)
    show(args, told, table(("TIME", "ACTION", "TARGET", "DETAIL"), rows, "Nothing has happened yet."))


def sessions_text(told: list[Json], now: float) -> str:
    rows = (
        (
            session["id"],
            session["export"],
            session["client"],
            session["mode"],
            duration(now - session["since"]),
            *figures(session["stats"]),
        )
        for session in told
    )
    return table(HEADER, rows, "Nothing is in use.")


def figures(stats: Json | None) -> tuple[object, ...]:
    """URBS to ERRORS; nothing is known of a direct session, whose URBs only the kernel sees."""
    if stats is None:
        return (None,) * 7
    counted = (stats["urbs"], size(stats["bytes_in"]), size(stats["bytes_out"]), stats["in_flight"])
    return (*counted, slowest(stats, "p50"), slowest(stats, "p99"), stats["errors"])


def slowest(stats: Json, percentile: str) -> str | None:
    """Of the session's endpoints, which one finds in the JSON."""
    known = [e["latency_us"][percentile] for e in stats["endpoints"].values()]
    worst = max((microseconds for microseconds in known if microseconds is not None), default=None)
    return None if worst is None else f"{worst / 1000:.3g} ms"


def seconds(word: str) -> float:
    """ValueError, for argparse, if nobody can wait that long."""
    if not 0 < float(word) <= 86400:
        raise ValueError
    return float(word)


def sessions_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="go on, with fresh figures")
    parser.add_argument(
        "--every", type=seconds, default=1.0, metavar="SECONDS", help="with --watch (default 1)"
    )


def kick_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="a session, an export's name or a busid")
    parser.add_argument("--reason", default="by the operator", help="for the audit trail")


def capture_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("session", metavar="SESSION", help="a session, an export's name or a busid")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help='default SESSION.pcapng; "-" is standard output'
    )


def type_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("export", metavar="EXPORT", help="the name of a software keyboard")
    parser.add_argument("text", metavar="TEXT", help='what to type; "-" reads it from standard input')
    parser.add_argument("--layout", default="us", help="of the machine that it is attached to (default us)")


def audit_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--limit", type=int, default=100, metavar="N", help="the last N entries (default 100)"
    )


COMMANDS = {
    "sessions": Command(
        sessions,
        sessions_arguments,
        "Lists who uses what: URBs, bytes towards the client (IN) and the device (OUT), URBs in flight, "
        "and latency (median and 99th percentile) of the slowest endpoint; --json has all endpoints.",
        "twinhub sessions --watch",
    ),
    "kick": Command(
        kick,
        kick_arguments,
        "Ends a session at once; the device is free for the next client.",
        "twinhub kick plc-adapter --reason maintenance",
    ),
    "capture": Command(
        capture,
        capture_arguments,
        "Records the URBs of a relayed session or of a gadget as pcapng, until it ends or you press Ctrl-C.",
        "twinhub capture plc-adapter -o - | wireshark -k -i -",
    ),
    "type": Command(
        type_text,
        type_arguments,
        "Types on a software keyboard, as if someone sat at the machine that it is attached to.",
        "twinhub type keyboard 'hello world'",
    ),
    "audit": Command(
        audit,
        audit_arguments,
        "Prints the audit trail: who shared, attached, was refused (and by which rule), was kicked.",
        "twinhub audit --limit 20",
    ),
}
