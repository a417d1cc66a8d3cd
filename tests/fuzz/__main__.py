"""`make soak`: every target with a million inputs (the slow ones with a part of them), then a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.fuzz import fuzz_gadgets, fuzz_kernel, fuzz_sessions, fuzz_usbip, fuzz_words, report
from tests.fuzz.harness import GROWTH, Note, Tally, Target, part, soak

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (fuzz_usbip, fuzz_sessions, fuzz_kernel, fuzz_gadgets, fuzz_words)
    for target in module.TARGETS
}
STEPS = 10
"""How often a target tells how far it is."""


def progress(target: Target, count: int) -> Note:
    step = max(count // STEPS, 1)
    told = 0

    def tell(tally: Tally) -> None:
        nonlocal told
        if tally.inputs >= told + step:
            told = tally.inputs
            print(f"{target.name}: {tally.inputs:,} of {count:,}, {tally.crashes} crashes", flush=True)

    return tell


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one; may be repeated")
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs of each (default 1000000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--write-docs", action="store_true", help=f"write {report.FILE.name}")
    options = parser.parse_args(words)
    run = report.occasion(f"python -m tests.fuzz --count {options.count} --seed {options.seed}")
    results = []
    for target in (TARGETS[name] for name in options.target or TARGETS):
        count = part(target, options.count)
        results.append(soak(target, count, options.seed, options.first, progress(target, count)))
        if results[-1].growth >= GROWTH:
            print(f"{target.name}: memory grew by {results[-1].growth} bytes", file=sys.stderr)
    print(report.table(results))
    if options.write_docs:
        report.write(results, run)
    return 0 if all(result.fine for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
