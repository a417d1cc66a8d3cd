"""`make bench`: runs the suites and prints the table; if all ran, writes bench/results.json and the docs."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from tests.bench import gadgets, native, pair, share, takeover
from tests.bench.results import Result, save, table, write_docs
from tests.lab import Lab

SUITES: dict[str, Callable[[Lab], list[Result]]] = {
    "share": share.measure,
    "gadgets": gadgets.measure,
    "pair": pair.measure,
    "takeover": lambda _: takeover.measure(),
    "native": lambda _: native.measure(),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("suite", nargs="*", choices=[*SUITES, []], help="default: all, and write the file")
    wanted = parser.parse_args().suite or list(SUITES)
    results: list[Result] = []
    with Lab() as lab:
        for suite in wanted:
            results += SUITES[suite](lab)
    print(table(results))
    if len(wanted) == len(SUITES):
        save(results, "make bench")
        write_docs(results)


if __name__ == "__main__":
    main()
