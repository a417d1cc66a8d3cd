"""`twinhub gadget run FILE --udc NAME`: a gadget on a USB device controller of this machine."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import sys
import time
from argparse import Namespace
from dataclasses import replace
from typing import Final

from appliance.cli.command import show_line
from appliance.cli.gadget_words import event_text, input_of
from appliance.errors import TwinhubError, UsageError
from appliance.loop import IN
from appliance.sessions.portrait import portrait
from gadgets.definition import Definition
from gadgets.udc.presented import Presented
from gadgets.udc.run import present
from gadgets.usb.device import Told
from gadgets.usb.records import snake, to_plain

LONGEST_LINE: Final = 1 << 20


def run_on_udc(args: Namespace, definition: Definition) -> None:
    """Until Ctrl-C. Each line that comes in is an input, in the words of `gadget send`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if args.name:
        definition = replace(definition, name=args.name, product=definition.product or definition.name)

    def listen(told: Told) -> None:
        kind, fields = snake(type(told.event).__name__), to_plain(told.event)
        about = {"gadget": definition.name, "function": told.function, "kind": kind, "fields": fields}
        event = {"event": "told", "time": time.time(), **about}
        show_line(args, event, event_text(event))

    with present(definition, args.udc, listen=listen) as presented:
        about = {"event": "running", "gadget": definition.name, "udc": presented.udc}
        show_line(args, about, f"{definition.name} is on {presented.udc}. Ctrl-C ends it.")
        InputLines(presented)
        presented.run()


class InputLines:
    """Local inputs from standard input, where that is a terminal, a pipe or a socket."""

    def __init__(self, presented: Presented) -> None:
        self.presented = presented
        self.portrait = portrait(presented.gadget)
        self.pending = b""
        self.fd = sys.stdin.fileno()
        mode = os.fstat(self.fd).st_mode
        if os.isatty(self.fd) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            presented.loop.watch(self.fd, IN, self.on_ready)

    def on_ready(self, events: int) -> None:
        data = os.read(self.fd, 1 << 16)
        if not data:
            self.presented.loop.forget(self.fd)
        *lines, self.pending = (self.pending + data).split(b"\n")
        if len(self.pending) > LONGEST_LINE:
            raise UsageError(f"a line of input has at most {LONGEST_LINE} bytes")
        for line in lines:
            self.give(line.decode(errors="replace").strip())

    def give(self, line: str) -> None:
        """What is wrong with one input is told, and the next one counts."""
        try:
            if words := [line] if line.startswith("{") else shlex.split(line):
                self.presented.local_plain(input_of(words, self.portrait))
        except (TwinhubError, ValueError) as error:
            print(f"twinhub: {error}", file=sys.stderr)
