"""`make soak`: every target with a million inputs (the slow ones with a part of them), then a table."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.fuzz import report
from tests.fuzz.harness import GROWTH
from tests.fuzz.targets import TARGETS, one


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one; may be repeated")
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs of each (default 1000000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="targets at once (default: cores)")
    parser.add_argument("--write-docs", action="store_true", help=f"write {report.FILE.name}")
    words = sys.argv[1:] if words is None else words
    options = parser.parse_args(words)
    run = report.occasion(shlex.join(("python", "-m", "tests.fuzz", *words)))
    # A process for each target: what one leaves in memory must not hide the growth of the next.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=fresh, max_tasks_per_child=1) as pool:
        task = partial(one, count=options.count, seed=options.seed, first=options.first)
        results = list(pool.map(task, options.target or TARGETS))
    for result in results:
        if result.growth >= GROWTH:
            print(f"{result.target}: memory grew by {result.growth} bytes", file=sys.stderr)
    print(report.table(results))
    if options.write_docs:
        report.write(results, run)
    return 0 if all(result.fine for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
