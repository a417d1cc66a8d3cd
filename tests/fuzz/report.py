"""The closing table, and docs/soak.md, which has that of the last full run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.results import commit, machine
from tests.fuzz.harness import GROWTH, LONGEST, Result

FILE = Path(__file__).parents[2] / "docs/soak.md"
HEAD = f"""# The soak

<!-- Written by `make soak`; do not edit. -->

Hostile inputs (noise, and valid input with a few things done to it) against every parser, and against a
running server on loopback. An input is taken, or rejected with the error that its parser's contract names;
anything else is a crash. So is an input that takes {LONGEST} s of processor time, and one after which what
the target promises does not hold: nothing forwarded after an error, no URB completed twice or after its
unlink, no answer longer than asked, nothing left open. Memory may grow by {GROWTH >> 20} MiB over a target's
run. Each input follows from the seed and its number, and a crash prints the command that repeats it. What is
slow gets a part of the inputs. `make test` runs a share of all this.
"""


def table(results: Sequence[Result]) -> str:
    """Markdown."""
    lines = [
        "| target | inputs | rejected | crashes | seconds | peak memory growth |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for result in results:
        tally = result.tally
        lines.append(
            f"| {result.target} | {tally.inputs:,} | {tally.rejected:,} | {tally.crashes} "
            f"| {result.seconds:.1f} | {result.growth / (1 << 20):.1f} MiB |"
        )
    return "\n".join(lines) + "\n"


def occasion(command: str) -> str:
    """What is run, of which code, when and where; to be asked before the run."""
    facts, when = machine(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"`{command}` at commit `{commit()}`, {when}, Python {facts['python']}, {facts['cpu']}\n"
        f"({facts['cores']} cores, shared with other work):"
    )


def write(results: Sequence[Result], run: str, file: Path = FILE) -> None:
    file.write_text("\n".join((HEAD, run, "", table(results))))
